"""Inverted lists read with NumPy: the same answers as FAISS gives over the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.vectors import inverted
from mmsearch.vectors.arrays import DamagedFileError, read_arrays, write_arrays
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.faiss_index import FaissIndex
from mmsearch.vectors.inverted import InvertedFile
from tests.vectors.worlds import clustered, recall

DIM = 24
COUNT = 4000


@pytest.fixture(scope="module", params=["ivf32,sq8", "ivf32,pq12", "ivf1,sq8"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[InvertedFile, FaissIndex]:
    index = FaissIndex(DIM, request.param)
    vectors = clustered(COUNT, DIM)
    index.train(vectors[:2500])
    index.add(np.arange(COUNT) * 2, vectors)
    path = tmp_path_factory.mktemp("inverted") / "index.arr"
    index.save(path)
    return InvertedFile(path, DIM), index


@pytest.mark.parametrize("nprobe", [4, 10, 32])
def test_it_answers_as_faiss_does(built: tuple[InvertedFile, FaissIndex], nprobe: int) -> None:
    file, index = built
    index.nprobe = nprobe
    queries = clustered(30, DIM, seed=4)
    # With so few hits wanted, no more lists are visited than asked for.
    ids, scores = file.search(queries, 2, nprobe=nprobe)
    true_ids, true_scores = index.search(queries, 2)
    assert np.allclose(scores, true_scores, atol=1e-5)
    assert (ids == true_ids).mean() > 0.98  # codes may tie


def test_every_vector_is_in_the_list_that_it_says(built: tuple[InvertedFile, FaissIndex]) -> None:
    file, _ = built
    content = [file.content(number) for number in range(len(file.sizes))]
    assert sorted(np.concatenate([ids for ids, _ in content]).tolist()) == file.ids.tolist()
    assert len(file) == COUNT
    assert (file.ids == np.arange(COUNT) * 2).all()
    query = clustered(1, DIM, seed=1)
    everything = file.search(query, COUNT, nprobe=len(file.sizes))
    looked_up = file.search(query, COUNT, nprobe=1, allowed=file.ids)
    assert np.allclose(everything[1], looked_up[1], atol=1e-5)


def test_a_filter_of_every_width_gives_k_hits_whenever_k_exist(
    built: tuple[InvertedFile, FaissIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = built
    oracle = ExactIndex(DIM)
    oracle.add(file.ids, clustered(COUNT, DIM))
    queries = clustered(3, DIM, seed=6)

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        share=st.floats(0, 1),
        out=st.floats(0, 1),
        k=st.integers(1, 200),
        seed=st.integers(0, 99),
        narrow=st.sampled_from([0, 500, 32768]),
    )
    def check(share: float, out: float, k: int, seed: int, narrow: int) -> None:
        monkeypatch.setattr(inverted, "NARROW", narrow)
        random = np.random.default_rng(seed)
        allowed, excluded = file.ids[random.random(COUNT) < share], file.ids[random.random(COUNT) < out]
        rest = np.setdiff1d(allowed, excluded)
        ids, scores = file.search(queries, k, nprobe=3, allowed=allowed, excluded=excluded)
        exist = min(k, len(rest))
        assert ((ids >= 0).sum(axis=1) == exist).all()
        assert np.isin(ids[ids >= 0], rest).all()
        assert (np.isneginf(scores) == (ids < 0)).all()
        if exist:
            assert recall(ids, oracle.search(queries, exist, allowed=rest)[0]) >= 0.25

    check()


def test_without_a_filter_k_hits_come_as_well(built: tuple[InvertedFile, FaissIndex]) -> None:
    file, _ = built
    queries = clustered(2, DIM, seed=2)
    for k in (1, 100, COUNT, COUNT + 5):
        ids, _ = file.search(queries, k, nprobe=1, excluded=file.ids[:10])
        assert ((ids >= 0).sum(axis=1) == min(k, COUNT - 10)).all()
        assert not np.isin(ids, file.ids[:10]).any()


def test_files_that_contradict_themselves_are_damaged(built: tuple[InvertedFile, FaissIndex], tmp_path: Path) -> None:
    good = read_arrays(built[0].file.path)
    with pytest.raises(DamagedFileError):
        InvertedFile(good.path, DIM + 1)
    for name, change in {
        "sizes": lambda array: array + 1,
        "ids": lambda array: array[:-1],
        "places": lambda array: array.astype(np.float32),
        "centroids": lambda array: array[:, :-1],
        "lists": lambda array: array[:-8],
    }.items():
        arrays = {**good.arrays, name: np.ascontiguousarray(change(good.arrays[name]))}
        write_arrays(tmp_path / name, arrays, good.meta)
        with pytest.raises(DamagedFileError):
            InvertedFile(tmp_path / name, DIM)
    for name in good.arrays:
        write_arrays(tmp_path / name, {key: good.arrays[key] for key in good.arrays if key != name}, good.meta)
        with pytest.raises(DamagedFileError):
            InvertedFile(tmp_path / name, DIM)
