"""Filtered search against an exhaustive comparison, at every share that passes and by every way of filtering."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.filters import Filters, Range
from mmsearch.protocols import VectorSource
from mmsearch.query.trace import Trace
from mmsearch.retrieval import filtering
from mmsearch.retrieval.filtering import CollectionFacts, FilteredStore
from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, Modality, NewItem, NewSegment
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.store import VectorStore

COUNT, DIM, ENCODER = 3000, 16, "test-encoder"


@dataclass(frozen=True)
class Shelf:
    """Photos whose size in bytes is their number, with the index of their vectors."""

    catalog: Catalog
    store: VectorStore
    vectors: NDArray[np.float32]

    @property
    def source(self) -> VectorSource:
        return self.catalog.vector_source(ENCODER, Modality.IMAGE)

    def facts(self, *, loaded: bool) -> CollectionFacts:
        facts = CollectionFacts(self.catalog, ENCODER, Modality.IMAGE)
        if loaded:
            facts.load()
        return facts

    def truth(self, queries: NDArray[np.float32], k: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        exact = ExactIndex(DIM)
        if len(numbers):
            exact.add(numbers, self.vectors[numbers - 1])
        return exact.search(queries, k)[0]


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


@pytest.fixture(scope="module", params=["flat", "ivf"])
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    folder = tmp_path_factory.mktemp("library")
    vectors = _unit(np.random.default_rng(0).standard_normal((COUNT, DIM)))
    with Catalog.open(folder, create=True) as catalog:
        catalog.register_encoders([EncoderRecord(ENCODER, DIM)])
        root = catalog.add_root(Path("/photos")).id
        segments = [NewSegment(Modality.IMAGE, {ENCODER: vector}) for vector in vectors]
        catalog.write(
            items=[
                NewItem(Modality.IMAGE, (segment,), root, f"{number}.jpg", size_bytes=number)
                for number, segment in enumerate(segments, start=1)
            ]
        )
        store = VectorStore(folder / "vectors", ENCODER, DIM)
        store.fold(catalog.vector_source(ENCODER, Modality.IMAGE), kind=request.param)
        yield Shelf(catalog, store, vectors)


queries = st.integers(0, 2**32 - 1).map(lambda seed: _unit(np.random.default_rng(seed).standard_normal((1, DIM))))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=queries,
    k=st.sampled_from([1, 10, 200]),
    share=st.sampled_from([0, 1, 5, 30, 400, 1500, 3000]),
    data=st.data(),
)
@pytest.mark.parametrize("loaded", [False, True], ids=["asked", "in memory"])
def test_k_hits_come_whenever_k_pass(
    shelf: Shelf, loaded: bool, query: NDArray[np.float32], k: int, share: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(1, COUNT - share + 1))
    filters = Filters(size_bytes=Range(first, first + share - 1) if share else Range(COUNT + 1))
    ids, scores = FilteredStore(shelf.store, shelf.facts(loaded=loaded), filters, Trace()).search(
        shelf.source, query, k
    )
    found = ids[0][ids[0] >= 0]
    assert ids.shape == scores.shape == (1, k)
    assert len(found) == len(set(found.tolist())) == min(k, share)
    assert all(first <= id_ < first + share for id_ in found.tolist())
    assert np.allclose(scores[0][: len(found)], shelf.vectors[found - 1] @ query[0], atol=1e-3)
    if shelf.store.manifest is not None and shelf.store.manifest.kind == "flat":
        truth = shelf.truth(query, k, np.arange(first, first + share))[0][: len(found)]
        # Stored vectors are made of length one again, which can turn two round that are almost as near.
        assert np.allclose(shelf.vectors[found - 1] @ query[0], shelf.vectors[truth - 1] @ query[0], atol=1e-3)


def test_what_a_filter_leaves_is_found_as_well_as_without_one(shelf: Shelf) -> None:
    several = _unit(np.random.default_rng(5).standard_normal((40, DIM)))
    for share in (30, 300, 1500, 2900):
        numbers = np.arange(50, 50 + share)
        for loaded in (False, True):
            searcher = FilteredStore(
                shelf.store, shelf.facts(loaded=loaded), Filters(size_bytes=Range(50, 49 + share)), Trace()
            )
            ids, _ = searcher.search(shelf.source, several, 10)
            truth = shelf.truth(several, 10, numbers)
            recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids.tolist(), truth.tolist(), strict=True)])
            assert recall >= 0.9


def test_the_way_of_filtering_follows_from_what_is_left(shelf: Shelf) -> None:
    def steps(filters: Filters, *, loaded: bool) -> list[str]:
        trace = Trace()
        FilteredStore(shelf.store, shelf.facts(loaded=loaded), filters, trace).search(
            shelf.source, shelf.vectors[:1], 5
        )
        return [step.name for step in trace.steps]

    narrow, loose = Filters(size_bytes=Range(7, 9)), Filters(size_bytes=Range(7))
    assert steps(Filters(), loaded=False) == ["vectors"]
    assert steps(narrow, loaded=False) == ["guess", "filter", "vectors"]
    assert steps(loose, loaded=False) == ["guess", "vectors"]
    assert steps(narrow, loaded=True) == ["filter", "vectors"]
    assert steps(loose, loaded=True) == ["filter", "vectors"]


def test_a_filter_that_looked_loose_and_is_not_where_the_query_lies_still_gives_k_hits(shelf: Shelf) -> None:
    nearest = shelf.truth(shelf.vectors[:1], 1000, np.arange(1, COUNT + 1))[0]
    away = Filters(excluded=tuple(Filters(size_bytes=Range(int(id_), int(id_))) for id_ in nearest[:400]))
    ids, _ = FilteredStore(shelf.store, shelf.facts(loaded=False), away, Trace()).search(
        shelf.source, shelf.vectors[:1], 10
    )
    assert (ids >= 0).all() and not set(ids[0].tolist()) & set(nearest[:400].tolist())


def test_several_queries_and_named_segments_are_filtered_alike(shelf: Shelf) -> None:
    filters = Filters(size_bytes=Range(100, 199))
    searcher = FilteredStore(shelf.store, shelf.facts(loaded=False), filters, Trace())
    ids, _ = searcher.search(shelf.source, shelf.vectors[:3], 200, allowed=np.arange(150, 1000))
    assert [sorted(row[row >= 0].tolist()) for row in ids] == [list(range(150, 200))] * 3


def test_a_process_that_filters_again_and_again_reads_the_facts_into_memory_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtering, "_FEW", 0)
    facts = shelf.facts(loaded=False)
    before = {number: facts.select(Filters(size_bytes=Range(number, 2900)), COUNT).ids.tolist() for number in range(50)}
    narrow = Filters(size_bytes=Range(3, 2900))
    assert facts.in_memory(narrow)
    after = {number: facts.select(Filters(size_bytes=Range(number, 2900)), COUNT).ids.tolist() for number in range(50)}
    assert after == before
    assert not facts.in_memory(Filters(paths=("*.jpg",)))
    assert len(facts.select(Filters(paths=("1?.jpg",)), COUNT)) == 10


@pytest.mark.parametrize("loaded", [False, True], ids=["asked", "in memory"])
def test_nothing_is_found_in_a_collection_that_is_empty(tmp_path: Path, loaded: bool) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([EncoderRecord(ENCODER, DIM)])
        empty = Shelf(catalog, VectorStore(tmp_path / "vectors", ENCODER, DIM), np.empty((0, DIM), np.float32))
        searcher = FilteredStore(empty.store, empty.facts(loaded=loaded), Filters(size_bytes=Range(1)), Trace())
        ids, _ = searcher.search(empty.source, np.eye(1, DIM, dtype=np.float32), 3)
        assert ids.tolist() == [[-1, -1, -1]]
