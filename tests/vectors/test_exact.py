"""Exact search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmsearch.vectors.exact import ExactIndex
from tests.vectors.contract import DIM, VectorIndexContract
from tests.vectors.worlds import brute_force, clustered, unit


class TestExactIndex(VectorIndexContract):
    def make(self) -> ExactIndex:
        return ExactIndex(DIM)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 1200),
    queries=st.integers(1, 20),
    k=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    share=st.none() | st.floats(0, 1),
    excluded=st.floats(0, 0.5),
)
def test_it_finds_what_brute_force_finds_to_the_last_tie(
    count: int, queries: int, k: int, seed: int, share: float | None, excluded: float
) -> None:
    random = np.random.default_rng(seed)
    vectors = clustered(count, 16, seed)[random.integers(0, count, count)]  # many equal ones
    ids = np.sort(random.choice(10 * count, count, replace=False))
    index = ExactIndex(16)
    index.add(ids, vectors)
    allowed = None if share is None else ids[random.random(count) < share]
    gone = ids[random.random(count) < excluded]
    asked = clustered(queries, 16, seed + 1)
    found, scores = index.search(asked, k, allowed=allowed, excluded=gone)
    kept = ~np.isin(ids, gone) & (np.isin(ids, allowed) if allowed is not None else True)
    for line, values, query in zip(found, scores, asked, strict=True):
        true_ids, true_scores = brute_force(ids[kept], vectors[kept], query, k)
        assert line[: len(true_ids)].tolist() == true_ids.tolist()
        assert np.allclose(values[: len(true_ids)], true_scores, atol=1e-6)
        assert (line[len(true_ids) :] == -1).all()


def test_equal_vectors_score_the_same_wherever_they_lie_and_come_in_order_of_ids() -> None:
    vectors = clustered(5000, 64)
    places = np.array([0, 511, 512, 777, 4999])
    vectors[places] = vectors[0]
    index = ExactIndex(64)
    index.add(np.arange(5000), vectors)
    ids, scores = index.search(vectors[:1], 5)
    assert ids[0].tolist() == places.tolist()
    assert len(set(scores[0].tolist())) == 1


def test_a_batch_gives_the_same_bits_as_single_queries() -> None:
    index = ExactIndex(48)
    index.add(np.arange(3000), clustered(3000, 48))
    queries = clustered(40, 48, seed=2)
    ids, scores = index.search(queries, 10)
    for row in range(40):
        alone = index.search(queries[row : row + 1], 10)
        assert (alone[0][0] == ids[row]).all()
        assert (alone[1][0] == scores[row]).all()


def test_many_queries_over_several_stretches_of_rows() -> None:
    # 3,000 queries hold at most 1,398 rows' scores at a time.
    vectors, queries = clustered(3000, 8), clustered(3000, 8, seed=1)
    index = ExactIndex(8)
    index.add(np.arange(3000), vectors)
    ids, scores = index.search(queries, 3)
    truth = np.sort(queries @ vectors.astype(np.float16).astype(np.float32).T, axis=1)[:, :-4:-1]
    assert np.allclose(scores, truth, atol=1e-5)
    assert (np.diff(np.sort(ids, axis=1), axis=1) > 0).all()


@given(
    arrays.arrays(np.float16, arrays.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-60000, 60000, width=16))
)
def test_stored_vectors_come_back_unchanged(halves: np.ndarray) -> None:
    index = ExactIndex(halves.shape[1])
    index.add(np.arange(len(halves)), halves.astype(np.float32))
    ids, stored = index.vectors(np.arange(-3, len(halves) + 3))
    assert ids.tolist() == list(range(len(halves)))
    assert (stored == halves).all()


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        ExactIndex(4, np.arange(3), np.zeros((2, 4), np.float16))


def test_read_only_arrays_are_searched_and_never_written() -> None:
    ids, halves = np.arange(100), clustered(100, 8).astype(np.float16)
    for array in (ids, halves):
        array.flags.writeable = False
    index = ExactIndex(8, ids, halves)
    assert index.search(halves[:1].astype(np.float32), 1)[0].tolist() == [[0]]
    index.add(np.array([50]), unit(np.ones((1, 8))))
    index.remove(np.array([0]))
    assert len(index) == 99
    assert len(ids) == 100
