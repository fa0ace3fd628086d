"""Files that belong to others: captions to photos, subtitles to videos."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from indexer.beside import Beside
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.media.sidecars import sidecar_files
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality
from tests.indexer.shelf import Shelf, counts, put, reasons
from tests.media.pictures import encoded
from tests.media.test_sidecars import RDF, XMP, iptc

SRT = "1\n00:00:01,000 --> 00:00:02,000\n{}\n"


def _captions(shelf: Shelf, photo: Path) -> list[str | None]:
    segments = shelf.segments(photo)
    assert segments[0].modality is Modality.IMAGE
    assert {segment.modality for segment in segments[1:]} <= {Modality.TEXT}
    return [segment.text for segment in segments[1:]]


def test_a_text_beside_a_photo_is_its_caption_and_no_item(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog at the beach.")
    put(photos / "b.txt", "A note without a photo.")
    put(photos / "sub" / "a.txt", "A note in another folder.")
    shelf.sync(photos)
    assert _captions(shelf, photos / "a.png") == ["A dog at the beach."]
    assert shelf.items() == {"a.png": Modality.IMAGE, "b.txt": Modality.TEXT} | {"a.txt": Modality.TEXT}
    assert shelf.segments(photos / "a.txt") == [] and len(shelf.segments(photos / "sub" / "a.txt")) == 1


def test_adding_changing_and_deleting_a_caption_reads_just_that_photo(shelf: Shelf, photos: Path) -> None:
    for number in range(6):
        put(photos / f"{number}.png", number)
    shelf.sync(photos)
    steps: list[tuple[str | None, list[str]]] = [("A dog.", ["A dog."]), ("A cat.", ["A cat."]), (None, [])]
    for text, expected in steps:
        prepared = shelf.encoder.prepared
        if text is None:
            (photos / "3.txt").unlink()
        else:
            put(photos / "3.txt", text)
        assert counts(shelf.sync(photos)) == {"changed": 1, "unchanged": 5, "embedded": 1 + len(expected)}
        assert shelf.encoder.prepared == prepared + 1
        assert _captions(shelf, photos / "3.png") == expected
        assert shelf.said("dog cat") == expected
        assert counts(shelf.sync(photos)) == {"unchanged": 6}


def test_a_caption_that_was_only_touched_embeds_nothing(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog.")
    shelf.sync(photos)
    put(photos / "a.txt", "A dog.")
    assert counts(shelf.sync(photos)) == {"unchanged": 1}
    assert shelf.sync(photos).stage_seconds["decode"] == 0


def test_a_row_of_a_table_that_changed_embeds_just_its_photo(shelf: Shelf, photos: Path) -> None:
    for name in "abc":
        put(photos / f"{name}.png", ord(name))
    put(photos / "captions.csv", "image,caption\na.png,A dog\nb.png,A cat\nb.png,An old cat\n")
    assert counts(shelf.sync(photos)) == {"new": 3, "embedded": 6}
    assert _captions(shelf, photos / "b.png") == ["A cat", "An old cat"] and _captions(shelf, photos / "c.png") == []
    put(photos / "captions.csv", "image,caption\na.png,A dog\nb.png,A tiger\n")
    assert counts(shelf.sync(photos)) == {"changed": 1, "unchanged": 2, "embedded": 2}
    assert _captions(shelf, photos / "b.png") == ["A tiger"]
    (photos / "captions.csv").unlink()
    assert counts(shelf.sync(photos)) == {"changed": 2, "unchanged": 1, "embedded": 2}
    assert shelf.said("dog cat tiger") == []


def test_a_broken_table_is_told_and_costs_nothing_else(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog.")
    put(photos / "captions.csv", "what,is\nthis,table\n")
    summary = shelf.sync(photos)
    assert counts(summary) == {"new": 1, "embedded": 2}
    assert summary.notices == (f"{photos / 'captions.csv'}: no columns image and caption",)
    assert _captions(shelf, photos / "a.png") == ["A dog."]
    assert shelf.sync(photos).notices == ()
    put(photos / "captions.csv", "image,caption\na.png,At the beach\n")
    shelf.sync(photos)
    assert _captions(shelf, photos / "a.png") == ["A dog.", "At the beach"]


def test_a_table_in_a_folder_without_photos_is_a_document(shelf: Shelf, photos: Path) -> None:
    put(photos / "captions.csv", "image,caption\na.png,A dog\n")
    put(photos / "a.txt", "A note.")
    assert counts(shelf.sync(photos)) == {"new": 2, "embedded": 2}


def test_what_is_written_in_xmp_and_iptc_is_found(shelf: Shelf, photos: Path) -> None:
    pytest.importorskip("defusedxml")
    content = encoded(Image.new("RGB", (40, 30), "red"))
    inside = RDF.format("", "<dc:title><rdf:Alt><rdf:li>A red wall</rdf:li></rdf:Alt></dc:title>").encode()
    put(photos / "xmp.jpg", encoded(Image.new("RGB", (40, 30), "blue"), xmp=inside))
    put(photos / "iptc.jpg", content[:2] + iptc((120, "Öl on canvas".encode())) + content[2:])
    put(photos / "beside.jpg", encoded(Image.new("RGB", (40, 30), "green")))
    put(photos / "beside.xmp", XMP)
    summary = shelf.sync(photos)
    assert _captions(shelf, photos / "xmp.jpg") == ["A red wall"]
    assert _captions(shelf, photos / "iptc.jpg") == ["Öl on canvas"]
    assert _captions(shelf, photos / "beside.jpg") == [
        "Summer by the sea",
        "A dog at the beach & its ball",
        "dog, beach",
    ]
    assert summary.notices == () and summary.new == 3
    put(photos / "beside.xmp", b"<no xml")
    summary = shelf.sync(photos)
    assert _captions(shelf, photos / "beside.jpg") == [] and len(summary.notices) == 1
    assert "beside.xmp" in summary.notices[0]


def test_a_long_text_beside_a_photo_is_a_document_of_its_own(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A long story about a dog. " * 1000)
    shelf.sync(photos)
    assert shelf.items() == {"a.png": Modality.IMAGE, "a.txt": Modality.TEXT}
    assert _captions(shelf, photos / "a.png") == []
    put(photos / "a.txt", "A dog.")
    assert counts(shelf.sync(photos)) == {"changed": 1, "removed": 1, "embedded": 2}
    assert shelf.said("dog") == ["A dog."]


def test_an_empty_caption_is_no_failure(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "")
    put(photos / "captions.csv", "")
    summary = shelf.sync(photos)
    assert counts(summary) == {"new": 1, "embedded": 1}
    assert _captions(shelf, photos / "a.png") == []


def test_captions_can_be_left_out(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog.")
    put(photos / "note.txt", "A note.")
    assert counts(shelf.sync(photos, captions=False)) == {"new": 2, "embedded": 2}
    assert _captions(shelf, photos / "a.png") == [] and "a.txt" not in shelf.items()
    assert counts(shelf.sync(photos, captions=False)) == {"unchanged": 2}
    assert counts(shelf.sync(photos)) == {"changed": 1, "unchanged": 1, "embedded": 2}
    assert counts(shelf.sync(photos, captions=False)) == {"changed": 1, "unchanged": 1, "embedded": 1}
    assert shelf.said("dog") == []


def test_a_photo_moves_together_with_its_caption(shelf: Shelf, photos: Path) -> None:
    put(photos / "old" / "a.png", 1)
    put(photos / "old" / "a.txt", "A dog.")
    put(photos / "b.png", 2)
    shelf.sync(photos)
    (photos / "old").rename(photos / "new")
    assert counts(shelf.sync(photos)) == {"moved": 1, "unchanged": 1}
    assert _captions(shelf, photos / "new" / "a.png") == ["A dog."]
    put(photos / "copy.png", 1)
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 2, "embedded": 1}
    assert _captions(shelf, photos / "copy.png") == []


def test_a_photo_is_the_same_file_named_itself_or_found_in_its_folder(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog.")
    put(photos / "captions.csv", "image,caption\na.png,A cat\n")
    (photos / "link.png").symlink_to(photos / "a.png")
    names = os.listdir(photos)
    assert Beside(os.fspath(photos)).number("a.png") == Beside(os.fspath(photos), names).number("a.png") != 0
    assert counts(shelf.sync(photos / "a.png")) == {"new": 1, "embedded": 3}
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 1, "embedded": 1}
    assert counts(shelf.sync(photos / "a.png")) == {"unchanged": 1}


def test_a_caption_that_is_named_itself_is_no_document_either(shelf: Shelf, photos: Path) -> None:
    photo, caption = put(photos / "a.png", 1), put(photos / "a.txt", "A dog.")
    note = put(photos / "note.txt", "A note.")
    summary = shelf.sync(photo, caption, note)
    assert counts(summary) == {"new": 2, "embedded": 3}
    assert summary.notices == ("1 text file belongs to a file beside it and is read together with that.",)
    assert counts(shelf.sync(photos)) == {"unchanged": 2}


def test_a_text_whose_photo_is_passed_over_is_a_document(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog.")
    put(photos / "b.png", 2)
    put(photos / "b.txt", "A cat.")
    shelf.sync(photos, ignore=["a.png"])
    assert set(shelf.items()) == {"a.txt", "b.png"}

    class Reading(HashingEncoder):
        modalities = frozenset({Modality.TEXT})
        sound = None  # type: ignore[assignment]

    reading = Shelf(shelf.library.with_name("reading"))
    reading.encoder = Reading()  # type: ignore[assignment]
    reading.sync(photos)
    assert set(reading.items()) == {"a.txt", "b.txt"}


def test_a_linked_caption_is_no_item(shelf: Shelf, photos: Path, tmp_path: Path) -> None:
    put(photos / "a.png", 1)
    (photos / "a.txt").symlink_to(put(tmp_path / "elsewhere.txt", "A dog."))
    assert counts(shelf.sync(photos)) == {"new": 1, "embedded": 2}
    assert _captions(shelf, photos / "a.png") == ["A dog."]


def test_a_bad_photo_beside_a_caption_is_tried_again_when_that_changes(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", b"text")
    put(photos / "a.txt", "A dog.")
    assert reasons(shelf.sync(photos)) == {"a.png": "not an image"}
    assert shelf.sync(photos).stage_seconds["decode"] == 0
    put(photos / "a.txt", "A cat.")
    assert shelf.sync(photos).stage_seconds["decode"] > 0
    assert counts(shelf.sync(photos)) == {"skipped": 1}


def test_the_names_of_what_lies_beside_a_file_are_told_from_its_name(photos: Path) -> None:
    assert [path.name for path in sidecar_files(photos / "a.b.jpg")] == [
        "a.b.txt",
        "a.b.jpg.txt",
        "captions.csv",
        "a.b.xmp",
        "a.b.jpg.xmp",
    ]
    assert [path.name for path in sidecar_files(photos / "a.mp4")] == ["a.srt", "a.mp4.srt", "a.vtt", "a.mp4.vtt"]
    assert sidecar_files(photos / "a.txt") == sidecar_files(photos / ".jpg") == sidecar_files(photos / "a") == ()


def test_subtitles_beside_a_video_are_texts_of_it_with_their_times(shelf: Shelf, photos: Path) -> None:
    recordings = pytest.importorskip("tests.media.recordings")
    film = recordings.write_video(photos / "film.mp4", recordings.shots((recordings.RED, 2.0)))
    put(photos / "film.srt", SRT.format("A parrot speaks."))
    put(photos / "other.srt", SRT.format("Words of no film."))
    shelf.sync(photos)
    assert shelf.items() == {"film.mp4": Modality.VIDEO, "other.srt": Modality.TEXT}
    (line,) = [s for s in shelf.segments(film) if s.modality is Modality.TEXT]
    assert (line.text, line.start_ms, line.end_ms) == ("A parrot speaks.", 1000, 2000)
    put(photos / "film.srt", SRT.format("An owl is silent."))
    assert counts(shelf.sync(photos))["changed"] == 1
    assert shelf.said("parrot owl") == ["An owl is silent."]
    (photos / "film.srt").unlink()
    assert counts(shelf.sync(photos))["changed"] == 1
    assert shelf.texts(film) == []


def test_subtitles_without_words_keep_no_others_from_being_read(shelf: Shelf, photos: Path) -> None:
    recordings = pytest.importorskip("tests.media.recordings")
    film = recordings.write_video(photos / "film.mp4", recordings.shots((recordings.RED, 1.0)))
    put(photos / "film.srt", "nothing that was timed\n")
    put(photos / "film.mp4.srt", b"\0\1\2\3" * 500)
    put(photos / "film.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nA parrot.\n")
    assert counts(shelf.sync(photos))["new"] == 1
    assert shelf.texts(film) == ["A parrot."]


def test_a_caption_may_change_while_the_library_is_searched(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "a.txt", "A dog.")
    shelf.sync(photos)
    with Catalog.open(shelf.library) as reader:
        put(photos / "a.txt", "A cat.")
        shelf.sync(photos)
        ids, _ = reader.match_text("cat dog", 10)
        assert [record.segment.text for record in reader.segments(ids.tolist()).values()] == ["A cat."]
