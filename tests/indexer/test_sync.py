from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from indexer.sync import SyncOptions
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import EncoderError, EncoderMismatchError, UsageError
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Progress
from tests.indexer.shelf import CountingEncoder, Shelf, counts, picture, put, reasons, touch
from tests.media.pictures import encoded, noise, png_of_zeros


def test_new_files_are_embedded(shelf: Shelf, photos: Path) -> None:
    for number in range(20):
        put(photos / f"sub{number % 3}" / f"{number}.png", number)
    assert counts(shelf.sync(photos)) == {"new": 20, "embedded": 20}
    assert len(shelf.vectors()) == 20
    assert shelf.encoder.batches == [8, 8, 4]


def test_a_second_run_reads_nothing_and_writes_nothing(shelf: Shelf, photos: Path) -> None:
    for number in range(5):
        put(photos / f"{number}.png", number)
    put(photos / "bad.png", b"text")
    put(photos / "empty.png", b"")
    shelf.sync(photos)
    prepared = shelf.encoder.prepared
    before = {path: path.stat().st_mtime_ns for path in shelf.library.rglob("*") if path.is_file()}
    reads = [(photos / f"{number}.png").stat().st_atime_ns for number in range(5)]
    summary = shelf.sync(photos)
    assert counts(summary) == {"unchanged": 5, "skipped": 2}
    assert summary.stage_seconds["decode"] == 0
    assert shelf.encoder.prepared == prepared
    assert [(photos / f"{number}.png").stat().st_atime_ns for number in range(5)] == reads
    after = {path: path.stat().st_mtime_ns for path in shelf.library.rglob("*") if path.is_file()}
    assert {path.name for path in before if after.get(path) != before[path]} <= {
        "catalog.sqlite3-wal",
        "catalog.sqlite3-shm",
    }


def test_a_file_with_other_content_is_embedded_again(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos)
    before = shelf.vectors()
    put(photos / "a.png", 3)
    assert counts(shelf.sync(photos)) == {"changed": 1, "unchanged": 1, "embedded": 1}
    after = shelf.vectors()
    assert after[photos / "b.png"] == before[photos / "b.png"]
    assert after[photos / "a.png"] != before[photos / "a.png"]


def test_a_file_that_was_only_touched_is_not_decoded(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    shelf.sync(photos)
    prepared = shelf.encoder.prepared
    touch(photos / "a.png")
    assert counts(shelf.sync(photos)) == {"unchanged": 1}
    assert shelf.encoder.prepared == prepared
    assert shelf.sync(photos).stage_seconds["decode"] == 0


def test_a_renamed_folder_is_not_embedded_again(shelf: Shelf, photos: Path) -> None:
    for number in range(30):
        put(photos / "old" / f"{number}.png", number)
    shelf.sync(photos)
    before, prepared = shelf.vectors(), shelf.encoder.prepared
    (photos / "old").rename(photos / "new")
    assert counts(shelf.sync(photos)) == {"moved": 30}
    assert shelf.encoder.prepared == prepared
    assert shelf.vectors() == {photos / "new" / path.name: vector for path, vector in before.items()}


def test_a_copied_file_shares_the_embedding(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    shelf.sync(photos)
    put(photos / "copy.png", 1)
    assert counts(shelf.sync(photos)) == {"copied": 1, "unchanged": 1}
    assert shelf.encoder.prepared == 1
    assert len(set(shelf.vectors().values())) == 1


def test_equal_new_files_are_embedded_once(shelf: Shelf, photos: Path) -> None:
    for number in range(40):
        put(photos / f"{number:02}.png", number % 3)
    assert counts(shelf.sync(photos)) == {"new": 3, "copied": 37, "embedded": 3}
    assert shelf.encoder.prepared == 3
    assert len(shelf.vectors()) == 40


def test_files_that_swapped_their_names_swap_their_embeddings(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos)
    before = shelf.vectors()
    (photos / "a.png").rename(photos / "c")
    (photos / "b.png").rename(photos / "a.png")
    (photos / "c").rename(photos / "b.png")
    assert counts(shelf.sync(photos)) == {"moved": 2}
    assert shelf.vectors() == {
        photos / "a.png": before[photos / "b.png"],
        photos / "b.png": before[photos / "a.png"],
    }


def test_files_that_were_all_renumbered_keep_their_embeddings(shelf: Shelf, photos: Path) -> None:
    for number in range(30):
        put(photos / f"{number:02}.png", number)
    shelf.sync(photos)
    before, prepared = shelf.vectors(), shelf.encoder.prepared
    for number in reversed(range(30)):
        (photos / f"{number:02}.png").rename(photos / f"{number + 1:02}.png")
    assert counts(shelf.sync(photos)) == {"moved": 30}
    assert shelf.encoder.prepared == prepared
    assert shelf.vectors() == {photos / f"{n + 1:02}.png": before[photos / f"{n:02}.png"] for n in range(30)}


def test_the_original_beside_an_edited_file_keeps_the_embedding(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    shelf.sync(photos)
    before = shelf.vectors()[photos / "a.png"]
    (photos / "a.png").rename(photos / "a-original.png")
    put(photos / "a.png", 2)
    assert counts(shelf.sync(photos)) == {"changed": 1, "moved": 1, "embedded": 1}
    assert shelf.vectors()[photos / "a-original.png"] == before


def test_a_deleted_file_is_removed(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos)
    (photos / "a.png").unlink()
    assert counts(shelf.sync(photos)) == {"removed": 1, "unchanged": 1}
    assert shelf.names(photos) == {"b.png"}


@pytest.mark.parametrize("missing", [True, False])
def test_the_files_of_an_unmounted_disk_are_kept(shelf: Shelf, photos: Path, missing: bool) -> None:
    disk = photos / "disk"
    for number in range(3):
        put(disk / f"{number}.png", number)
    shelf.sync(disk)
    disk.rename(photos / "unmounted")
    if not missing:
        disk.mkdir()
    summary = shelf.sync(disk)
    assert counts(summary) == {"kept": 3}
    assert ("missing" if missing else "empty") in summary.notices[0]
    assert "--prune" in summary.notices[0]
    assert len(shelf.vectors()) == 3
    if not missing:
        disk.rmdir()
    (photos / "unmounted").rename(disk)
    assert counts(shelf.sync(disk)) == {"unchanged": 3}


@pytest.mark.parametrize("missing", [True, False])
def test_pruning_removes_the_files_of_a_missing_or_empty_folder(shelf: Shelf, photos: Path, missing: bool) -> None:
    put(photos / "disk" / "a.png", 1)
    shelf.sync(photos / "disk")
    (photos / "disk" / "a.png").unlink()
    if missing:
        (photos / "disk").rmdir()
    assert counts(shelf.sync(photos / "disk", prune=True)) == {"removed": 1}
    assert shelf.vectors() == {}


def test_a_pruned_root_that_is_gone_is_forgotten(shelf: Shelf, photos: Path) -> None:
    put(photos / "x" / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos / "x")
    shelf.sync(photos)
    (photos / "x" / "a.png").unlink()
    (photos / "x").rmdir()
    assert counts(shelf.sync(photos)) == {"unchanged": 1, "kept": 1}
    assert counts(shelf.sync(photos, prune=True)) == {"unchanged": 1, "removed": 1}
    assert shelf.roots() == [photos.resolve()]
    assert counts(shelf.sync(photos)) == {"unchanged": 1}


def test_a_missing_root_inside_a_named_folder_is_no_error(shelf: Shelf, photos: Path) -> None:
    put(photos / "x" / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos / "x")
    (photos / "x" / "a.png").unlink()
    shelf.sync(photos / "x", prune=True)
    (photos / "x").rmdir()
    assert counts(shelf.sync(photos)) == {"new": 1, "embedded": 1}


def test_a_folder_that_still_holds_other_things_is_not_an_unmounted_disk(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "notes.xyz", b"text")
    shelf.sync(photos)
    (photos / "a.png").unlink()
    assert counts(shelf.sync(photos)) == {"removed": 1}


def test_a_part_of_a_root_deletes_only_what_lies_below_it(shelf: Shelf, photos: Path) -> None:
    for name in ("x/a.png", "x/b.png", "xy/c.png", "d.png"):
        put(photos / name, len(name) + ord(name[-5]))
    shelf.sync(photos)
    for name in ("x/a.png", "xy/c.png", "d.png"):
        (photos / name).unlink()
    assert counts(shelf.sync(photos / "x")) == {"removed": 1, "unchanged": 1}
    assert shelf.names(photos) == {"x/b.png", "xy/c.png", "d.png"}
    assert counts(shelf.sync(photos)) == {"removed": 2, "unchanged": 1}


def test_a_named_file_is_indexed_alone(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    assert counts(shelf.sync(photos / "a.png")) == {"new": 1, "embedded": 1}
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 1, "embedded": 1}
    assert shelf.roots() == [photos.resolve()]


def test_overlapping_paths_index_every_file_once(shelf: Shelf, photos: Path) -> None:
    put(photos / "x" / "a.png", 1)
    put(photos / "b.png", 2)
    assert counts(shelf.sync(photos / "x", photos, photos / "b.png", photos)) == {"new": 2, "embedded": 2}
    assert counts(shelf.sync(photos / "x")) == {"unchanged": 1}
    assert shelf.roots() == [photos.resolve()]


def test_a_folder_around_a_known_root_takes_in_the_rest(shelf: Shelf, photos: Path) -> None:
    put(photos / "x" / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos / "x")
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 1, "embedded": 1}
    assert len(shelf.vectors()) == 2
    # The inner root may be a disk: when it is not mounted, its files are kept.
    (photos / "x" / "a.png").unlink()
    assert counts(shelf.sync(photos)) == {"unchanged": 1, "kept": 1}


def test_a_linked_root_is_the_same_root(shelf: Shelf, photos: Path, tmp_path: Path) -> None:
    put(photos / "a.png", 1)
    (tmp_path / "link").symlink_to(photos)
    shelf.sync(tmp_path / "link")
    assert counts(shelf.sync(photos)) == {"unchanged": 1}
    assert shelf.names(photos.resolve()) == {"a.png"}


def test_a_file_that_moved_between_roots_keeps_its_embedding(shelf: Shelf, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    put(other / "c.png", 3)
    shelf.sync(photos, other)
    (photos / "a.png").rename(other / "a.png")
    assert counts(shelf.sync(photos, other)) == {"moved": 1, "unchanged": 2}
    (photos / "b.png").rename(other / "b.png")
    assert counts(shelf.sync(other)) == {"copied": 1, "unchanged": 2}
    assert shelf.encoder.prepared == 3


def test_bad_files_are_listed_once_with_their_reasons(shelf: Shelf, photos: Path, tmp_path: Path) -> None:
    put(photos / "good.png", 1)
    put(photos / "text.jpg", b"no picture at all")
    put(photos / "empty.jpg", b"")
    put(photos / "half.jpg", encoded(noise(200, 200))[:5000])
    put(photos / "bomb.png", png_of_zeros(30_000, 30_000))
    (photos / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    summary = shelf.sync(photos)
    expected = {
        "text.jpg": "not an image",
        "empty.jpg": "empty file",
        "half.jpg": "truncated JPEG",
        "bomb.png": "too many pixels (30000 x 30000)",
        "dangling.jpg": "dangling link",
    }
    assert counts(summary) == {"new": 1, "embedded": 1, "skipped": 5}
    assert reasons(summary) == expected
    assert {path.name: reason for path, reason in shelf.failures().items()} == expected
    again = shelf.sync(photos)
    assert counts(again) == {"unchanged": 1, "skipped": 5}
    assert reasons(again) == expected


def test_a_bad_file_is_decoded_again_only_when_it_changed_or_on_demand(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", b"text")
    shelf.sync(photos)
    assert shelf.sync(photos).stage_seconds["decode"] == 0
    assert shelf.sync(photos, retry_failed=True).stage_seconds["decode"] > 0
    put(photos / "a.png", 1)
    assert counts(shelf.sync(photos)) == {"new": 1, "embedded": 1}
    assert shelf.failures() == {}


def test_a_file_that_became_bad_leaves_the_library(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos)
    put(photos / "a.png", picture(1)[:60])
    put(photos / "b.png", b"")
    summary = shelf.sync(photos)
    assert reasons(summary) == {"a.png": "truncated PNG", "b.png": "empty file"}
    assert shelf.vectors() == {}
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    assert counts(shelf.sync(photos)) == {"new": 2, "embedded": 2}


def test_a_bad_file_that_is_gone_is_forgotten(shelf: Shelf, photos: Path) -> None:
    put(photos / "bad.png", b"text")
    put(photos / "empty.png", b"")
    put(photos / "a.png", 1)
    shelf.sync(photos)
    (photos / "bad.png").unlink()
    (photos / "empty.png").unlink()
    shelf.sync(photos)
    assert shelf.failures() == {}


def test_equal_bad_files_are_each_listed(shelf: Shelf, photos: Path) -> None:
    for number in range(30):
        put(photos / f"{number}.png", b"the same text")
    assert len(reasons(shelf.sync(photos))) == 30
    assert len(shelf.failures()) == 30


def test_files_of_a_folder_without_permission_are_kept(unprivileged: Path) -> None:
    shelf = Shelf(unprivileged / "library")
    photos = unprivileged / "photos"
    put(photos / "secret" / "a.png", 1)
    put(photos / "b.png", 2)
    shelf.sync(photos)
    (photos / "secret").chmod(0)
    summary = shelf.sync(photos)
    assert counts(summary) == {"unchanged": 1, "kept": 1, "skipped": 1}
    assert reasons(summary) == {"secret": "permission denied"}
    photos.chmod(0)
    assert counts(shelf.sync(photos)) == {"kept": 2, "skipped": 1}
    photos.chmod(0o700)
    (photos / "secret").chmod(0o700)
    assert counts(shelf.sync(photos)) == {"unchanged": 2}
    assert shelf.failures() == {}


def test_a_file_without_permission_is_tried_again_every_time(unprivileged: Path) -> None:
    shelf = Shelf(unprivileged / "library")
    photos = unprivileged / "photos"
    put(photos / "a.png", 1)
    put(photos / "b.png", 2)
    (photos / "a.png").chmod(0)
    assert reasons(shelf.sync(photos)) == {"a.png": "permission denied"}
    assert reasons(shelf.sync(photos)) == {"a.png": "permission denied"}
    (photos / "a.png").chmod(0o600)
    assert counts(shelf.sync(photos)) == {"new": 1, "unchanged": 1, "embedded": 1}


def test_a_changed_file_that_cannot_be_read_keeps_its_embedding_for_now(unprivileged: Path) -> None:
    shelf = Shelf(unprivileged / "library")
    photos = unprivileged / "photos"
    put(photos / "a.png", 1)
    shelf.sync(photos)
    touch(photos / "a.png")
    (photos / "a.png").chmod(0)
    for _ in range(2):
        assert reasons(shelf.sync(photos)) == {"a.png": "permission denied"}
        assert shelf.names(photos) == {"a.png"}
    (photos / "a.png").chmod(0o600)
    assert counts(shelf.sync(photos)) == {"unchanged": 1}
    assert shelf.failures() == {}


def test_a_file_that_vanishes_between_scan_and_reading_is_no_error(shelf: Shelf, photos: Path) -> None:
    for number in range(40):
        put(photos / f"{number:02}.png", number)

    def delete_the_last(event: Progress) -> None:
        if event.stage == "embed":
            (photos / "39.png").unlink(missing_ok=True)

    summary = shelf.sync(photos, progress=delete_the_last, threads=1)
    assert reasons(summary) == {"39.png": "vanished"}
    assert summary.new == 39
    assert shelf.failures() == {}


def test_the_details_of_a_picture_are_stored_with_it(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.jpg", encoded(noise(120, 80)))
    shelf.sync(photos)
    with Catalog.open(shelf.library) as catalog:
        item = catalog.item_at(photos / "a.jpg")
    assert item is not None
    assert (item.info.width, item.info.height) == (120, 80)
    assert (item.size_bytes, item.mtime_ns) == (
        (photos / "a.jpg").stat().st_size,
        (photos / "a.jpg").stat().st_mtime_ns,
    )


def test_every_embedding_belongs_to_its_own_file(shelf: Shelf, photos: Path) -> None:
    from mmsearch.media.image import read_image

    bad = {3, 8, 9, 15, 16, 17, 31}
    for number in range(40):
        put(photos / f"{number:02}.png", b"text %d" % number if number in bad else number)
    shelf.sync(photos, threads=4)
    encoder = HashingEncoder(32)
    for path, vector in shelf.vectors().items():
        prepared = encoder.prepare_image(read_image(path, target_side=encoder.image_size).image)
        expected = encoder.encode_images([prepared])[0]
        import numpy as np

        assert np.frombuffer(vector, np.float32) == pytest.approx(expected, abs=1e-3)
    assert len(shelf.vectors()) == 40 - len(bad)


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_library_is_the_same_whatever_the_threads_and_batches(
    tmp_path: Path, photos: Path, threads: int, batch_size: int
) -> None:
    for number in range(25):
        put(photos / f"{number:02}.png", number % 19)
    expected = Shelf(tmp_path / "expected")
    expected.sync(photos, threads=1)
    shelf = Shelf(tmp_path / "other")
    shelf.sync(photos, threads=threads, batch_size=batch_size)
    assert shelf.vectors() == expected.vectors()
    assert sum(shelf.encoder.batches) == 19


def test_odd_names_are_indexed(shelf: Shelf, photos: Path) -> None:
    names = [b"new\nline.png", "\N{PILE OF POO}.png".encode(), b"latin-\xe9\xff.png", b"'; DROP TABLE items; --.png"]
    for number, name in enumerate(names):
        put(photos / os.fsdecode(name), number)
    assert counts(shelf.sync(photos)) == {"new": 4, "embedded": 4}
    assert {os.fsencode(name) for name in shelf.names(photos)} == set(names)
    assert counts(shelf.sync(photos)) == {"unchanged": 4}


def test_ignored_files_leave_the_library(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    put(photos / "raw" / "b.png", 2)
    shelf.sync(photos)
    assert counts(shelf.sync(photos, ignore=["raw"])) == {"removed": 1, "unchanged": 1}


def test_a_library_inside_its_own_photos_is_not_indexed(photos: Path) -> None:
    shelf = Shelf(photos / "library")
    put(photos / "a.png", 1)
    shelf.sync(photos)
    put(photos / "library" / "thumbnail.png", 2)
    assert counts(shelf.sync(photos)) == {"unchanged": 1}


def test_an_empty_folder_says_so_and_is_not_remembered(shelf: Shelf, photos: Path) -> None:
    summary = shelf.sync(photos)
    assert counts(summary) == {}
    assert summary.notices == (f"There is nothing to index in {photos.resolve()}.",)
    assert shelf.roots() == []


def test_a_path_that_is_not_there_is_wrong_usage(shelf: Shelf, photos: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        shelf.sync(photos / "missing")
    put(photos / "a.png", 1)
    shelf.sync(photos)
    with pytest.raises(UsageError, match="does not exist"):
        shelf.sync(photos / "missing")


@pytest.mark.parametrize("options", [{"threads": 0}, {"batch_size": 0}, {"batch_size": -1}])
def test_impossible_options_are_wrong_usage(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        SyncOptions(**options)  # type: ignore[arg-type]


def test_a_library_of_another_encoder_is_refused(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)
    shelf.sync(photos)
    shelf.encoder = CountingEncoder(dim=16)
    with pytest.raises(EncoderMismatchError):
        shelf.sync(photos)


def test_a_failing_encoder_ends_the_run_with_all_batches_before_it_stored(shelf: Shelf, photos: Path) -> None:
    for number in range(30):
        put(photos / f"{number:02}.png", number)

    def fail(batch: int) -> None:
        if batch == 2:
            raise EncoderError("out of luck")

    shelf.encoder.before_batch = fail
    with pytest.raises(EncoderError, match="out of luck"):
        shelf.sync(photos)
    assert shelf.names(photos) == {f"{number:02}.png" for number in range(16)}
    shelf.encoder.before_batch = lambda batch: None
    assert counts(shelf.sync(photos)) == {"new": 14, "unchanged": 16, "embedded": 14}


def test_an_encoder_that_cannot_prepare_ends_the_run(shelf: Shelf, photos: Path) -> None:
    put(photos / "a.png", 1)

    class Broken(CountingEncoder):
        def prepare_image(self, image: object) -> object:  # type: ignore[override]
            raise EncoderError("no preprocessing")

    shelf.encoder = Broken()
    with pytest.raises(EncoderError, match="no preprocessing"):
        shelf.sync(photos)


def test_progress_counts_up_to_the_total(shelf: Shelf, photos: Path) -> None:
    for number in range(30):
        put(photos / f"{number}.png", number)
    events: list[Progress] = []
    shelf.sync(photos, progress=events.append)
    embed = [event for event in events if event.stage == "embed"]
    assert (embed[0].done, embed[-1].done) == (0, 30)
    assert {event.total for event in embed} == {30}
    assert [event.done for event in embed] == sorted(event.done for event in embed)
    assert events[0].stage == "scan"


def test_the_summary_says_where_the_time_went(shelf: Shelf, photos: Path) -> None:
    for number in range(20):
        put(photos / f"{number}.png", number)
    summary = shelf.sync(photos)
    assert list(summary.stage_seconds) == ["scan", "decode", "encode", "store", "index"]
    assert all(seconds > 0 for seconds in summary.stage_seconds.values())
    assert summary.elapsed_s >= sum(summary.stage_seconds[name] for name in ("scan", "encode", "store", "index"))
    assert summary.segments_per_second > 0


def test_no_thread_outlives_a_run(shelf: Shelf, photos: Path) -> None:
    for number in range(20):
        put(photos / f"{number}.png", number)
    shelf.sync(photos, threads=5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mmsearch-load")]
