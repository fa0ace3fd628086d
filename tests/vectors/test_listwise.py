"""Many queries at once, list by list: the same hits and scores as one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.vectors import listwise, resident, snapshot
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.faiss_index import FaissIndex
from mmsearch.vectors.inverted import InvertedFile
from mmsearch.vectors.listwise import search_listwise
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import MemorySource, clustered

DIM, COUNT = 32, 40_000


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return clustered(COUNT, DIM)


@pytest.fixture(scope="module", params=["ivf96,sq8", "ivf96,pq8"])
def file(request: pytest.FixtureRequest, vectors: NDArray[np.float32], tmp_path_factory: object) -> InvertedFile:
    index = FaissIndex(DIM, request.param)
    index.train(vectors[::4])
    index.add(np.arange(1, COUNT + 1), vectors)
    path = tmp_path_factory.mktemp("lists") / "index.arr"  # type: ignore[attr-defined]
    return InvertedFile(path, DIM, index.save(path).size_bytes)


FILTERS = {
    "nothing": {},
    "a few are allowed": {"allowed": np.arange(1, COUNT + 1, 977)},
    "one is allowed": {"allowed": np.array([4711])},
    "most are allowed": {"allowed": np.delete(np.arange(1, COUNT + 1), np.arange(0, COUNT, 7))},
    "some are removed": {"excluded": np.arange(1, COUNT + 1, 3)},
    "both": {"allowed": np.arange(1, COUNT - 500), "excluded": np.arange(1, COUNT + 1, 11)},
    "all of what is allowed is removed": {"allowed": np.arange(5, 100), "excluded": np.arange(1, 500)},
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_batch_finds_what_its_queries_find_one_by_one(
    name: str, file: InvertedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listwise, "_TOGETHER", 100)  # several portions
    queries = clustered(250, DIM, seed=5)
    ids, scores = search_listwise(file, queries, 20, nprobe=6, **FILTERS[name])
    alone = [file.search(query[None], 20, nprobe=6, **FILTERS[name]) for query in queries]
    assert np.array_equal(ids, np.concatenate([one[0] for one in alone]))
    assert np.allclose(scores, np.concatenate([one[1] for one in alone]), atol=1e-5)


def test_hits_come_whenever_they_exist_however_far_they_lie(file: InvertedFile) -> None:
    queries = clustered(30, DIM, seed=5)
    ids, scores = search_listwise(file, queries, 2000, nprobe=1)
    assert (ids > 0).all() and np.isfinite(scores).all()
    assert all(len(set(line)) == 2000 for line in ids.tolist())
    ids, _ = search_listwise(file, queries, COUNT + 5, nprobe=1)
    assert (ids[:, :COUNT] > 0).all() and (ids[:, COUNT:] == -1).all()


def test_the_order_of_scores_is_kept_also_below_zero(file: InvertedFile) -> None:
    queries = -clustered(30, DIM, seed=5)
    _, scores = search_listwise(file, queries, COUNT, nprobe=3)
    assert (np.diff(scores, axis=1) <= 0).all() and (scores < 0).any() and (scores > 0).any()
    alone = np.concatenate([file.search(query[None], COUNT, nprobe=3)[1] for query in queries])
    assert np.allclose(scores, alone, atol=1e-5)


def test_no_queries_have_no_hits(file: InvertedFile) -> None:
    ids, scores = search_listwise(file, np.empty((0, DIM), np.float32), 5, nprobe=2)
    assert ids.shape == scores.shape == (0, 5)


@pytest.mark.parametrize("kind", ["flat", "ivf", "pq", "hnsw"])
def test_a_store_gives_a_batch_the_ids_and_scores_of_single_queries(kind: str, tmp_path: Path) -> None:
    source = MemorySource(DIM)
    vectors = clustered(12_000, DIM)
    vectors[5000:5012] = vectors[17]  # copies have one score, and come in order of their ids
    source.add(vectors)
    store = VectorStore(tmp_path, "test", DIM)
    store.fold(source, kind=kind)
    source.add(clustered(300, DIM, seed=8))
    source.remove(source.ids[::50])
    queries = np.concatenate([clustered(400, DIM, seed=3), vectors[17:18]])
    ids, scores = store.search(source, queries, 10)
    alone = [VectorStore(tmp_path, "test", DIM).search(source, query[None], 10) for query in queries]
    assert np.array_equal(ids, np.concatenate([one[0] for one in alone]))
    assert np.array_equal(scores, np.concatenate([one[1] for one in alone]))
    some = source.ids[::2]
    ids, scores = store.search(source, queries, 10, allowed=some)
    alone = [store.search(source, query[None], 10, allowed=some) for query in queries]
    assert np.array_equal(ids, np.concatenate([one[0] for one in alone]))
    assert np.array_equal(scores, np.concatenate([one[1] for one in alone]))


def test_only_what_can_be_among_the_best_is_scored_again(tmp_path: Path) -> None:
    source = MemorySource(DIM)
    source.add(clustered(12_000, DIM))
    store = VectorStore(tmp_path, "test", DIM)
    store.fold(source, kind="ivf")
    queries = clustered(300, DIM, seed=3)
    file, nprobe = store._snapshot.main.file, store.manifest.effort
    whole, scores = file.search(queries, 26, nprobe=nprobe)
    ids = store._snapshot.main.contenders(queries, whole, scores, 10)
    assert 10 <= (ids >= 0).sum(axis=1).mean() < 26
    exact = ExactIndex(DIM)
    exact.add(*source.fetch(source.ids))
    for row, query in enumerate(queries):
        best = exact.search(query[None], 10, allowed=np.sort(whole[row]))[0][0]
        assert np.isin(best, ids[row]).all()


def test_many_look_ups_read_all_vectors_into_memory_once_and_stay_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemorySource(DIM)
    source.add(clustered(3000, DIM))
    store = VectorStore(tmp_path, "test", DIM)
    for _ in range(3):
        ids, halves = store.vectors(source, source.ids[:1500])
    source.fetched = 0
    ids, halves = store.vectors(source, source.ids[100:900])
    assert source.fetched == 0 and ids.tolist() == source.ids[100:900].tolist()
    source.remove([150, 160])
    new = source.add(clustered(20, DIM, seed=2))
    asked = np.concatenate([np.arange(145, 165), new, [10**9]])
    ids, halves = store.vectors(source, asked)
    known, truth = source.fetch(asked)
    assert ids.tolist() == known.tolist() and np.array_equal(halves, truth.astype(np.float16))
    new = source.add(clustered(2000, DIM, seed=4))
    ids, halves = store.vectors(source, np.concatenate([[1], new]))
    assert np.array_equal(halves, source.fetch(ids)[1].astype(np.float16)) and len(ids) == 2001
    monkeypatch.setattr(resident, "_MOST_BYTES", 10)
    store = VectorStore(tmp_path, "test", DIM)
    for _ in range(5):
        store.vectors(source, source.ids)
    source.fetched = 0
    assert len(store.vectors(source, source.ids[:50])[0]) == 50 == source.fetched


def test_the_path_for_many_queries_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(snapshot, "_PLENTY", 0)
    real = snapshot.search_listwise
    monkeypatch.setattr(snapshot, "search_listwise", lambda *a, **b: taken.append(1) or real(*a, **b))
    source = MemorySource(DIM)
    source.add(clustered(5000, DIM))
    store = VectorStore(tmp_path, "test", DIM)
    store.fold(source, kind="ivf")
    store.search(source, clustered(255, DIM, seed=3), 1)
    assert not taken
    store.search(source, clustered(256, DIM, seed=3), 1)
    assert taken
