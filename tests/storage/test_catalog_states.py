"""The catalog against a plain dictionary, through random sequences of batches."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.types import KnownFile
from tests.storage.making import RECORD, content_hash, embedding, image_source, new_item

NAMES = st.sampled_from(["a", "b", "c/d", "é", "\udcff\n"])
CONTENTS = st.integers(1, 4)
TIMES = st.integers(-(2**63), 2**63 - 1)
Place = tuple[int, str]


@dataclass(frozen=True)
class Stored:
    item_id: int
    content: int
    segments: int
    size_bytes: int
    mtime_ns: int


class CatalogStates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.catalog = Catalog.open(self.folder, create=True)
        self.catalog.register_encoders([RECORD])
        self.files: dict[Place, Stored] = {}
        self.failed: dict[Place, KnownFile] = {}
        self.roots: list[int] = []
        self.seen: set[int] = set()
        self.last_item = 0

    @initialize()
    def start(self) -> None:
        self.roots = [self.catalog.add_root(Path(f"/photos/{name}")).id for name in ("x", "x/y")]

    def _places(self) -> st.SearchStrategy[Place]:
        return st.tuples(st.sampled_from(self.roots), NAMES)

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """One batch of everything, applied to the model in the order that `Catalog.write` promises."""

        def some(strategy: st.SearchStrategy, most: int) -> list:
            return data.draw(st.lists(strategy, max_size=most))

        def ids(most: int) -> list[int]:
            there = sorted(stored.item_id for stored in self.files.values())
            return data.draw(st.lists(st.sampled_from(there), max_size=most, unique=True)) if there else []

        def distinct(count: int) -> list[Place]:
            return data.draw(st.lists(self._places(), min_size=count, max_size=count, unique=True))

        removed = ids(2)
        self.files = {place: stored for place, stored in self.files.items() if stored.item_id not in removed}
        forgotten = some(self._places(), 2)
        self.failed = {place: known for place, known in self.failed.items() if place not in forgotten}

        moving = ids(3)
        moves = [Move(id_, *place, data.draw(TIMES)) for id_, place in zip(moving, distinct(len(moving)), strict=True)]
        lifted = {stored.item_id: stored for stored in self.files.values() if stored.item_id in moving}
        self.files = {place: stored for place, stored in self.files.items() if stored.item_id not in moving}
        for move in moves:
            self._put((move.root_id, move.path), replace(lifted[move.item_id], mtime_ns=move.mtime_ns))

        touched = [Touch(id_, data.draw(CONTENTS), data.draw(TIMES)) for id_ in ids(2)]
        for touch in touched:
            (place,) = [place for place, stored in self.files.items() if stored.item_id == touch.item_id]
            self._put(place, replace(self.files[place], size_bytes=touch.size_bytes, mtime_ns=touch.mtime_ns))

        sources = ids(3)
        copies = [
            Copy(id_, *place, data.draw(CONTENTS), data.draw(TIMES))
            for id_, place in zip(sources, distinct(len(sources)), strict=True)
        ]
        by_id = {stored.item_id: stored for stored in self.files.values()}
        for copy in copies:
            self.last_item += 1
            source = by_id[copy.source_item_id]
            self._put(
                (copy.root_id, copy.path),
                Stored(self.last_item, source.content, source.segments, copy.size_bytes, copy.mtime_ns),
            )

        items = [
            new_item(*place, data.draw(CONTENTS), segments=data.draw(st.integers(0, 3)), mtime_ns=data.draw(TIMES))
            for place in distinct(data.draw(st.integers(0, 3)))
        ]
        for item in items:
            self.last_item += 1
            assert item.root_id is not None and item.path is not None
            self._put(
                (item.root_id, item.path),
                Stored(self.last_item, item.size_bytes, len(item.segments), item.size_bytes, item.mtime_ns),
            )

        failures = [
            FailedFile(*place, data.draw(CONTENTS), data.draw(TIMES), "bad") for place in some(self._places(), 2)
        ]
        for failure in failures:
            self.failed[failure.root_id, failure.path] = KnownFile(
                None, failure.size_bytes, failure.mtime_ns, failure.reason
            )
        new_ids = self.catalog.write(
            items=items,
            copies=copies,
            moves=moves,
            touched=touched,
            removed=removed,
            failures=failures,
            forgotten=forgotten,
        )
        assert len(new_ids) == sum(len(item.segments) for item in items)
        assert self.seen.isdisjoint(new_ids)

    def _put(self, place: Place, stored: Stored) -> None:
        self.files[place] = stored
        self.failed.pop(place, None)

    @rule()
    def open_again(self) -> None:
        self.catalog.close()
        self.catalog = Catalog.open(self.folder)

    @rule(which=st.integers(0, 1))
    def replace_a_root(self, which: int) -> None:
        old = self.roots[which]
        path = {root.id: root.path for root in self.catalog.roots()}[old]
        count = self.catalog.remove_root(old)
        assert count == sum(root_id == old for root_id, _ in self.files)
        self.files = {place: stored for place, stored in self.files.items() if place[0] != old}
        self.failed = {place: known for place, known in self.failed.items() if place[0] != old}
        self.roots[which] = self.catalog.add_root(path).id
        assert self.roots[which] != old

    @invariant()
    def the_same_files_are_known(self) -> None:
        for root_id in self.roots:
            expected = {
                path: KnownFile(stored.item_id, stored.size_bytes, stored.mtime_ns)
                for (root, path), stored in self.files.items()
                if root == root_id
            }
            for (root, path), failed in self.failed.items():
                if root == root_id:
                    item = expected.get(path)
                    expected[path] = replace(failed, item_id=None if item is None else item.item_id)
            assert self.catalog.known_files(root_id) == expected

    @invariant()
    def the_counters_agree_with_counting(self) -> None:
        source = image_source(self.catalog)
        mark = source.watermark()
        with closing(sqlite3.connect(self.folder / "catalog.sqlite3")) as connection:
            counted = connection.execute("SELECT coalesce(max(segment_id), 0), count(*) FROM vectors").fetchone()
            logged = connection.execute("SELECT coalesce(max(id), 0), count(*) FROM removals").fetchone()
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert (mark.last_segment_id, mark.count) == counted
        assert (mark.last_removal_id, mark.last_removal_id) == logged
        assert mark.count == sum(stored.segments for stored in self.files.values())

    @invariant()
    def every_segment_is_there_with_its_vector_or_in_the_log(self) -> None:
        source = image_source(self.catalog)
        there = {
            int(id_): vector
            for ids, vectors in source.read(batch_size=3)
            for id_, vector in zip(ids, vectors, strict=True)
        }
        removed = source.removed_since(0).tolist()
        assert len(removed) == len(set(removed))
        assert set(removed).isdisjoint(there)
        assert self.seen <= there.keys() | set(removed)
        self.seen |= there.keys()
        records = self.catalog.segments(list(there))
        assert records.keys() == there.keys()
        by_item = {stored.item_id: (place, stored) for place, stored in self.files.items()}
        for segment_id, vector in there.items():
            record = records[segment_id]
            (root_id, path), stored = by_item[record.item.id]
            expected = embedding(stored.content * 100 + record.segment.ordinal)
            np.testing.assert_allclose(vector, expected, atol=1e-3)
            root = {root.id: root.path for root in self.catalog.roots()}[root_id]
            assert record.item.path == root / path

    @invariant()
    def content_is_found_by_its_hash(self) -> None:
        for content in range(1, 5):
            expected = sorted(stored.item_id for stored in self.files.values() if stored.content == content)
            assert self.catalog.items_with_hash(content_hash(content)) == expected

    def teardown(self) -> None:
        self.catalog.close()
        with closing(sqlite3.connect(self.folder / "catalog.sqlite3")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        shutil.rmtree(self.folder)


CatalogStates.TestCase.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
TestCatalogStates = CatalogStates.TestCase
