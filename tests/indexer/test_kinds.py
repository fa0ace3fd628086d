"""Texts, sounds and videos are indexed as photos are: segments with their places, and nothing embedded twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality
from tests.indexer.shelf import Shelf, counts, put, reasons, touch
from tests.media.documents import lines_drawn, paragraph, pdf, word
from tests.media.recordings import BLUE, RED, shots, tone, write_sound, write_video

RATE = 16_000


@pytest.fixture
def folder(photos: Path) -> Path:
    """One file of each kind: a video of two shots with a second of sound, a sound of two seconds, a note, a photo."""
    put(photos / "photo.png", 1)
    put(photos / "note.txt", "The harbour at dawn. Two boats leave for the open sea.")
    write_sound(photos / "sound.wav", tone(2.0, rate=RATE), rate=RATE)
    write_video(
        photos / "film.mp4", shots((RED, 1.5), (BLUE, 1.5)), gop=5, sound=(0.0, tone(2.0, rate=RATE, hertz=900))
    )
    return photos


def test_every_kind_of_file_becomes_an_item_with_segments_of_its_kind(shelf: Shelf, folder: Path) -> None:
    summary = shelf.sync(folder)
    assert counts(summary) == {"new": 4, "embedded": summary.embedded}
    assert shelf.items() == {
        "photo.png": Modality.IMAGE,
        "note.txt": Modality.TEXT,
        "sound.wav": Modality.AUDIO,
        "film.mp4": Modality.VIDEO,
    }
    kinds = {name: [segment.modality for segment in shelf.segments(folder / name)] for name in shelf.items()}
    assert set(kinds["photo.png"]) == {Modality.IMAGE} and set(kinds["note.txt"]) == {Modality.TEXT}
    assert set(kinds["sound.wav"]) == {Modality.AUDIO} and set(kinds["film.mp4"]) == {Modality.VIDEO, Modality.AUDIO}
    assert summary.embedded == sum(map(len, kinds.values())) == sum(summary.embedded_by.values())
    assert summary.embedded_by["image"] == 1 and summary.embedded_by["text"] == 1


def test_windows_of_a_sound_have_their_times(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    sound = shelf.segments(folder / "sound.wav")
    assert [(s.start_ms, s.end_ms) for s in sound] == [(0, 1000), (500, 1500), (1000, 2000)]
    assert [s.ordinal for s in sound] == [0, 1, 2]
    with Catalog.open(shelf.library) as catalog:
        item = catalog.item_at(folder / "sound.wav")
    assert item is not None and item.info.duration_ms == 2000


def test_frames_of_a_video_have_their_time_and_shot(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    frames = [s for s in shelf.segments(folder / "film.mp4") if s.modality is Modality.VIDEO]
    assert [s.shot for s in frames] == [0, 1]
    times = [s.start_ms for s in frames]
    assert times[0] is not None and times[1] is not None and 0 <= times[0] < 1500 <= times[1] < 3000
    with Catalog.open(shelf.library) as catalog:
        item = catalog.item_at(folder / "film.mp4")
    assert item is not None
    assert (item.info.width, item.info.height) == (64, 48) and abs((item.info.duration_ms or 0) - 3000) < 200


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.rst", "a.HTML", "a.csv", "a.json", "a.jsonl", "a.srt", "a.docx"])
def test_every_kind_of_text_gives_its_passages(shelf: Shelf, photos: Path, name: str) -> None:
    content: dict[str, str | bytes] = {
        "a.HTML": "<html><script>var secret;</script><body><p>A green parrot sings.</p></body></html>",
        "a.csv": "bird,does\nA green parrot,sings\n",
        "a.json": '[{"bird": "A green parrot", "does": "sings"}]',
        "a.jsonl": '{"bird": "A green parrot", "does": "sings"}\n',
        "a.srt": "1\n00:00:03,000 --> 00:00:05,500\nA green parrot sings.\n",
        "a.docx": word(paragraph("A green parrot sings.")),
    }
    put(photos / name, content.get(name, "A green parrot sings.\n"))
    assert counts(shelf.sync(photos)) == {"new": 1, "embedded": 1}
    (passage,) = shelf.segments(photos / name)
    assert passage.modality is Modality.TEXT and passage.text is not None
    assert passage.start_char is not None and passage.end_char is not None
    assert "parrot" in passage.text and "secret" not in passage.text
    assert shelf.said("parrot") == [passage.text]
    if name == "a.srt":
        assert (passage.start_ms, passage.end_ms) == (3000, 5500)


def test_passages_of_a_pdf_have_their_page(shelf: Shelf, photos: Path) -> None:
    pytest.importorskip("pypdf")
    pages = [[f"Line {n} of a page about {what}." for n in range(9)] for what in ("whales", "owls")]
    put(photos / "a.pdf", pdf([lines_drawn(lines) for lines in pages]))
    shelf.sync(photos)
    found = {s.page: s.text or "" for s in shelf.segments(photos / "a.pdf")}
    assert set(found) == {1, 2} and "whales" in found[1] and "owls" in found[2]


def test_a_second_run_embeds_and_decodes_nothing(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    before = shelf.encoder.texts, shelf.encoder.sounds, shelf.encoder.prepared
    summary = shelf.sync(folder)
    assert counts(summary) == {"unchanged": 4} and summary.stage_seconds["decode"] == 0
    for path in folder.iterdir():
        touch(path)
    assert counts(shelf.sync(folder)) == {"unchanged": 4}
    assert before == (shelf.encoder.texts, shelf.encoder.sounds, shelf.encoder.prepared)


def test_moved_files_of_every_kind_are_recognised_without_decoding(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    segments = {name: shelf.segments(folder / name) for name in shelf.items()}
    before = shelf.encoder.texts, shelf.encoder.sounds, shelf.encoder.prepared
    (folder / "new").mkdir()
    for name in segments:
        (folder / name).rename(folder / "new" / f"moved {name}")
    assert counts(shelf.sync(folder)) == {"moved": 4}
    assert before == (shelf.encoder.texts, shelf.encoder.sounds, shelf.encoder.prepared)
    assert {name: shelf.segments(folder / "new" / f"moved {name}") for name in segments} == segments


def test_copies_of_every_kind_share_their_embeddings_and_texts(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    before = shelf.encoder.texts, shelf.encoder.sounds, shelf.encoder.prepared
    for path in list(folder.iterdir()):
        put(folder / "copies" / path.name, path.read_bytes())
    assert counts(shelf.sync(folder)) == {"copied": 4, "unchanged": 4}
    assert before == (shelf.encoder.texts, shelf.encoder.sounds, shelf.encoder.prepared)
    for name in ("note.txt", "sound.wav", "film.mp4"):
        places = [
            [(s.modality, s.start_ms, s.end_ms, s.start_char, s.text, s.shot) for s in shelf.segments(path)]
            for path in (folder / name, folder / "copies" / name)
        ]
        assert places[0] == places[1]
    assert len(shelf.said("harbour")) == 2


def test_equal_new_texts_are_embedded_once(shelf: Shelf, photos: Path) -> None:
    for number in range(20):
        put(photos / f"{number}.txt", f"Note number {number % 3}.")
    assert counts(shelf.sync(photos)) == {"new": 3, "copied": 17, "embedded": 3}


def test_equal_bytes_under_another_suffix_are_read_in_their_own_way(shelf: Shelf, photos: Path) -> None:
    html = "<p>A <b>green</b> parrot.</p>"
    put(photos / "a.txt", html)
    shelf.sync(photos)
    put(photos / "b.html", html)
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 1, "embedded": 1}
    assert (shelf.texts(photos / "a.txt"), shelf.texts(photos / "b.html")) == ([html], ["A green parrot."])
    (photos / "b.html").rename(photos / "c.TXT")
    assert counts(shelf.sync(photos)) == {"copied": 1, "removed": 1, "unchanged": 1}
    assert shelf.texts(photos / "c.TXT") == [html]


def test_a_film_named_as_a_sound_is_heard_and_not_seen(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    put(folder / "film.m4a", (folder / "film.mp4").read_bytes())
    assert counts(shelf.sync(folder))["new"] == 1
    assert {s.modality for s in shelf.segments(folder / "film.m4a")} == {Modality.AUDIO}


def test_an_edited_text_is_replaced_as_a_whole(shelf: Shelf, photos: Path) -> None:
    put(photos / "note.txt", "An old sentence about herons.")
    put(photos / "other.txt", "Another note.")
    shelf.sync(photos)
    (old,) = shelf.segments(photos / "note.txt")
    put(photos / "note.txt", "A new sentence about otters.")
    assert counts(shelf.sync(photos)) == {"changed": 1, "unchanged": 1, "embedded": 1}
    assert shelf.texts(photos / "note.txt") == ["A new sentence about otters."]
    assert shelf.said("herons") == [] and shelf.said("otters") == ["A new sentence about otters."]
    with Catalog.open(shelf.library) as catalog:
        assert catalog.vectors(shelf.encoder.id, [old.id])[0].size == 0
        store = catalog.vector_source(shelf.encoder.id, Modality.TEXT)
        assert store.watermark().count == 2


def test_a_deleted_file_leaves_nothing_behind(shelf: Shelf, folder: Path) -> None:
    shelf.sync(folder)
    for name in ("note.txt", "sound.wav", "film.mp4"):
        (folder / name).unlink()
    assert counts(shelf.sync(folder)) == {"removed": 3, "unchanged": 1}
    assert shelf.said("harbour") == []
    with Catalog.open(shelf.library) as catalog:
        assert [(record.modality, record.count) for record in catalog.collections()] == [(Modality.IMAGE, 1)]
        assert catalog.status().segments == 1


def test_a_text_that_became_bad_leaves_the_library(shelf: Shelf, photos: Path) -> None:
    put(photos / "note.txt", "About herons.")
    put(photos / "other.txt", "Another note.")
    shelf.sync(photos)
    put(photos / "note.txt", bytes(range(256)) * 20)
    assert len(reasons(shelf.sync(photos))) == 1
    assert shelf.said("herons") == [] and set(shelf.items()) == {"other.txt"}
    put(photos / "note.txt", "About herons.")
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 1, "embedded": 1}
    assert shelf.failures() == {}


def test_the_tags_of_a_sound_are_texts_of_it(shelf: Shelf, photos: Path) -> None:
    tags = {"title": "Morning rain", "artist": "Ann"}
    write_sound(photos / "rain.flac", tone(1.0, rate=RATE), rate=RATE, tags=tags)
    write_sound(photos / "silent.flac", 0 * tone(1.0, rate=RATE), rate=RATE, tags={"title": "Silence"})
    summary = shelf.sync(photos)
    assert shelf.texts(photos / "rain.flac") == ["Morning rain, Ann"]
    assert shelf.texts(photos / "silent.flac") == ["Silence"]
    assert (summary.skipped, summary.notices) == ((), ())
    put(photos / "again.flac", (photos / "rain.flac").read_bytes())
    other = Shelf(shelf.library.with_name("other"))
    other.sync(photos / "rain.flac", captions=False)
    assert other.texts(photos / "rain.flac") == []


def test_kinds_that_no_model_takes_are_counted_and_passed_over(shelf: Shelf, folder: Path) -> None:
    class Seeing(HashingEncoder):
        modalities = frozenset({Modality.IMAGE})
        sound = None  # type: ignore[assignment]

    shelf.encoder = Seeing()  # type: ignore[assignment]
    summary = shelf.sync(folder)
    assert set(shelf.items()) == {"photo.png", "film.mp4"}
    assert {s.modality for s in shelf.segments(folder / "film.mp4")} == {Modality.VIDEO}
    assert sorted(notice[:12] for notice in summary.notices) == ["1 audio file", "1 text file "]
    alone = shelf.sync(folder / "sound.wav")
    assert [notice[:12] for notice in alone.notices] == ["1 audio file"]
