"""Captioned pictures as they lie on disk: every form that is read, and what is said of forms that are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.errors import MediaError, UsageError
from mmsearch.training.datasets import (
    CaptionedImages,
    caption_classes,
    check_images,
    class_names,
    fill_prompt,
    join,
    read_captions,
    read_classes,
    read_coco,
    read_dataset,
    read_photo,
    split,
)


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shade, name in enumerate(("a.jpg", "b.jpg", "c.png")):
        picture(tmp_path / "images" / name, 60 * shade)
    return tmp_path


def table(folder: Path, content: str | bytes, name: str = "captions.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def names(images: CaptionedImages) -> list[str]:
    return [path.name for path in images.images]


# Tables.


def test_captions_find_their_pictures_in_the_order_of_the_table(folder: Path) -> None:
    found = read_captions(
        table(folder, 'image,caption,sound\nb.jpg,"A dog, wet.",x.ogg\na.jpg, A cat. ,\nb.jpg,A hound.,\n'),
        folder / "images",
    )
    assert found.images == found.photos == (folder / "images" / "b.jpg", folder / "images" / "a.jpg")
    assert found.captions == ("A dog, wet.", "A cat.", "A hound.")
    assert found.owners.tolist() == [0, 1, 0] and found.owners.dtype == np.int64
    assert found.sources.tolist() == [0, 0] and found.source_names == (str(folder / "captions.csv"),)


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_may_be_written_in_many_ways(folder: Path, delimiter: str, encoding: str, end: str) -> None:
    heading, first = ["Sound", '"Image"', " CAPTION "], ["x", "a.jpg", '"Ein ""schöner"" Hund; so, | ja"']
    content = end.join(delimiter.join(row) for row in (heading, first, [], ["", "c.png", "B"]))
    found = read_captions(table(folder, content.encode(encoding)), folder / "images")
    assert found.captions == ('Ein "schöner" Hund; so, | ja', "B")
    assert names(found) == ["a.jpg", "c.png"]


def test_captions_keep_commas_and_quotation_marks_that_are_part_of_them(folder: Path) -> None:
    captions = ['A 5" pipe, red', ' "A dog, wet"', '"""Stop"" it says"', "1,000 cats"]
    content = "image,caption\n" + "".join(f"a.jpg,{caption}\n" for caption in captions)
    found = read_captions(table(folder, content), folder / "images")
    assert found.captions == ('A 5" pipe, red', "A dog, wet", '"Stop" it says', "1,000 cats")


def test_captions_of_several_lines_become_one(folder: Path) -> None:
    found = read_captions(table(folder, 'image,caption\na.jpg,"A dog\n runs."\nb.jpg,x\n'), folder / "images")
    assert found.captions == ("A dog runs.", "x")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('image,caption\na.jpg,A\nb.jpg,"B\na.jpg,C\n', r"Line 3 of .* cannot be read as CSV"),
        ('image,caption\na.jpg,"A" b\n', r"Line 2 of .* cannot be read as CSV"),
        ('image,caption\na.jpg,"A\nb"\nb.jpg\n', r"Line 4 of .* has 1 columns instead of 2"),
        ("image;caption;more\na.jpg;A;x\nb.jpg;;\n", r"Line 3 of .* lacks its caption"),
        ("picture,caption\na.jpg,A\n", "does not name the columns image and caption"),
        (b"image,caption\na.jpg,A\nb.jpg,\xe4\n", "is not a CSV file in UTF-8: line 3 has the byte 0xe4"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_with_its_line(folder: Path, content: str | bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_captions(table(folder, content), folder / "images")


def test_missing_pictures_are_listed(folder: Path) -> None:
    rows = "\n".join(f"{name}.jpg,A" for name in "apqrstu")
    with pytest.raises(UsageError, match=r"6 of the 7 pictures .* the first is p\.jpg, then q\.jpg, .* and more\."):
        read_captions(table(folder, f"image,caption\n{rows}\n"), folder / "images")
    with pytest.raises(UsageError, match=r"the first is z\.jpg\."):
        read_captions(table(folder, "image,caption\nz.jpg,A\n"), folder / "images")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_the_csv_module_writes_is_read(tmp_path_factory: pytest.TempPathFactory, captions: list[str]) -> None:
    import csv

    captions = [" ".join(caption.split()) for caption in captions if caption.split()] or ["x"]
    folder = tmp_path_factory.mktemp("written")
    picture(folder / "a.png")
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "caption"], *(["a.png", caption] for caption in captions)])
    assert read_captions(folder / "captions.csv", folder).captions == tuple(captions)


# COCO's JSON.


def coco(folder: Path, content: object, name: str = "captions.json") -> Path:
    return table(folder, content if isinstance(content, str) else json.dumps(content), name)


def test_captions_of_coco_are_read_in_their_order(folder: Path) -> None:
    content = {
        "info": {},
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}, {"id": 9, "file_name": "c.png"}],
        "annotations": [
            {"id": 1, "image_id": 9, "caption": "A cat.\n"},
            {"id": 2, "image_id": 7, "caption": " A dog\nruns. "},
            {"id": 3, "image_id": 9, "caption": "Asleep."},
        ],
    }
    found = read_coco(coco(folder, content), folder / "images")
    assert names(found) == ["c.png", "a.jpg"]  # b.jpg has no caption
    assert found.captions == ("A cat.", "A dog runs.", "Asleep.")
    assert found.owners.tolist() == [0, 1, 0]


IMAGE = {"id": 1, "file_name": "a.jpg"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"images": [', r"is not JSON: Expecting value in line 1, column 13"),
        ([], "lacks the lists images and annotations"),
        ({"images": [IMAGE]}, "lacks the lists images and annotations"),
        ({"images": [{"id": 1}], "annotations": []}, "Image 1 in .* lacks its file_name"),
        ({"images": ["a.jpg"], "annotations": []}, "Image 1 in .* lacks its id"),
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.jpg"}], "annotations": []}, "have the id 1: a.jpg and b.jpg"),
        ({"images": [IMAGE], "annotations": []}, "no captions"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "bbox": []}]}, "Annotation 1 in .* lacks its caption"),
        ({"images": [IMAGE], "annotations": [{"image_id": 1, "caption": " "}]}, "Annotation 1 in .* lacks its caption"),
        ({"images": [IMAGE], "annotations": [{"caption": "A"}]}, "Annotation 1 in .* lacks its image_id"),
        ({"images": [IMAGE], "annotations": [{"image_id": 2, "caption": "A"}]}, "is of image 2, which is not among"),
        (
            {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [{"image_id": 1, "caption": "A"}]},
            "first is x.jpg",
        ),
        ("[" * 200_000, "not"),
    ],
)
def test_a_json_file_of_another_form_is_told_in_plain_words(folder: Path, content: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_coco(coco(folder, content), folder / "images")


# Classes.


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        *[
            (name, f"a photo of a {name}")
            for name in ("dog", "unicycle", "European finch", "UFO", "one-way sign", "yurt")
        ],
        *[(name, f"a photo of a {name}") for name in ("hippopotamus", "bus", "lens", "glass", "mantis", "Useful tool")],
        *[
            (name, f"a photo of an {name}")
            for name in ("owl", "hourglass", "SUV", "X-ray", "umbrella", "8-ball", "ant")
        ],
        *[
            (name, f"a photo of {name}")
            for name in ("tulips", "swimming trunks", "people", "sunglasses", "school buses")
        ],
    ],
)
def test_names_get_the_article_that_they_need(name: str, sentence: str) -> None:
    assert fill_prompt("a photo of a {}", name) == sentence


def test_prompts_without_an_article_stay_as_they_are() -> None:
    assert fill_prompt("many {} here", "owl") == "many owl here"
    assert fill_prompt("A {}.", "owl") == "An owl."
    assert fill_prompt("A {}.", "tulips") == "Tulips."
    assert fill_prompt("the big {}", "{x}") == "the big {x}"


@pytest.mark.parametrize("prompts", [[], ["a photo"], ["{} and {}"]])
def test_prompts_need_one_place_for_the_name(tmp_path: Path, prompts: list[str]) -> None:
    picture(tmp_path / "owl" / "1.png"), picture(tmp_path / "fox" / "1.png")
    with pytest.raises(UsageError, match="prompt"):
        caption_classes(read_classes(tmp_path), prompts)


def test_folders_of_classes_become_captions(tmp_path: Path) -> None:
    for name in ("sea_horse/2.png", "sea_horse/1.png", "owl/1.png"):
        picture(tmp_path / name)
    found = caption_classes(read_classes(tmp_path), ("a photo of a {}", "{}"), source="animals")
    assert [path.parent.name for path in found.images] == ["owl", "sea_horse", "sea_horse"]
    assert found.captions == ("a photo of an owl", "owl", *("a photo of a sea horse", "sea horse") * 2)
    assert found.owners.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.source_names == ("animals",)


def test_folders_that_name_the_same_class_are_one(tmp_path: Path) -> None:
    for name in ("sea_horse/1.png", "sea horse/2.png", "owl/1.png"):
        picture(tmp_path / name)
    found = read_classes(tmp_path)
    assert found.names == ("owl", "sea horse") and found.labels == (0, 1, 1)


# Whatever there is.


def test_the_form_of_a_set_is_told_from_its_path(folder: Path) -> None:
    tabs = table(folder, "image\tcaption\nb.jpg\tB\n", "other.tsv")
    content = coco(folder, {"images": [IMAGE], "annotations": [{"image_id": 1, "caption": "A"}]})
    assert names(read_dataset(tabs)) == ["b.jpg"]
    assert names(read_dataset(content)) == names(read_dataset(folder)) == ["a.jpg"]  # beside images/
    csv = table(folder, "image,caption\nimages/c.png,C\n")
    assert names(read_dataset(csv, folder)) == ["c.png"]
    csv.write_text("image,caption\nc.png,C\n", encoding="utf-8")
    assert names(read_dataset(folder)) == names(read_dataset(csv)) == ["c.png"]  # the table comes first
    assert names(read_dataset(folder, folder / "images")) == ["c.png"]


def test_pictures_may_lie_beside_their_captions(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table(tmp_path, "image,caption\na.png,A\n")
    assert read_dataset(tmp_path).images == (tmp_path / "a.png",)


def test_a_folder_of_classes_is_a_set(tmp_path: Path) -> None:
    picture(tmp_path / "owl" / "1.png"), picture(tmp_path / "fox" / "1.png")
    found = read_dataset(tmp_path)
    assert "a photo of a fox" in found.captions and "a photo of an owl" in found.captions


def test_what_is_no_set_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"neither captions\.csv nor folders of classes"):
        read_dataset(tmp_path)
    with pytest.raises(UsageError, match="There are no captions in"):
        read_dataset(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="no file or folder"):
        read_dataset(tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match="Cannot tell what"):
        read_dataset(tmp_path / "a.png")


# Sets.


def some_set(folder: Path, shades: list[int], source: str = "here") -> CaptionedImages:
    paths = [picture(folder / f"{i}.png", shade) for i, shade in enumerate(shades)]
    owners = [i for i in range(len(paths)) for _ in range(1 + i % 2)]
    return CaptionedImages(
        tuple(paths), tuple(f"{i} of {source}" for i in owners), np.array(owners), source_names=(source,)
    )


def test_joined_sets_keep_captions_sources_and_copies(tmp_path: Path) -> None:
    first, second = some_set(tmp_path / "x", [1, 2], "x"), some_set(tmp_path / "y", [3], "y")
    both = join([join([first, second]), first])
    assert both.images == (*first.images, *second.images, *first.images)
    assert [f"{both.images[i].stem} of {both.images[i].parent.name}" for i in both.owners] == list(both.captions)
    assert both.sources.tolist() == [0, 0, 1, 2, 2] and both.source_names == ("x", "y", "x")
    assert len(join([]).images) == 0


def test_selected_pictures_bring_their_captions_and_sources(tmp_path: Path) -> None:
    both = join([some_set(tmp_path / "x", [1, 2], "x"), some_set(tmp_path / "y", [3, 4], "y")])
    some = both.select(np.array([3, 0]))
    assert some.images == (both.images[3], both.images[0])
    assert some.captions == ("0 of x", "1 of y", "1 of y") and some.owners.tolist() == [1, 0, 0]
    assert some.sources.tolist() == [1, 0] and some.source_names == ("x", "y")


@pytest.mark.parametrize("owners", [[0], [0, 2], [-1, 0]])
def test_captions_without_a_picture_are_refused(owners: list[int]) -> None:
    with pytest.raises(ValueError, match="index of one of the images"):
        CaptionedImages((Path("a"), Path("b")), ("A", "B"), np.array(owners))


@given(st.lists(st.integers(0, 12), min_size=2, max_size=14), st.floats(0.05, 0.95), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_a_split_never_has_the_same_content_on_both_sides(
    tmp_path_factory: pytest.TempPathFactory, shades: list[int], share: float, seed: int
) -> None:
    images = some_set(tmp_path_factory.mktemp("set"), shades)
    if len(set(shades)) < 2:
        with pytest.raises(UsageError, match="two different pictures"):
            split(images, share, seed)
        return
    train, dev = split(images, share, seed)
    inside = [{path.read_bytes() for path in part.images} for part in (train, dev)]
    assert not inside[0] & inside[1] and inside[0] and inside[1]
    assert sorted(train.images + dev.images) == sorted(images.images)
    assert sorted(train.captions + dev.captions) == sorted(images.captions)
    if len(set(shades)) == len(shades):
        assert len(dev.images) == min(max(1, round(share * len(shades))), len(shades) - 1)


def test_a_split_is_repeatable_whatever_the_order(tmp_path: Path) -> None:
    images = some_set(tmp_path, list(range(30)))
    dev = split(images, 0.3, 1)[1]
    turned = split(images.select(np.arange(30)[::-1]), 0.3, 1)[1]
    assert set(turned.images) == set(dev.images)
    assert set(split(images, 0.3, 2)[1].images) != set(dev.images)
    with pytest.raises(UsageError, match="between 0 and 1, and is 1"):
        split(images, 1)


def test_unreadable_pictures_are_found_and_left_out(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    good = [tmp_path / name for name in ("good.jpg", "good.png", "good.webp", "tail.jpg")]
    for path in good:
        Image.fromarray(noise).save(path)
    with good[3].open("ab") as file:
        file.write(bytes(200_000))  # as phones add a film after a picture
        file.write(b"more")
    whole = good[0].read_bytes()
    bad = {
        "cut.jpg": (whole[: len(whole) // 2], "truncated JPEG"),
        "cut.png": (good[1].read_bytes()[:-9], "truncated PNG"),
        "cut.webp": (good[2].read_bytes()[:-9], "truncated WebP"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"not a picture", "not an image"),
        "head.png": (good[1].read_bytes()[:20], "truncated PNG"),
        "head.bmp": (b"BM" + bytes(12) + b"\x28" + bytes(11), "damaged BMP"),
    }
    for name, (content, _) in bad.items():
        (tmp_path / name).write_bytes(content)
    paths = (good[0], *(tmp_path / name for name in bad), tmp_path / "nowhere.jpg", *good[1:])
    images = CaptionedImages(paths, tuple(path.name for path in paths), np.arange(len(paths)))
    kept, failures = check_images(images)
    assert kept.images == tuple(good) and kept.captions == tuple(path.name for path in good)
    assert {failure.path.name: failure.reason for failure in failures} == {
        **{name: reason for name, (_, reason) in bad.items()},
        "nowhere.jpg": "no such file",
    }
    assert check_images(kept)[0] is kept


def test_a_thorough_check_finds_damage_within(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    images = CaptionedImages((path,), ("A",), np.array([0]))
    assert not check_images(images)[1]
    kept, failures = check_images(images, thorough=True)
    assert not kept.images and [failure.path for failure in failures] == [path]


# Pictures.


def test_transparent_pictures_stand_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_photo(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_photos_are_read_upright_and_whole(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "plain.jpg")
    assert read_photo(tmp_path / "turned.jpg").size == (40, 60)
    with Image.open(tmp_path / "plain.jpg") as plain:
        np.testing.assert_array_equal(np.asarray(read_photo(tmp_path / "plain.jpg")), np.asarray(plain))
    with pytest.raises(MediaError, match="no such file"):
        read_photo(tmp_path / "none.jpg")


def test_reading_data_needs_no_torch() -> None:
    code = """if True:
        import sys, mmsearch.training.datasets, mmsearch.training.sampling, mmsearch.training.augmentation
        sys.exit(bool({'torch', 'timm', 'PIL.Image'} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What there is to train on.


@pytest.mark.parametrize(
    ("name", "n_images", "n_captions"),
    [
        ("flickr8k/train", 6000, 30000),
        ("flickr8k/dev", 1000, 5000),
        ("coco1000", 1000, None),
        ("stamps", None, None),
        ("caltech101", None, None),
        ("flowers", 500, 2500),
    ],
)
def test_real_sets_are_read_and_their_pictures_are_sound(
    shared_data: Path, name: str, n_images: int | None, n_captions: int | None
) -> None:
    images = read_dataset(shared_data / name)
    assert len(images.images) == (n_images or len(images.images)) > 100
    assert len(images.captions) == (n_captions or len(images.captions)) >= len(images.images)
    kept, failures = check_images(images)
    assert kept is images and not failures


def test_a_split_of_real_sources_parts_copies_nowhere(shared_data: Path) -> None:
    first = read_dataset(shared_data / "flowers")
    train, dev = split(join([first, read_dataset(shared_data / "stamps"), first]), 0.2)
    assert not set(train.images) & set(dev.images)
    assert 0.17 < len(dev.images) / (len(train.images) + len(dev.images)) < 0.21


@pytest.mark.full
def test_the_classes_of_imagenet_have_their_names() -> None:
    pytest.importorskip("timm")
    names = class_names()
    assert len(names) == 1000
    assert (names[0], names[207], names[999]) == ("tench", "golden retriever", "toilet tissue")
