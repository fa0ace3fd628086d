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

from mmsearch.filters import Filters
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import UNFINISHED_NS, Completion, Copy, FailedFile, Move, Part, Touch
from mmsearch.types import Collection, KnownFile, MediaInfo, Modality, NewItem
from tests.storage.full_text import check_full_text
from tests.storage.making import OTHER_RECORD, RECORD, content_hash, mixed_segment

NAMES = st.sampled_from(["a", "b", "c/d", "é", "\udcff\n"])
CONTENTS = st.integers(1, 4)
TIMES = st.integers(-(2**63), 2**63 - 1)
SIDECARS = st.sampled_from([0, 7, 2**63 - 1])
MODALITIES = st.sampled_from([Modality.IMAGE, Modality.TEXT])
Place = tuple[int, str]


@dataclass(frozen=True)
class Stored:
    item_id: int
    content: int
    segments: int
    size_bytes: int
    mtime_ns: int
    sidecars: int
    modality: Modality
    complete: bool = True

    def at(self, mtime_ns: int) -> int:
        """The time it gets: one that grows keeps the one that no file has."""
        return mtime_ns if self.complete else self.mtime_ns


class CatalogStates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.catalog = Catalog.open(self.folder, create=True)
        self.catalog.register_encoders([RECORD, OTHER_RECORD])
        self.files: dict[Place, Stored] = {}
        self.failed: dict[Place, KnownFile] = {}
        self.roots: list[int] = []
        self.seen: dict[str, set[int]] = {}
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

        def ids(most: int, complete: tuple[bool, ...] = (True, False)) -> list[int]:
            there = sorted(stored.item_id for stored in self.files.values() if stored.complete in complete)
            return data.draw(st.lists(st.sampled_from(there), max_size=most, unique=True)) if there else []

        def distinct(count: int) -> list[Place]:
            return data.draw(st.lists(self._places(), min_size=count, max_size=count, unique=True))

        removed = ids(2)
        self.files = {place: stored for place, stored in self.files.items() if stored.item_id not in removed}
        forgotten = some(self._places(), 2)
        self.failed = {place: known for place, known in self.failed.items() if place not in forgotten}

        moving = ids(3)
        moves = [
            Move(id_, *place, data.draw(TIMES), data.draw(SIDECARS))
            for id_, place in zip(moving, distinct(len(moving)), strict=True)
        ]
        lifted = {stored.item_id: stored for stored in self.files.values() if stored.item_id in moving}
        self.files = {place: stored for place, stored in self.files.items() if stored.item_id not in moving}
        for move in moves:
            stored = lifted[move.item_id]
            self._put(
                (move.root_id, move.path), replace(stored, mtime_ns=stored.at(move.mtime_ns), sidecars=move.sidecars)
            )

        touched = [Touch(id_, data.draw(CONTENTS), data.draw(TIMES), data.draw(SIDECARS)) for id_ in ids(2)]
        for touch in touched:
            place, stored = self._found(touch.item_id)
            self._put(
                place,
                replace(
                    stored,
                    size_bytes=touch.size_bytes,
                    mtime_ns=stored.at(touch.mtime_ns),
                    sidecars=touch.sidecars,
                ),
            )

        sources = ids(3, complete=(True,))
        copies = [
            Copy(id_, *place, data.draw(CONTENTS), data.draw(TIMES), data.draw(SIDECARS))
            for id_, place in zip(sources, distinct(len(sources)), strict=True)
        ]
        by_id = {stored.item_id: stored for stored in self.files.values()}
        for copy in copies:
            self.last_item += 1
            self._put(
                (copy.root_id, copy.path),
                replace(
                    by_id[copy.source_item_id],
                    item_id=self.last_item,
                    size_bytes=copy.size_bytes,
                    mtime_ns=copy.mtime_ns,
                    sidecars=copy.sidecars,
                ),
            )

        items = []
        for place in distinct(data.draw(st.integers(0, 3))):
            content, segments = data.draw(CONTENTS), data.draw(st.integers(0, 6))
            item = NewItem(
                data.draw(MODALITIES),
                tuple(mixed_segment(content, ordinal) for ordinal in range(segments)),
                *place,
                None,
                content,
                data.draw(TIMES),
                content_hash(content),
                sidecars=data.draw(SIDECARS),
                complete=data.draw(st.booleans()),
            )
            items.append(item)
            self.last_item += 1
            mtime_ns = item.mtime_ns if item.complete else UNFINISHED_NS
            self._put(
                place,
                Stored(
                    self.last_item, content, segments, content, mtime_ns, item.sidecars, item.modality, item.complete
                ),
            )

        parts = []
        for id_ in [*ids(2, complete=(False,)), *ids(2, complete=(False,))]:  # the same item may have two
            place, stored = self._found(id_)
            more = data.draw(st.integers(0, 4))
            places = range(stored.segments, stored.segments + more)
            parts.append(Part(id_, tuple(mixed_segment(stored.content, ordinal) for ordinal in places)))
            self.files[place] = replace(stored, segments=stored.segments + more)

        completed = []
        for id_ in ids(2, complete=(False,)):
            place, stored = self._found(id_)
            done = Completion(id_, content_hash(stored.content), data.draw(TIMES), MediaInfo(duration_ms=id_))
            completed.append(done)
            self._put(place, replace(stored, mtime_ns=done.mtime_ns, complete=True))

        failures = [
            FailedFile(*place, data.draw(CONTENTS), data.draw(TIMES), "bad", data.draw(SIDECARS))
            for place in some(self._places(), 2)
        ]
        for failure in failures:
            self.failed[failure.root_id, failure.path] = KnownFile(
                None, failure.size_bytes, failure.mtime_ns, failure.reason, failure.sidecars
            )
        new_ids = self.catalog.write(
            items=items,
            parts=parts,
            completed=completed,
            copies=copies,
            moves=moves,
            touched=touched,
            removed=removed,
            failures=failures,
            forgotten=forgotten,
        )
        assert len(new_ids) == sum(len(made.segments) for made in [*items, *parts])
        assert list(new_ids) == sorted(new_ids)
        assert all(seen.isdisjoint(new_ids) for seen in self.seen.values())
        for done in completed:
            assert self.catalog.items([done.item_id])[done.item_id].info == done.info

    def _put(self, place: Place, stored: Stored) -> None:
        self.files[place] = stored
        self.failed.pop(place, None)

    def _found(self, item_id: int) -> tuple[Place, Stored]:
        ((place, stored),) = [entry for entry in self.files.items() if entry[1].item_id == item_id]
        return place, stored

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
                path: KnownFile(stored.item_id, stored.size_bytes, stored.mtime_ns, None, stored.sidecars)
                for (root, path), stored in self.files.items()
                if root == root_id
            }
            for (root, path), failed in self.failed.items():
                if root == root_id:
                    item = expected.get(path)
                    expected[path] = replace(failed, item_id=None if item is None else item.item_id)
            assert self.catalog.known_files(root_id) == expected

    @invariant()
    def every_segment_is_stored_as_it_was_given(self) -> None:
        for (root_id, path), stored in self.files.items():
            root = {root.id: root.path for root in self.catalog.roots()}[root_id]
            segments = self.catalog.segments_of(stored.item_id)
            assert [segment.ordinal for segment in segments] == list(range(stored.segments))
            records = self.catalog.segments([segment.id for segment in segments])
            for segment in segments:
                given = mixed_segment(stored.content, segment.ordinal)
                assert (segment.modality, segment.text, segment.page) == (given.modality, given.text, given.page)
                assert records[segment.id].segment == segment
                assert records[segment.id].item.path == root / path
                assert self.catalog.item_of(segment.id) == stored.item_id
                for record in self.catalog.encoders():
                    ids, vectors = self.catalog.vectors(record.id, [segment.id])
                    assert ids.tolist() == ([segment.id] if record.id in given.embeddings else [])
                    if record.id in given.embeddings:
                        np.testing.assert_allclose(vectors[0], given.embeddings[record.id], atol=1e-3)

    @invariant()
    def collections_and_their_counters_agree_with_counting(self) -> None:
        records = {(record.encoder_id, record.modality): record for record in self.catalog.collections()}
        with closing(sqlite3.connect(self.folder / "catalog.sqlite3")) as connection:
            counted = connection.execute(
                "SELECT encoder, s.modality, count(*), max(segment_id) FROM vectors v JOIN segments s ON s.id ="
                " v.segment_id JOIN collections c ON c.id = v.collection_id WHERE c.modality = s.modality GROUP BY 1, 2"
            ).fetchall()
            (vectors,) = connection.execute("SELECT count(*) FROM vectors").fetchone()
            logged = dict(
                connection.execute(
                    "SELECT c.name, max(r.id) FROM removals r JOIN collections c ON c.id = r.collection_id GROUP BY 1"
                ).fetchall()
            )
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert {(encoder, modality): count for encoder, modality, count, _ in counted} == {
            key: record.count for key, record in records.items()
        }
        assert sum(record.count for record in records.values()) == vectors
        highest = {(encoder, modality): last for encoder, modality, _, last in counted}
        for encoder in self.catalog.encoders():
            for modality in Modality:
                mark = self.catalog.vector_source(encoder.id, modality).watermark()
                record = records.get((encoder.id, modality))
                assert mark.count == (0 if record is None else record.count)
                assert mark.last_segment_id == highest.get((encoder.id, modality), 0)
                assert mark.last_removal_id == logged.get(Collection(encoder.id, modality).name, 0)

    @invariant()
    def every_vector_is_there_or_in_the_log(self) -> None:
        for encoder in self.catalog.encoders():
            for modality in Modality:
                source = self.catalog.vector_source(encoder.id, modality)
                ids = [int(id_) for found, _ in source.read(batch_size=3) for id_ in found]
                assert ids == sorted(set(ids))
                assert ids == self.catalog.select_segments(encoder.id, modality, Filters()).tolist()
                removed = source.removed_since(0).tolist()
                assert len(removed) == len(set(removed))
                assert set(removed).isdisjoint(ids)
                seen = self.seen.setdefault(source.encoder_id, set())
                assert seen <= {*ids, *removed}
                seen.update(ids)

    @invariant()
    def filters_let_through_what_they_say(self) -> None:
        every = {
            segment.id: (stored.modality, segment.modality, segment.text)
            for stored in self.files.values()
            for segment in self.catalog.segments_of(stored.item_id)
        }
        for wanted in ({Modality.IMAGE}, {Modality.TEXT}, {Modality.AUDIO, Modality.VIDEO}):
            filters = Filters(frozenset(wanted))
            passing = {id_ for id_, (item, own, _) in every.items() if item in wanted or own in wanted}
            for encoder in self.catalog.encoders():
                for modality in Modality:
                    all_ids = self.catalog.select_segments(encoder.id, modality, Filters()).tolist()
                    expected = [id_ for id_ in all_ids if id_ in passing]
                    assert self.catalog.select_segments(encoder.id, modality, filters).tolist() == expected
            found, _ = self.catalog.match_text("nee", 100, filters=filters)
            assert set(found.tolist()) == {id_ for id_ in passing if every[id_][2] is not None}

    @invariant()
    def content_is_found_by_its_hash_once_it_is_whole(self) -> None:
        for content in range(1, 5):
            expected = sorted(
                stored.item_id for stored in self.files.values() if stored.content == content and stored.complete
            )
            assert self.catalog.items_with_hash(content_hash(content)) == expected

    @invariant()
    def full_text_holds_the_texts(self) -> None:
        check_full_text(self.folder)

    def teardown(self) -> None:
        self.catalog.close()
        with closing(sqlite3.connect(self.folder / "catalog.sqlite3")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        shutil.rmtree(self.folder)


CatalogStates.TestCase.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
TestCatalogStates = CatalogStates.TestCase
