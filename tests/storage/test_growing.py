"""Items that are stored over several transactions: huge texts and videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mmsearch.errors import EncoderError
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import UNFINISHED_NS, Completion, Copy, FailedFile, Move, Part, Touch
from mmsearch.types import KnownFile, MediaInfo, Modality, NewItem, NewSegment, Root
from tests.storage.making import ENCODER, content_hash, new_item, new_segment


def _begun(catalog: Catalog, root: Root, path: str = "a.txt", count: int = 2) -> int:
    item = new_item(root.id, path, 1, segments=count, modality=Modality.TEXT, mtime_ns=5, sidecars=3, complete=False)
    catalog.write(items=[item])
    item_id = catalog.known_files(root.id)[path].item_id
    assert item_id is not None
    return item_id


def _passages(first: int, count: int) -> tuple[NewSegment, ...]:
    return tuple(new_segment(first + n, Modality.TEXT, text=f"passage {first + n}") for n in range(count))


def test_an_item_that_grows_looks_changed_until_it_is_whole(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    assert catalog.known_files(root.id) == {"a.txt": KnownFile(item_id, 1, UNFINISHED_NS, None, 3)}
    assert catalog.items_with_hash(content_hash(1)) == []
    info = MediaInfo(duration_ms=77)
    catalog.write(completed=[Completion(item_id, content_hash(1), 5, info)])
    assert catalog.known_files(root.id) == {"a.txt": KnownFile(item_id, 1, 5, None, 3)}
    assert catalog.items_with_hash(content_hash(1)) == [item_id]
    assert catalog.items([item_id])[item_id].info == info


def test_parts_go_on_where_the_item_ended(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    ids = catalog.write(parts=[Part(item_id, _passages(100, 3)), Part(item_id, _passages(103, 1))])
    more = catalog.write(parts=[Part(item_id, _passages(104, 2))], completed=[Completion(item_id, b"x" * 16, 5)])
    segments = catalog.segments_of(item_id)
    assert [segment.ordinal for segment in segments] == list(range(8))
    assert [segment.id for segment in segments[2:]] == [*ids, *more]
    assert [segment.text for segment in segments[2:]] == [f"passage {100 + n}" for n in range(6)]
    assert catalog.item_of(more[0]) == item_id
    assert catalog.item_of(999) is None
    assert catalog.match_text("105", 5)[0].tolist() == [more[1]]
    assert catalog.vector_source(ENCODER, Modality.TEXT).watermark().count == 8


def test_segment_ids_of_items_come_before_those_of_parts(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    ids = catalog.write(parts=[Part(item_id, _passages(9, 1))], items=[new_item(root.id, "b", 2, segments=2)])
    assert [catalog.item_of(id_) == item_id for id_ in ids] == [False, False, True]


def test_items_may_grow_side_by_side(catalog: Catalog, root: Root) -> None:
    first, second = _begun(catalog, root, "a.txt", 0), _begun(catalog, root, "b.txt", 1)
    for n in range(3):
        catalog.write(parts=[Part(second, _passages(n, 2)), Part(first, _passages(n, 1))])
    assert [len(catalog.segments_of(item_id)) for item_id in (first, second)] == [3, 7]


@pytest.mark.parametrize("gone", ["unknown", "removed", "whole"])
def test_only_an_item_that_is_there_and_grows_can_be_continued(catalog: Catalog, root: Root, gone: str) -> None:
    item_id = _begun(catalog, root)
    catalog.write(
        removed=[item_id] if gone == "removed" else [],
        completed=[Completion(item_id, content_hash(1), 5)] if gone == "whole" else [],
    )
    before = catalog.status().segments
    with pytest.raises(ValueError, match="not there, or complete"):
        catalog.write(parts=[Part(99 if gone == "unknown" else item_id, _passages(9, 1))])
    assert catalog.status().segments == before


def test_an_item_that_is_not_there_cannot_be_completed(catalog: Catalog, root: Root) -> None:
    with pytest.raises(ValueError, match="not there"):
        catalog.write(completed=[Completion(99, b"x" * 16, 5)], items=[new_item(root.id, "b")])
    assert catalog.known_files(root.id) == {}


def test_nothing_is_copied_from_an_item_that_grows(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    with pytest.raises(ValueError, match="not complete"):
        catalog.write(copies=[Copy(item_id, root.id, "b.txt", 1, 1)])
    catalog.write(completed=[Completion(item_id, content_hash(1), 5)])
    catalog.write(copies=[Copy(item_id, root.id, "b.txt", 1, 9, 8)])
    assert catalog.known_files(root.id)["b.txt"] == KnownFile(item_id + 1, 1, 9, None, 8)


def test_an_item_that_grows_looks_changed_wherever_it_is_moved(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    catalog.write(moves=[Move(item_id, root.id, "b.txt", 50, 4)])
    assert catalog.known_files(root.id) == {"b.txt": KnownFile(item_id, 1, UNFINISHED_NS, None, 4)}
    catalog.write(touched=[Touch(item_id, 6, 60, 5)])
    assert catalog.known_files(root.id) == {"b.txt": KnownFile(item_id, 6, UNFINISHED_NS, None, 5)}


def test_the_next_run_replaces_what_was_interrupted(catalog: Catalog, root: Root) -> None:
    old = _begun(catalog, root)
    catalog.write(parts=[Part(old, _passages(9, 2))])
    new = _begun(catalog, root)
    catalog.write(parts=[Part(new, _passages(20, 1))], completed=[Completion(new, content_hash(1), 5)])
    assert catalog.segments_of(old) == []
    assert len(catalog.segments_of(new)) == 3
    assert catalog.match_text("passage", 9)[0].size == 1
    assert catalog.vector_source(ENCODER, Modality.TEXT).watermark().count == 3


def test_completing_an_item_ends_its_failure(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    catalog.write(failures=[FailedFile(root.id, "a.txt", 1, 5, "no permission", 3)])
    assert catalog.known_files(root.id) == {"a.txt": KnownFile(item_id, 1, 5, "no permission", 3)}
    catalog.write(completed=[Completion(item_id, content_hash(1), 5)])
    assert catalog.failures() == []


def test_a_part_that_makes_no_sense_leaves_the_item_as_it_was(catalog: Catalog, root: Root) -> None:
    item_id = _begun(catalog, root)
    bad = replace(new_segment(1, Modality.TEXT), embeddings={ENCODER: np.full(8, np.nan, np.float32)})
    with pytest.raises(EncoderError, match="not finite"):
        catalog.write(parts=[Part(item_id, (*_passages(9, 1), bad))])
    assert len(catalog.segments_of(item_id)) == 2
    catalog.write(parts=[Part(item_id, ())])
    assert len(catalog.segments_of(item_id)) == 2


def test_an_item_without_a_file_can_grow_as_well(catalog: Catalog) -> None:
    (segment,) = catalog.write(items=[NewItem(Modality.TEXT, _passages(1, 1), key="k", complete=False)])
    item_id = catalog.item_of(segment)
    assert item_id is not None
    catalog.write(parts=[Part(item_id, _passages(2, 1))], completed=[Completion(item_id, None, 0)])
    assert len(catalog.segments_of(item_id)) == 2
