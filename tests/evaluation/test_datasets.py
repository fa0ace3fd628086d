from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation import read_captions, read_classes


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"x")
    return folder


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "captions.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_captions_are_grouped_by_their_picture(tmp_path: Path, images: Path) -> None:
    table = written(tmp_path, 'image,caption\na.jpg,A dog .\nb.jpg,"A cat, asleep"\na.jpg,A brown dog\n')
    found = read_captions(table, images)
    assert found.images == (images / "a.jpg", images / "b.jpg")
    assert found.captions == ("A dog .", "A cat, asleep", "A brown dog")
    assert found.owners.tolist() == [0, 1, 0]


def test_other_columns_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path, images: Path) -> None:
    table = written(tmp_path, "caption,image,sound\r\nA dog,a.jpg,woof\r\n\r\nA cat,b.jpg,\r\n", "utf-8-sig")
    found = read_captions(table, images)
    assert found.captions == ("A dog", "A cat")
    assert [path.name for path in found.images] == ["a.jpg", "b.jpg"]


def test_a_caption_with_commas_that_nobody_quoted_stays_whole(tmp_path: Path, images: Path) -> None:
    table = written(tmp_path, "image,caption\na.jpg,A dog, a ball, and a tree\n")
    assert read_captions(table, images).captions == ("A dog, a ball, and a tree",)


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path: Path, images: Path) -> None:
    table = written(tmp_path, "image,caption\na.jpg,A dog\nx.jpg,A\nx.jpg,B\ny.jpg,C\n")
    with pytest.raises(UsageError, match=r"2 of the 3 pictures .* the first is x\.jpg"):
        read_captions(table, images)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not name the columns"),
        ("a.jpg,A dog\n", "does not name the columns"),
        ("image,caption\n", "no captions"),
        ("image,caption\na.jpg,A dog\nb.jpg\n", "Line 3 .* has 1 columns instead of 2"),
        ("image,caption\na.jpg,\n", "Line 2 .* lacks its caption"),
        ("image,caption\n,A dog\n", "Line 2 .* lacks its image"),
        ("caption,image\nA dog,a.jpg,more\n", "has 3 columns instead of 2"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, images: Path, text: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        read_captions(written(tmp_path, text), images)


def test_a_table_in_another_encoding_is_told(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UsageError, match="not a CSV file in UTF-8"):
        read_captions(written(tmp_path, "image,caption\na.jpg,Ein schöner Hund\n", "latin-1"), images)


def test_a_table_or_folder_that_is_not_there_is_told(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*captions\.csv"):
        read_captions(tmp_path / "captions.csv", images)
    with pytest.raises(UsageError, match="There is no folder"):
        read_captions(written(tmp_path, "image,caption\na.jpg,A\n"), tmp_path / "nowhere")


def test_classes_are_folders_with_pictures(tmp_path: Path) -> None:
    for name in ("sea_horse/1.jpg", "sea_horse/more/2.png", "dog/1.webp", "empty/notes.txt", ".hidden/1.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found = read_classes(tmp_path)
    assert found.names == ("dog", "sea horse")
    assert [path.name for path in found.items] == ["1.webp", "1.jpg", "2.png"]
    assert found.labels == (0, 1, 1)


def test_fewer_than_two_classes_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    with pytest.raises(UsageError, match="has 0 folders with pictures"):
        read_classes(tmp_path)
    with pytest.raises(UsageError, match="Cannot read the folder"):
        read_classes(tmp_path / "nowhere")
