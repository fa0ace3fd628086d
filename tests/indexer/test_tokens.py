"""Every picture that is indexed has its tokens, whatever happened in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer import embedding
from indexer.filling import rebuild_tokens
from mmsearch.errors import StorageError, UsageError
from mmsearch.rerank.token_store import TokenStore, TokenStores
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality, TokenFormat, TokenSummary
from tests.indexer.projecting import ProjectingReranker
from tests.indexer.shelf import Shelf, counts, put, touch
from tests.media.recordings import BLUE, RED, shots, tone, write_video

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def shelf(shelf: Shelf) -> Shelf:
    """A library whose encoder has a reranker."""
    shelf.reranker = ProjectingReranker()
    return shelf


@pytest.fixture
def full(photos: Path) -> Path:
    """A folder with three batches of pictures."""
    for number in range(20):
        put(photos / f"{number:02}.png", number)
    return photos


def film(path: Path, seconds: float = 1.5) -> Path:
    write_video(path, shots((RED, seconds), (BLUE, seconds)), gop=5, sound=(0.0, tone(1.0, rate=16_000, hertz=900)))
    touch(path)
    return path


def expected(shelf: Shelf, path: Path) -> bytes:
    """The tokens of a picture file."""
    assert shelf.reranker is not None
    encoder = type(shelf.encoder)()
    with Image.open(path) as image:
        _, patches = encoder.encode_images_with_patches([encoder.prepare_image(image.convert("RGB"))])
    return shelf.reranker.compress(patches)[0].tobytes()


def check(shelf: Shelf) -> None:
    """Every photo has its own tokens, and every frame has some."""
    for path, rows in shelf.tokens().items():
        assert None not in rows, path
        if path.suffix == ".png" and path.exists():
            assert rows == [expected(shelf, path)]


def lacking(shelf: Shelf) -> int:
    return sum(row is None for rows in shelf.tokens().values() for row in rows)


def rebuild(shelf: Shelf, **options: int) -> TokenSummary:
    rerankers = {} if shelf.reranker is None else {shelf.encoder.id: shelf.reranker}
    with Catalog.open(shelf.library) as catalog:
        stores = TokenStores(shelf.library / "tokens", catalog.library_id)
        return rebuild_tokens(catalog, [shelf.encoder], rerankers, stores, **options)


def test_pictures_are_embedded_once_and_as_without_a_reranker(shelf: Shelf, full: Path, tmp_path: Path) -> None:
    plain = Shelf(tmp_path / "plain")
    plain.sync(full)
    summary = shelf.sync(full)
    assert shelf.vectors() == plain.vectors() and shelf.encoder.batches == plain.encoder.batches
    check(shelf)
    assert summary.notices == () and summary.stage_seconds["tokens"] > 0
    assert not (plain.library / "tokens").exists()
    assert len(shelf.token_store()) == 20


def test_frames_of_a_video_have_tokens_of_their_own_collection(shelf: Shelf, photos: Path) -> None:
    put(photos / "photo.png", 1)
    film(photos / "film.mp4")
    put(photos / "note.txt", "A note.")
    shelf.sync(photos)
    check(shelf)
    (first, second) = shelf.tokens()[photos / "film.mp4"]
    assert first != second
    assert (len(shelf.token_store()), len(shelf.token_store(Modality.VIDEO))) == (1, 2)


def test_frames_of_a_video_that_fills_several_batches_have_tokens(shelf: Shelf, photos: Path) -> None:
    film(photos / "film.mp4", 4.0)
    put(photos / "photo.png", 1)
    shelf.sync(photos, batch_size=1)
    check(shelf)


def test_a_library_of_texts_has_no_tokens(shelf: Shelf, photos: Path) -> None:
    put(photos / "note.txt", "A note.")
    assert "tokens" not in shelf.sync(photos).stage_seconds
    assert not (shelf.library / "tokens").exists()


def test_patches_of_few_pictures_are_held_at_once(shelf: Shelf, full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_PATCH_BYTES", 3 * 4 * 16 * 3)
    shelf.sync(full)
    check(shelf)
    assert shelf.reranker is not None and shelf.reranker.most == 3


def test_copied_and_moved_pictures_take_their_tokens_along(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    shutil.copy(full / "03.png", full / "copy.png")
    (full / "04.png").rename(full / "moved.png")
    shutil.copy(film(full / "film.mp4"), full / "again.mp4")
    embedded = sum(shelf.encoder.batches)
    summary = shelf.sync(full)
    assert (summary.moved, summary.copied) == (1, 2)
    check(shelf)
    tokens = shelf.tokens()
    assert tokens[full / "again.mp4"] == tokens[full / "film.mp4"]
    assert sum(shelf.encoder.batches) == embedded + 2  # the frames of one film


def test_tokens_of_removed_pictures_are_dropped_when_they_are_many(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    for number in range(5):
        (full / f"{number:02}.png").unlink()
    shelf.sync(full)
    assert len(shelf.token_store()) == 20
    (full / "05.png").unlink()
    shelf.sync(full)
    assert len(shelf.token_store()) == 14
    check(shelf)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_kill_between_commit_and_append_is_made_up_for_by_the_next_run(shelf: Shelf, full: Path) -> None:
    film(full / "film.mp4")
    script = """
import os, signal, sys
from pathlib import Path
from indexer.tokens import TokenKeeper
from tests.indexer.projecting import ProjectingReranker
from tests.indexer.shelf import Shelf
calls = []
def kill(self, segments, ids, tokens):
    calls.append(ids)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    keep(self, segments, ids, tokens)
keep, TokenKeeper.keep = TokenKeeper.keep, kill
shelf = Shelf(Path(sys.argv[2]))
shelf.reranker = ProjectingReranker()
shelf.sync(Path(sys.argv[1]))
"""
    done = subprocess.run([sys.executable, "-c", script, full, shelf.library], cwd=REPOSITORY, check=False)
    assert done.returncode == -signal.SIGKILL
    assert lacking(shelf) == 8
    summary = shelf.sync(full)
    assert "Made the tokens of 8 pictures that had none." in summary.notices
    check(shelf)
    manifest = shelf.token_store().manifest
    assert manifest is not None and manifest.runs == (0,)  # what filled the gap came before what was new
    assert sum(shelf.encoder.batches) == 8 + 4 + 2  # the gap, the rest of the photos, and the frames


def test_a_first_batch_that_was_killed_is_made_up_for_as_well(shelf: Shelf, full: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:

        def fail(self: TokenStore, ids: object, tokens: object) -> None:
            raise StorageError("The disk is full.")

        patch.setattr(TokenStore, "append", fail)
        with pytest.raises(StorageError):
            shelf.sync(full)
    assert lacking(shelf) == 8
    shelf.sync(full)
    check(shelf)


def test_a_gap_whose_file_changed_or_vanished_is_left_alone(shelf: Shelf, full: Path, tmp_path: Path) -> None:
    shelf.sync(full)
    shutil.rmtree(shelf.library / "tokens")
    put(tmp_path / "other" / "one.png", 50)
    shelf.sync(tmp_path / "other")  # begins the store anew; what was there before is not missed
    rebuild(shelf)
    _cut(shelf, 5)
    touch(full / "18.png")
    (full / "19.png").unlink()
    shelf.sync(tmp_path / "other")
    assert {path.name for path, rows in shelf.tokens().items() if None in rows} == {"18.png", "19.png"}
    shelf.sync(full)
    shelf.sync(full)
    check(shelf)


def _cut(shelf: Shelf, rows: int) -> None:
    """Take the last rows from the store, as a crash may."""
    store = shelf.token_store()
    (path,) = store.folder.glob("rows-*.bin")
    os.truncate(path, path.stat().st_size * (len(store) - rows) // len(store))


def test_damaged_rows_at_the_end_are_made_again(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    before = shelf.tokens()
    _cut(shelf, 3)
    assert lacking(shelf) == 3
    shelf.sync(full)
    assert shelf.tokens() == before


def test_what_is_indexed_without_tokens_is_not_missed(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    put(full / "more.png", 90)
    shelf.sync(full, tokens=False)
    put(full / "even more.png", 91)
    embedded = sum(shelf.encoder.batches)
    assert shelf.sync(full).notices == ()
    assert sum(shelf.encoder.batches) == embedded + 1
    assert [path.name for path, rows in shelf.tokens().items() if None in rows] == ["more.png"]
    assert rebuild(shelf).made == 22
    check(shelf)


def test_a_library_from_before_is_told_how_to_get_tokens(shelf: Shelf, full: Path) -> None:
    shelf.sync(full, tokens=False)
    assert not (shelf.library / "tokens").exists()
    put(full / "more.png", 90)
    (notice,) = shelf.sync(full).notices
    assert "20 photos that were indexed before" in notice and "mmsearch rebuild --tokens" in notice
    assert shelf.sync(full).notices == () and lacking(shelf) == 20
    summary = rebuild(shelf)
    assert (summary.made, summary.missing, summary.changed, summary.skipped) == (21, 0, 0, ())
    check(shelf)


def test_tokens_of_another_reranker_are_replaced(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    shelf.reranker = ProjectingReranker(1)
    assert shelf.sync(full).notices == ()  # nothing new: those of before are kept
    put(full / "more.png", 90)
    (notice,) = shelf.sync(full).notices
    assert "20 photos" in notice and lacking(shelf) == 20
    rebuild(shelf)
    check(shelf)


def test_a_rebuild_tells_of_files_that_are_missing_or_changed_and_keeps_their_tokens(
    shelf: Shelf, full: Path, tmp_path: Path
) -> None:
    film(full / "film.mp4")
    shelf.sync(full)
    before = shelf.tokens()
    full.rename(tmp_path / "away")
    assert rebuild(shelf).missing == 21
    (tmp_path / "away").rename(full)
    touch(full / "07.png")
    (full / "08.png").unlink()
    summary = rebuild(shelf, batch_size=3, threads=2)
    assert (summary.made, summary.missing, summary.changed) == (20, 1, 1)
    assert shelf.tokens() == before
    store = shelf.token_store()
    assert len(store) == 20 and store.manifest is not None and store.manifest.runs == (0,)


def test_a_rebuild_that_is_interrupted_is_gone_on_with_by_the_next_run(shelf: Shelf, full: Path) -> None:
    shelf.sync(full, tokens=False)
    batches = len(shelf.encoder.batches)

    def interrupt(number: int) -> None:
        if number == batches + 1:
            signal.raise_signal(signal.SIGINT)

    shelf.encoder.before_batch = interrupt
    summary = rebuild(shelf)
    assert summary.interrupted and 0 < summary.made < 20
    assert lacking(shelf) == 20 - summary.made
    shelf.encoder.before_batch = lambda number: None
    assert counts(shelf.sync(full)) == {"unchanged": 20}
    check(shelf)


def test_without_a_reranker_there_is_nothing_to_rebuild(shelf: Shelf, full: Path) -> None:
    shelf.reranker = None
    shelf.sync(full)
    with pytest.raises(UsageError, match="hashing"):
        rebuild(shelf)


def test_a_catalog_that_was_put_back_does_not_get_tokens_of_other_pictures(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    backup = (shelf.library / "catalog.sqlite3").read_bytes()
    for number in range(40, 45):
        put(full / f"{number}.png", number)
    shelf.sync(full)
    for file in shelf.library.glob("catalog.sqlite3*"):
        file.unlink()
    (shelf.library / "catalog.sqlite3").write_bytes(backup)
    for number in range(40, 45):
        put(full / f"{number}.png", 100 + number)
    shelf.sync(full)
    check(shelf)
    assert len(shelf.token_store()) == 25


def test_tokens_that_do_not_fit_on_the_disk_are_told_and_made_later(shelf: Shelf, photos: Path) -> None:
    pytest.importorskip("resource")
    for number in range(48):
        put(photos / f"{number:02}.png", number)
    script = """
import resource, signal, sys
from pathlib import Path
from mmsearch.errors import StorageError
from mmsearch.types import TokenFormat
from tests.indexer.projecting import ProjectingReranker
from tests.indexer.shelf import Shelf
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
shelf = Shelf(Path(sys.argv[2]))
shelf.reranker = ProjectingReranker(0, TokenFormat(64, 512))
try:
    shelf.sync(Path(sys.argv[1]))
except StorageError as error:
    print(error)
"""
    command = [sys.executable, "-c", script, photos, shelf.library]
    done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert "tokens" in done.stdout and "Free the disk" in done.stdout
    shelf.reranker = ProjectingReranker(0, TokenFormat(64, 512))
    assert len(shelf.token_store()) == 24 and lacking(shelf) == 8
    shelf.sync(photos)
    check(shelf)
    assert len(shelf.token_store()) == 48 == np.unique(shelf.token_store().ids()).size
