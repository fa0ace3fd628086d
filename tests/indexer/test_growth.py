"""Files of many batches: stored bit by bit, in bounded memory, and whole in the end whatever happens in between."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmsearch.errors import EncoderError
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality, Progress
from tests.indexer.shelf import Shelf, counts, put

REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Batches of two pictures are batches of 32 texts.
SMALL = {"batch_size": 2}
BATCH = 32


def _rows(count: int, word: str = "row") -> str:
    """Subtitles of no film, each a passage of its own: pauses part them."""
    times = [f"{at // 360:02}:{at // 6 % 60:02}:{at % 6 * 10:02},000" for at in range(count)]
    return "".join(f"{time} --> {time}\n{word}{number} speaks\n\n" for number, time in enumerate(times))


def _named(shelf: Shelf, path: Path) -> list[str]:
    return [(text or "").split()[0] for text in shelf.texts(path)]


def _expect_whole(shelf: Shelf, path: Path, count: int, word: str = "row") -> None:
    """All passages are there, once, in order, with vectors and in full-text search."""
    assert _named(shelf, path) == [f"{word}{number}" for number in range(count)]
    assert [segment.ordinal for segment in shelf.segments(path)] == list(range(count))
    for number in (0, count // 2, count - 1):
        assert len(shelf.said(f"{word}{number}")) == 1


def _run(tmp_path: Path, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.indexer.grower", folder, tmp_path / "library", *map(str, options)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_a_long_text_is_stored_over_many_batches(shelf: Shelf, photos: Path) -> None:
    text = put(photos / "long.srt", _rows(300))
    assert counts(shelf.sync(photos, **SMALL)) == {"new": 1, "embedded": 300}
    _expect_whole(shelf, text, 300)
    assert counts(shelf.sync(photos, **SMALL)) == {"unchanged": 1}


@pytest.mark.parametrize("sizes", [(100, 40, 33, 3, 200, 31, 1, 64), (45, 300, 20, 300, 5), (32, 32, 64, 1, 31)])
@pytest.mark.parametrize("threads", [1, 3])
def test_long_texts_that_share_batches_keep_their_own_passages(
    shelf: Shelf, photos: Path, sizes: tuple[int, ...], threads: int
) -> None:
    texts = {put(photos / f"{n}.srt", _rows(size, f"text{n}x")): size for n, size in enumerate(sizes)}
    assert counts(shelf.sync(photos, threads=threads, **SMALL)) == {"new": len(sizes), "embedded": sum(sizes)}
    for number, (path, size) in enumerate(texts.items()):
        _expect_whole(shelf, path, size, f"text{number}x")


def test_a_long_text_that_changed_takes_the_place_of_the_old_one(shelf: Shelf, photos: Path) -> None:
    text = put(photos / "long.srt", _rows(200))
    put(photos / "other.txt", "Another.")
    shelf.sync(photos, **SMALL)
    put(text, _rows(150, "line"))
    assert counts(shelf.sync(photos, **SMALL)) == {"changed": 1, "unchanged": 1, "embedded": 150}
    _expect_whole(shelf, text, 150, "line")
    assert shelf.said("row0 row100") == []


def test_long_texts_are_copied_and_moved_like_any(shelf: Shelf, photos: Path) -> None:
    for name in ("a", "b"):
        put(photos / f"{name}.srt", _rows(100))
    assert counts(shelf.sync(photos, **SMALL)) == {"new": 1, "copied": 1, "embedded": 100}
    (photos / "b.srt").rename(photos / "c.srt")
    assert counts(shelf.sync(photos, **SMALL)) == {"moved": 1, "unchanged": 1}
    for name in ("a", "c"):
        assert _named(shelf, photos / f"{name}.srt") == [f"row{number}" for number in range(100)]


def test_ctrl_c_in_the_middle_of_a_file_keeps_the_files_before_it(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.txt", "The first note.")
    text = put(photos / "long.srt", _rows(500))

    def interrupt(texts: int) -> None:
        if texts >= 4 * BATCH and not interrupted:
            interrupted.append(True)
            signal.raise_signal(signal.SIGINT)

    interrupted: list[bool] = []
    shelf.encoder.before_texts = interrupt
    summary = shelf.sync(photos, **SMALL)
    assert summary.interrupted and summary.new == 1
    assert 4 * BATCH <= shelf.encoder.texts < 500
    assert shelf.texts(photos / "a.txt") == ["The first note."]
    # What was stored of the other is found already, and replaced by the next run.
    assert len(shelf.said("row0")) == 1
    assert counts(shelf.sync(photos, **SMALL)) == {"changed": 1, "unchanged": 1, "embedded": 500}
    _expect_whole(shelf, text, 500)


def test_a_second_ctrl_c_in_the_middle_of_a_file_ends_the_run_at_once(shelf: Shelf, photos: Path) -> None:
    text = put(photos / "long.srt", _rows(500))

    def interrupt(texts: int) -> None:
        if texts == 4 * BATCH:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    shelf.encoder.before_texts = interrupt
    with pytest.raises(KeyboardInterrupt):
        shelf.sync(photos, **SMALL)
    shelf.encoder.before_texts = lambda texts: None
    shelf.sync(photos, **SMALL)
    _expect_whole(shelf, text, 500)


def test_an_encoder_that_fails_in_the_middle_of_a_file_ends_the_run(shelf: Shelf, photos: Path) -> None:
    text = put(photos / "long.srt", _rows(300))
    put(photos / "sub" / "last.txt", "The last note.")

    def fail(texts: int) -> None:
        if texts >= 3 * BATCH:
            raise EncoderError("out of luck")

    shelf.encoder.before_texts = fail
    with pytest.raises(EncoderError, match="out of luck"):
        shelf.sync(photos, **SMALL)
    assert 0 < len(shelf.segments(text)) < 300
    shelf.encoder.before_texts = lambda texts: None
    assert counts(shelf.sync(photos, **SMALL)) == {"changed": 1, "new": 1, "embedded": 301}
    _expect_whole(shelf, text, 300)


def test_half_a_file_is_neither_copied_nor_taken_for_the_whole(shelf: Shelf, photos: Path) -> None:
    text = put(photos / "long.srt", _rows(300))

    def fail(texts: int) -> None:
        if texts >= 3 * BATCH:
            raise EncoderError("out of luck")

    shelf.encoder.before_texts = fail
    with pytest.raises(EncoderError):
        shelf.sync(photos, **SMALL)
    shelf.encoder.before_texts = lambda texts: None
    text.rename(photos / "moved.srt")
    put(photos / "copy.srt", _rows(300))
    assert counts(shelf.sync(photos, **SMALL)) == {"new": 1, "copied": 1, "removed": 1, "embedded": 300}
    for name in ("moved", "copy"):
        assert _named(shelf, photos / f"{name}.srt") == [f"row{number}" for number in range(300)]


def test_a_half_read_file_that_turns_bad_leaves_the_library(shelf: Shelf, photos: Path) -> None:
    text = put(photos / "long.srt", _rows(300))

    def fail(texts: int) -> None:
        if texts >= 3 * BATCH:
            raise EncoderError("out of luck")

    shelf.encoder.before_texts = fail
    with pytest.raises(EncoderError):
        shelf.sync(photos, **SMALL)
    shelf.encoder.before_texts = lambda texts: None
    put(text, b"\0\1\2" * 1000)
    assert counts(shelf.sync(photos, **SMALL)) == {"skipped": 1}
    assert shelf.items() == {} and shelf.said("row0") == []


def test_progress_says_how_far_a_long_file_is(shelf: Shelf, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.reporter._EVERY_S", 0)
    put(photos / "long.srt", _rows(200))
    events: list[Progress] = []
    shelf.sync(photos, progress=events.append, **SMALL)
    notes = [event.note for event in events if event.note]
    assert notes[0] == "long.srt: 16 parts so far" and len(notes) == 200 // 16
    assert events[-1].done == 1 or {event.done for event in events if event.stage == "embed"} == {0, 1}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize("killed_at", [1, 1100])
def test_a_kill_in_the_middle_of_a_file_loses_and_doubles_nothing(tmp_path: Path, photos: Path, killed_at: int) -> None:
    for number, size in enumerate((20, 1300, 30)):
        put(photos / f"{number}.srt", _rows(size, f"text{number}x"))
    killed = _run(tmp_path, photos, "--kill", killed_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shelf = Shelf(tmp_path / "library")
    found = counts(shelf.sync(photos))
    assert found.get("new", 0) + found.get("changed", 0) + found.get("unchanged", 0) == 3
    for number, size in enumerate((20, 1300, 30)):
        _expect_whole(shelf, photos / f"{number}.srt", size, f"text{number}x")
    with Catalog.open(shelf.library) as catalog:
        assert catalog.status().segments == 1350
        assert catalog.vector_source("hashing", Modality.TEXT).watermark().count == 1350


def test_a_disk_that_is_full_in_the_middle_of_a_file_keeps_what_was_stored(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("resource")
    put(photos / "a.txt", "The first note.")
    text = put(photos / "long.srt", _rows(5000))
    full = _run(tmp_path, photos, "--limit", 1 << 20)
    assert full.returncode == 1 and "StorageError" in full.stderr.splitlines()[-1], full.stderr
    shelf = Shelf(tmp_path / "library")
    assert len(shelf.segments(text)) < 5000
    found = counts(shelf.sync(photos))
    assert found["embedded"] >= 5000 and found["changed"] == 1
    _expect_whole(shelf, text, 5000)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")
def test_memory_does_not_grow_with_the_length_of_a_text(tmp_path: Path) -> None:
    def grown(size_bytes: int, name: str) -> int:
        folder = tmp_path / name / "texts"
        put(folder / "long.txt", ("A sentence of a long text. " * 25 + "\n\n") * (size_bytes // 677))
        done = _run(folder.parent, folder)
        assert done.returncode == 0, done.stderr
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert figures["new"] == 1 and figures["embedded"] > size_bytes // 1000
        return int(figures["grown_bytes"])

    short, long = grown(2 << 20, "short"), grown(20 << 20, "long")
    assert long < short + (12 << 20)


def test_many_texts_that_are_looked_ahead_at_are_not_held(shelf: Shelf, photos: Path) -> None:
    import tracemalloc

    sentence = "A sentence that is neither long nor short, number {}. "
    for number in range(16):
        put(photos / f"{number}.txt", "".join(sentence.format(number * 10_000 + n) for n in range(20_000)))

    def stop(texts: int) -> None:
        peaks.append(tracemalloc.get_traced_memory()[1])
        if texts > 500:
            signal.raise_signal(signal.SIGINT)

    peaks: list[int] = []
    shelf.encoder.before_texts = stop
    tracemalloc.start()
    try:
        assert shelf.sync(photos, batch_size=32, threads=2).interrupted
    finally:
        tracemalloc.stop()
    # Together they are 18 MB.
    assert peaks[-1] < 12 << 20
