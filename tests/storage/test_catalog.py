from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import closing
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import (
    EncoderError,
    EncoderMismatchError,
    LibraryDamagedError,
    LibraryLockedError,
    LibraryNotFoundError,
    StorageError,
)
from mmsearch.filters import Filters
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.storage.connection import connect
from mmsearch.types import (
    EncoderRecord,
    Failure,
    KnownFile,
    MediaInfo,
    Modality,
    NewItem,
    NewSegment,
    Root,
    Segment,
    Watermark,
)
from tests.storage.making import DIM, ENCODER, RECORD, content_hash, embedding, image_source, new_item, new_segment


def test_what_is_stored_comes_back_whole(catalog: Catalog, root: Root) -> None:
    info = MediaInfo(4000, 3000, datetime(2024, 5, 17, 12, 30, 1, 250000), "Canon EOS 5D", -33.5, 151.25, 1234)
    places = {"start_ms": 1, "end_ms": 2, "start_char": 3, "end_char": 4, "page": 5, "shot": 6}
    passage = new_segment(1, Modality.TEXT, text="née 🐕", **places)
    item = NewItem(
        Modality.VIDEO, (passage,), root.id, "a/b.mp4", None, 10, 20, content_hash(1), info, {"tags": ["x", "ü"]}
    )
    (segment_id,) = catalog.write(items=[item])
    record = catalog.segments([segment_id])[segment_id]
    assert record.item.path == root.path / "a/b.mp4"
    assert record.item.info == info
    assert record.item.metadata == {"tags": ["x", "ü"]}
    assert (record.item.modality, record.item.size_bytes, record.item.mtime_ns) == (Modality.VIDEO, 10, 20)
    assert record.segment == Segment(segment_id, record.item.id, 0, Modality.TEXT, text="née 🐕", **places)
    assert catalog.item_of(segment_id) == record.item.id
    assert catalog.items([record.item.id]) == {record.item.id: record.item}
    assert catalog.segments_of(record.item.id) == [record.segment]
    assert catalog.item_at(root.path / "a" / "b.mp4") == record.item


def test_segment_ids_are_returned_in_the_order_of_the_items(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, "a", 1, segments=3), new_item(root.id, "b", 2, segments=2)])
    records = catalog.segments(ids)
    assert [records[id_].item.path.name for id_ in ids if records[id_].item.path] == ["a", "a", "a", "b", "b"]
    assert [records[id_].segment.ordinal for id_ in ids] == [0, 1, 2, 0, 1]


def test_unknown_ids_are_left_out(catalog: Catalog, root: Root) -> None:
    (known,) = catalog.write(items=[new_item(root.id, "a")])
    assert list(catalog.segments([known, 999, -1])) == [known]
    assert catalog.items([999]) == {}
    assert catalog.segments_of(999) == []
    ids, vectors = catalog.vectors(ENCODER, [999])
    assert ids.shape == (0,)
    assert vectors.shape == (0, DIM)


def test_numpy_ids_are_as_good_as_others(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, "a"), new_item(root.id, "b")])
    assert set(catalog.segments(np.array(ids))) == set(ids)  # type: ignore[arg-type]


def test_more_ids_than_a_statement_takes_are_looked_up_in_groups(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, f"{number}", number) for number in range(1300)])
    assert set(catalog.segments(ids)) == set(ids)
    found, _ = catalog.vectors(ENCODER, reversed(ids))
    assert found.tolist() == list(ids)


def test_an_item_replaces_the_one_at_its_place(catalog: Catalog, root: Root) -> None:
    (old,) = catalog.write(items=[new_item(root.id, "a", 1)])
    (new,) = catalog.write(items=[new_item(root.id, "a", 2)])
    assert new > old
    assert list(catalog.segments([old, new])) == [new]
    assert image_source(catalog).removed_since(0).tolist() == [old]
    assert len(catalog.known_files(root.id)) == 1


def test_an_item_without_a_file_is_found_by_its_key_and_replaced(catalog: Catalog) -> None:
    catalog.write(items=[new_item(None, None, 1, key="product-7")])
    (segment_id,) = catalog.write(items=[new_item(None, None, 2, key="product-7")])
    assert catalog.status().items == {"image": 1}
    item = catalog.segments([segment_id])[segment_id].item
    assert (item.path, item.key) == (None, "product-7")


def test_ids_are_never_used_again(catalog: Catalog, root: Root) -> None:
    first = catalog.write(items=[new_item(root.id, "a", 1, segments=2)])
    catalog.write(removed=[known.item_id for known in catalog.known_files(root.id).values() if known.item_id])
    second = catalog.write(items=[new_item(root.id, "a", 1, segments=2)])
    assert min(second) > max(first)


def test_removing_an_item_removes_its_vectors_and_logs_its_segments(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, "a", 1, segments=3), new_item(root.id, "b", 2)])
    source = image_source(catalog)
    before = source.watermark()
    assert before == Watermark(ids[3], 0, 4)
    item_id = catalog.known_files(root.id)["a"].item_id
    assert item_id is not None
    catalog.write(removed=[item_id, 999])
    after = source.watermark()
    assert (after.last_segment_id, after.count) == (ids[3], 1)
    assert sorted(source.removed_since(before.last_removal_id).tolist()) == list(ids[:3])
    assert source.removed_since(after.last_removal_id).tolist() == []
    assert catalog.vectors(ENCODER, ids)[0].tolist() == [ids[3]]


def test_the_watermark_steps_back_when_the_last_segment_goes(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, "a", 1), new_item(root.id, "b", 2)])
    item_id = catalog.segments(ids)[ids[1]].item.id
    catalog.write(removed=[item_id])
    assert image_source(catalog).watermark() == Watermark(ids[0], 1, 1)


def test_a_moved_item_keeps_its_segments(catalog: Catalog, root: Root) -> None:
    (segment_id,) = catalog.write(items=[new_item(root.id, "a", 1)])
    item_id = catalog.segments([segment_id])[segment_id].item.id
    catalog.write(moves=[Move(item_id, root.id, "b/c", 77)])
    assert catalog.known_files(root.id) == {"b/c": KnownFile(item_id, 1, 77)}
    assert catalog.segments([segment_id])[segment_id].item.path == root.path / "b/c"


def test_two_items_can_swap_their_places(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", 1), new_item(root.id, "b", 2)])
    known = catalog.known_files(root.id)
    first, second = known["a"].item_id, known["b"].item_id
    assert first is not None and second is not None
    catalog.write(moves=[Move(first, root.id, "b", 3), Move(second, root.id, "a", 4)])
    assert catalog.known_files(root.id) == {"b": KnownFile(first, 1, 3), "a": KnownFile(second, 2, 4)}


def test_a_move_onto_another_item_replaces_it(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, "a", 1), new_item(root.id, "b", 2)])
    item_id = catalog.known_files(root.id)["a"].item_id
    assert item_id is not None
    catalog.write(moves=[Move(item_id, root.id, "b", 3)])
    assert list(catalog.segments(ids)) == [ids[0]]
    assert image_source(catalog).removed_since(0).tolist() == [ids[1]]


def test_moving_an_item_that_is_not_there_changes_nothing(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", 1)])
    before = catalog.known_files(root.id)
    with pytest.raises(ValueError, match="not there"):
        catalog.write(moves=[Move(99, root.id, "a", 3)])
    assert catalog.known_files(root.id) == before


def test_a_copy_shares_vectors_and_information_under_ids_of_its_own(catalog: Catalog, root: Root) -> None:
    source = new_item(
        root.id, "a", 1, segments=2, info=MediaInfo(width=7, camera="X"), metadata={"k": 1}, modality=Modality.VIDEO
    )
    ids = catalog.write(items=[source])
    source_id = catalog.segments(ids)[ids[0]].item.id
    catalog.write(copies=[Copy(source_id, root.id, "b", 8, 9)])
    known = catalog.known_files(root.id)
    assert (known["b"].size_bytes, known["b"].mtime_ns) == (8, 9)
    copy = catalog.item_at(root.path / "b")
    assert copy is not None
    assert (copy.info.width, copy.info.camera, copy.metadata, copy.modality) == (7, "X", {"k": 1}, Modality.VIDEO)
    copied = [segment.id for segment in catalog.segments_of(copy.id)]
    assert set(copied).isdisjoint(ids)
    np.testing.assert_array_equal(catalog.vectors(ENCODER, copied)[1], catalog.vectors(ENCODER, ids)[1])
    assert catalog.items_with_hash(content_hash(1)) == [source_id, copy.id]
    assert catalog.vector_source(ENCODER, Modality.VIDEO).watermark().count == 4


def test_a_copy_may_replace_the_source_of_another(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", 1), new_item(root.id, "b", 2)])
    known = catalog.known_files(root.id)
    first, second = known["a"].item_id, known["b"].item_id
    assert first is not None and second is not None
    catalog.write(copies=[Copy(first, root.id, "b", 1, 5), Copy(second, root.id, "a", 2, 5)])
    assert {path: file.size_bytes for path, file in catalog.known_files(root.id).items()} == {"a": 2, "b": 1}


def test_a_copy_without_a_source_stores_nothing_of_the_batch(catalog: Catalog, root: Root) -> None:
    with pytest.raises(ValueError, match="not there"):
        catalog.write(copies=[Copy(99, root.id, "b", 1, 5)], items=[new_item(root.id, "a", 1)])
    assert catalog.known_files(root.id) == {}


def test_a_touched_item_keeps_its_segments(catalog: Catalog, root: Root) -> None:
    (segment_id,) = catalog.write(items=[new_item(root.id, "a", 1)])
    item_id = catalog.segments([segment_id])[segment_id].item.id
    catalog.write(touched=[Touch(item_id, 5, 6)])
    assert catalog.known_files(root.id) == {"a": KnownFile(item_id, 5, 6)}
    assert list(catalog.segments([segment_id])) == [segment_id]


def test_two_items_at_one_place_are_refused_and_nothing_is_stored(catalog: Catalog, root: Root) -> None:
    with pytest.raises(ValueError, match="UNIQUE"):
        catalog.write(items=[new_item(root.id, "a", 1), new_item(root.id, "a", 2)])
    assert catalog.status().segments == 0
    assert image_source(catalog).watermark() == Watermark(0, 0, 0)


def test_a_root_that_is_not_there_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ValueError, match="FOREIGN KEY"):
        catalog.write(items=[new_item(77, "a", 1)])
    assert catalog.status().items == {}


def test_an_interrupted_batch_leaves_nothing_and_the_next_one_works(catalog: Catalog, root: Root) -> None:
    class Interrupting:
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    failures = [FailedFile(root.id, "b", 1, 1, "bad"), Interrupting()]
    with pytest.raises(KeyboardInterrupt):
        catalog.write(items=[new_item(root.id, "a", 1)], failures=failures)  # type: ignore[list-item]
    assert catalog.known_files(root.id) == {}
    catalog.write(items=[new_item(root.id, "a", 1)])
    assert set(catalog.known_files(root.id)) == {"a"}


def test_a_database_that_another_program_locked_is_reported_after_a_while(
    catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.storage.connection.BUSY_TIMEOUT_S", 0.01)
    with Catalog.open(catalog.path) as waiting, closing(connect(catalog.path / "catalog.sqlite3", "write")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LibraryLockedError) as caught:
            waiting.write(items=[new_item(root.id, "a", 1)])
        assert caught.value.hint
        assert waiting.known_files(root.id) == {}  # reading goes on
        other.execute("ROLLBACK")
        waiting.write(items=[new_item(root.id, "a", 1)])
        assert set(waiting.known_files(root.id)) == {"a"}


def test_a_file_that_cannot_be_read_is_remembered_until_it_is_stored(catalog: Catalog, root: Root) -> None:
    failed = FailedFile(root.id, "bad.jpg", 5, 6, "truncated JPEG")
    catalog.write(failures=[failed, failed])
    assert catalog.known_files(root.id) == {"bad.jpg": KnownFile(None, 5, 6, "truncated JPEG")}
    assert catalog.failures() == [Failure(root.path / "bad.jpg", "truncated JPEG")]
    assert catalog.status().failures == 1
    catalog.write(items=[new_item(root.id, "bad.jpg", 7)])
    assert catalog.failures() == []
    assert catalog.known_files(root.id)["bad.jpg"].reason is None


@pytest.mark.parametrize("way", ["move", "copy", "touch", "forget"])
def test_every_way_to_store_a_file_ends_its_failure(catalog: Catalog, root: Root, way: str) -> None:
    catalog.write(items=[new_item(root.id, "a", 1)])
    item_id = catalog.known_files(root.id)["a"].item_id
    assert item_id is not None
    place = "a" if way == "touch" else "b"
    catalog.write(failures=[FailedFile(root.id, place, 5, 6, "no permission")])
    catalog.write(
        moves=[Move(item_id, root.id, "b", 1)] if way == "move" else [],
        copies=[Copy(item_id, root.id, "b", 1, 1)] if way == "copy" else [],
        touched=[Touch(item_id, 5, 6)] if way == "touch" else [],
        forgotten=[(root.id, "b")] if way == "forget" else [],
    )
    assert catalog.failures() == []


def test_an_item_whose_file_fails_later_shows_both(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", 1)])
    item_id = catalog.known_files(root.id)["a"].item_id
    catalog.write(failures=[FailedFile(root.id, "a", 50, 60, "no permission")])
    assert catalog.known_files(root.id) == {"a": KnownFile(item_id, 50, 60, "no permission")}


def test_vectors_come_back_normalised_and_close_to_what_was_stored(catalog: Catalog, root: Root) -> None:
    items = [new_item(root.id, str(number), number) for number in range(50)]
    ids = catalog.write(items=items)
    found, vectors = catalog.vectors(ENCODER, ids)
    assert found.dtype == np.int64 and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(vectors, [item.segments[0].embeddings[ENCODER] for item in items], atol=1e-3)


def test_a_zero_vector_stays_zero(catalog: Catalog, root: Root) -> None:
    zero = NewItem(Modality.IMAGE, (NewSegment(Modality.IMAGE, {ENCODER: np.zeros(DIM, np.float32)}),), root.id, "a")
    ids = catalog.write(items=[zero])
    assert not catalog.vectors(ENCODER, ids)[1].any()


@pytest.mark.parametrize(
    "bad", [np.ones(DIM + 1, np.float32), np.full(DIM, np.nan, np.float32), np.full(DIM, np.inf, np.float32)]
)
def test_embeddings_that_make_no_sense_are_refused(catalog: Catalog, root: Root, bad: np.ndarray) -> None:
    item = NewItem(Modality.IMAGE, (NewSegment(Modality.IMAGE, {ENCODER: bad}),), root.id, "a")
    with pytest.raises(EncoderError):
        catalog.write(items=[new_item(root.id, "b"), item])
    assert catalog.known_files(root.id) == {}


def test_an_item_may_have_no_segments(catalog: Catalog, root: Root) -> None:
    assert catalog.write(items=[NewItem(Modality.TEXT, (), root.id, "empty.txt")]) == ()
    known = catalog.known_files(root.id)["empty.txt"]
    assert known.item_id is not None
    catalog.write(copies=[Copy(known.item_id, root.id, "copy.txt", 0, 0)])
    assert set(catalog.known_files(root.id)) == {"empty.txt", "copy.txt"}


def test_text_that_is_not_unicode_is_stored_all_the_same(catalog: Catalog, root: Root) -> None:
    item = new_item(root.id, "a", info=MediaInfo(camera="Ca\udcffnon"))
    (segment_id,) = catalog.write(items=[item], failures=[FailedFile(root.id, "b", 1, 1, "bad: \udcff")])
    assert catalog.segments([segment_id])[segment_id].item.info.camera == "Ca?non"
    assert catalog.failures()[0].reason == "bad: ?"


@pytest.mark.parametrize("mtime_ns", [0, -1, 2**63 - 1, -(2**63)])
def test_any_time_that_fits_64_bits_is_kept(catalog: Catalog, root: Root, mtime_ns: int) -> None:
    catalog.write(items=[new_item(root.id, "a", mtime_ns=mtime_ns)])
    assert catalog.known_files(root.id)["a"].mtime_ns == mtime_ns


def test_a_file_from_the_far_future_does_not_stop_the_batch(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", mtime_ns=2**64)])
    assert catalog.known_files(root.id)["a"].mtime_ns == 2**63 - 1


def test_segments_are_selected_by_their_own_modality_and_by_that_of_their_item(catalog: Catalog, root: Root) -> None:
    photo = NewItem(Modality.IMAGE, (new_segment(1), new_segment(2, Modality.TEXT, text="a caption")), root.id, "a")
    note = new_item(root.id, "b", 2, segments=2, modality=Modality.TEXT)
    film = NewItem(
        Modality.VIDEO, (new_segment(3, Modality.VIDEO), new_segment(4, Modality.TEXT, text="words")), root.id, "c"
    )
    picture, caption, *passages, frame, subtitle = catalog.write(items=[photo, note, film])

    def select(modality: Modality, *modalities: Modality) -> list[int]:
        return catalog.select_segments(ENCODER, modality, Filters(frozenset(modalities))).tolist()

    assert select(Modality.IMAGE, Modality.IMAGE) == [picture]
    assert select(Modality.IMAGE, Modality.TEXT) == []
    assert select(Modality.TEXT, Modality.TEXT) == [caption, *passages, subtitle]
    assert select(Modality.TEXT, Modality.IMAGE) == [caption]
    assert select(Modality.TEXT, Modality.VIDEO, Modality.IMAGE) == [caption, subtitle]
    assert select(Modality.VIDEO, Modality.VIDEO, Modality.IMAGE) == [frame]
    assert select(Modality.TEXT, Modality.AUDIO) == select(Modality.AUDIO, Modality.AUDIO) == []
    assert select(Modality.TEXT) == []
    found = catalog.select_segments(ENCODER, Modality.TEXT, Filters())
    assert found.tolist() == [caption, *passages, subtitle]
    assert found.dtype == np.int64
    catalog.write(copies=[Copy(catalog.item_of(picture) or 0, root.id, "copy", 1, 1)])
    assert len(select(Modality.TEXT, Modality.IMAGE)) == 2


def test_filters_say_whether_they_limit_anything() -> None:
    assert not Filters()
    assert Filters(frozenset())


def test_encoders_are_remembered_and_registering_them_again_changes_nothing(tmp_path: Path) -> None:
    records = (EncoderRecord("b", 4), EncoderRecord("a", 8))
    with Catalog.open(tmp_path, create=True) as catalog:
        assert catalog.encoders() == ()
        catalog.register_encoders(records)
        catalog.register_encoders(records[::-1])
        assert catalog.encoders() == records
        assert catalog.collections() == ()
    with Catalog.open(tmp_path, read_only=True) as catalog:
        assert catalog.encoders() == records


def test_another_encoder_is_refused_with_both_names(catalog: Catalog) -> None:
    with pytest.raises(EncoderMismatchError, match=rf"{ENCODER}, not with other") as caught:
        catalog.register_encoders([EncoderRecord("other", DIM)])
    assert caught.value.hint == f"Use --model {ENCODER}, or another folder with --library."
    with pytest.raises(EncoderMismatchError, match=f"{DIM} numbers.*{DIM + 1}"):
        catalog.register_encoders([EncoderRecord(ENCODER, DIM + 1)])
    with pytest.raises(EncoderMismatchError, match=rf"{ENCODER}, not with {ENCODER} and other"):
        catalog.register_encoders([RECORD, EncoderRecord("other", DIM)])
    with pytest.raises(EncoderMismatchError, match=rf"{ENCODER}.*other"):
        catalog.vector_source("other", Modality.IMAGE)
    assert catalog.encoders() == (RECORD,)


def test_a_part_of_the_encoders_is_not_all_of_them(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([EncoderRecord("a", 4), EncoderRecord("b", 8)])
        for some in (["a"], ["b"], ["a", "c"]):
            with pytest.raises(EncoderMismatchError, match=f"made with a and b, not with {' and '.join(some)}"):
                catalog.register_encoders([EncoderRecord(id_, 4 if id_ == "a" else 8) for id_ in some])


def test_a_library_without_vectors_says_so(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog, pytest.raises(EncoderMismatchError, match="nothing has been"):
        catalog.vector_source("mini", Modality.IMAGE)


def test_items_of_an_unregistered_encoder_are_refused(catalog: Catalog, root: Root) -> None:
    segment = NewSegment(Modality.IMAGE, {ENCODER: embedding(1), "other": embedding(2)})
    with pytest.raises(EncoderMismatchError, match=rf"{ENCODER}, not with other"):
        catalog.write(items=[NewItem(Modality.IMAGE, (segment,), root.id, "a")])
    assert catalog.known_files(root.id) == {}
    assert catalog.collections() == ()


def test_a_library_that_is_not_there_is_not_made_by_looking_at_it(tmp_path: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(LibraryNotFoundError, match="no library") as caught:
            Catalog.open(tmp_path / "none", read_only=read_only)
        assert caught.value.hint and "mmsearch index" in caught.value.hint
    with pytest.raises(LibraryNotFoundError):
        Catalog.open(tmp_path / "none", create=True, read_only=True)
    with pytest.raises(LibraryNotFoundError):
        Catalog.open(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_a_library_that_was_never_finished(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite3").touch()
    with pytest.raises(LibraryNotFoundError):
        Catalog.open(tmp_path)
    with Catalog.open(tmp_path, create=True) as catalog:
        assert catalog.encoders() == ()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite3"
    file.write_bytes(b"not a database, " * 100)
    for create in (False, True):
        with pytest.raises(LibraryDamagedError, match="damaged"):
            Catalog.open(tmp_path, create=create)
    assert file.read_bytes() == b"not a database, " * 100


def test_a_damaged_page_is_reported_as_damage(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, f"{number}", number) for number in range(300)])
    catalog.close()
    file = catalog.path / "catalog.sqlite3"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    file.write_bytes(content)
    with pytest.raises(LibraryDamagedError), Catalog.open(catalog.path) as opened:
        opened.known_files(root.id)


def test_a_folder_in_the_place_of_the_catalog_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite3").mkdir()
    with pytest.raises(StorageError):
        Catalog.open(tmp_path, create=True)


def test_a_library_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        Catalog.open(tmp_path / "file" / "library", create=True)


def test_each_library_has_an_id_of_its_own_that_stays(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "a", create=True) as first, Catalog.open(tmp_path / "b", create=True) as second:
        assert first.library_id != second.library_id
        kept = first.library_id
    with Catalog.open(tmp_path / "a") as again:
        assert again.library_id == kept


def test_readers_see_what_another_catalog_commits_and_a_snapshot_does_not(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", 1)])
    with Catalog.open(catalog.path, read_only=True) as reader:
        source = image_source(reader)
        with reader.snapshot(), reader.snapshot():
            before = source.watermark()
            catalog.write(items=[new_item(root.id, "b", 2)])
            assert source.watermark() == before
            assert sum(len(ids) for ids, _ in source.read()) == 1
        assert source.watermark().count == 2
        late = catalog.add_root(root.path / "late")
        catalog.write(items=[new_item(late.id, "c", 3)])
        item = reader.items([3])[3]
        assert item.path == root.path / "late" / "c"


def test_threads_read_while_another_writes(catalog: Catalog, root: Root) -> None:
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(60):
                found = catalog.items_with_hash(content_hash(1))
                with catalog.snapshot():
                    count = image_source(catalog).watermark().count
                    assert sum(len(ids) for ids, _ in image_source(catalog).read(batch_size=7)) == count
                assert len(found) <= 1
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        catalog.write(items=[new_item(root.id, f"{number}", number)])
    for thread in threads:
        thread.join()
    assert wrong == []


def test_reading_loads_neither_sqlalchemy_nor_the_lock(catalog: Catalog) -> None:
    program = (
        "import sys; from pathlib import Path; from mmsearch.storage.catalog import Catalog\n"
        "with Catalog.open(Path(sys.argv[1]), read_only=True) as catalog:\n"
        "    catalog.encoders(); catalog.roots(); catalog.segments([1]); catalog.status()\n"
        "print(sorted({'sqlalchemy', 'filelock', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(catalog.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_status_counts_everything(catalog: Catalog, root: Root, tmp_path: Path) -> None:
    gone = catalog.add_root(tmp_path / "gone")
    catalog.write(
        items=[
            new_item(root.id, "a", 1),
            new_item(gone.id, "b", 2, segments=4, modality=Modality.AUDIO),
            new_item(None, None, 3, key="k"),
        ],
        failures=[FailedFile(gone.id, "x", 1, 1, "zero bytes")],
    )
    status = catalog.status()
    assert status.path == catalog.path
    assert status.version >= 1
    assert status.items == {"audio": 1, "image": 2}
    assert (status.segments, status.failures) == (6, 1)
    assert [(encoder.id, encoder.dim) for encoder in status.encoders] == [(ENCODER, DIM)]
    assert status.roots == (
        {"path": str(root.path), "items": 1, "present": True},
        {"path": str(gone.path), "items": 1, "present": False},
    )
    assert status.catalog_bytes >= (catalog.path / "catalog.sqlite3").stat().st_size


def test_a_catalog_opened_for_reading_refuses_to_write(catalog: Catalog, root: Root) -> None:
    with Catalog.open(catalog.path, read_only=True) as reader, pytest.raises(StorageError, match="for reading only"):
        reader.write(items=[new_item(root.id, "a")])


def test_an_empty_batch_is_no_trouble(catalog: Catalog) -> None:
    assert catalog.write() == ()
