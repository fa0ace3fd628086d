"""What every implementation of `VectorIndex` must do; each has a test class that inherits these tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.protocols import VectorIndex
from mmsearch.vectors.exact import ExactIndex
from tests.vectors.worlds import clustered, recall, unit

DIM = 32


class VectorIndexContract:
    """Inherit and say how an index over training data is made."""

    # How far down a vector may find itself: compressed vectors that lie close together change places.
    own_rank = 1
    score_error = 0.06

    def make(self) -> VectorIndex:
        raise NotImplementedError

    def filled(self, count: int = 2000) -> tuple[VectorIndex, ExactIndex]:
        vectors, ids = clustered(count, DIM), np.arange(10, 10 + 3 * count, 3)
        index, oracle = self.make(), ExactIndex(DIM)
        index.add(ids, vectors)
        oracle.add(ids, vectors)
        return index, oracle

    def test_it_keeps_the_protocol(self) -> None:
        index, oracle = self.filled(100)
        assert isinstance(index, VectorIndex)
        assert index.dim == DIM
        assert len(index) == len(oracle) == 100
        assert index.kind

    def test_an_empty_index_finds_nothing(self) -> None:
        ids, scores = self.make().search(clustered(2, DIM), 3)
        assert ids.tolist() == [[-1, -1, -1]] * 2
        assert np.isneginf(scores).all()
        assert (ids.dtype, scores.dtype) == (np.int64, np.float32)

    def test_no_queries_give_no_hits(self) -> None:
        ids, scores = self.filled(50)[0].search(np.empty((0, DIM), np.float32), 3)
        assert ids.shape == scores.shape == (0, 3)

    def test_every_vector_finds_itself(self) -> None:
        index, oracle = self.filled(1000)
        ids, scores = index.search(oracle.halves.astype(np.float32), self.own_rank)
        assert (ids == oracle.ids[:, None]).any(axis=1).mean() >= 0.999
        assert np.allclose(scores[:, 0], 1, atol=self.score_error)

    def test_it_finds_what_the_oracle_finds(self) -> None:
        index, oracle = self.filled()
        queries = clustered(50, DIM, seed=9)
        ids, scores = index.search(queries, 20)
        assert recall(ids[:, :20], oracle.search(queries, 10)[0]) >= 0.95
        assert (np.diff(scores, axis=1) <= 0).all()

    def test_more_hits_than_vectors_are_padded(self) -> None:
        index, oracle = self.filled(5)
        ids, scores = index.search(clustered(1, DIM, seed=3), 8)
        assert sorted(ids[0, :5]) == oracle.ids.tolist()
        assert ids[0, 5:].tolist() == [-1] * 3
        assert np.isneginf(scores[0, 5:]).all()
        assert np.isfinite(scores[0, :5]).all()

    def test_a_vector_with_a_known_id_takes_the_place_of_the_old_one(self) -> None:
        index, oracle = self.filled(300)
        moved = unit(-clustered(3, DIM, seed=5))
        index.add(oracle.ids[:3], moved)
        assert len(index) == 300
        ids, _ = index.search(moved, 1)
        assert ids[:, 0].tolist() == oracle.ids[:3].tolist()
        found = index.search(oracle.halves[:3].astype(np.float32), 300)
        for row, number in enumerate(oracle.ids[:3]):
            assert (found[0][row] == number).sum() == 1

    def test_of_equal_ids_added_at_once_the_last_counts(self) -> None:
        index = self.make()
        vectors = clustered(100, DIM, seed=4)
        index.add(np.array([*range(97), 7, 7, 7]), vectors)
        assert len(index) == 97
        assert index.search(vectors[99:], 1)[0].tolist() == [[7]]

    def test_ids_may_come_in_any_order(self) -> None:
        index = self.make()
        vectors, ids = clustered(100, DIM), np.random.default_rng(0).permutation(100)
        for low in range(0, 100, 25):
            index.add(ids[low : low + 25], vectors[low : low + 25])
        assert (index.search(vectors, 1)[0][:, 0] == ids).all()

    def test_removed_vectors_are_not_found_and_are_counted_once(self) -> None:
        index, oracle = self.filled(500)
        gone = oracle.ids[::2]
        assert index.remove(np.concatenate([gone, [1, 2, 3, 10**12]])) == len(gone)
        assert index.remove(gone) == 0
        assert len(index) == 250
        ids, _ = index.search(oracle.halves[::2].astype(np.float32), 250)
        assert not np.isin(ids, gone).any()
        assert (ids >= 0).all()

    def test_an_emptied_index_can_be_filled_again(self) -> None:
        index, oracle = self.filled(200)
        assert index.remove(oracle.ids) == 200
        assert len(index) == 0
        assert (index.search(clustered(1, DIM), 2)[0] == -1).all()
        index.add(oracle.ids[:50], oracle.halves[:50].astype(np.float32))
        assert len(index) == 50

    def test_adding_and_removing_nothing_is_fine(self) -> None:
        index, _ = self.filled(20)
        index.add(np.empty(0, np.int64), np.empty((0, DIM), np.float32))
        assert index.remove(np.empty(0, np.int64)) == 0
        assert len(index) == 20

    def test_wrong_shapes_and_k_are_refused(self) -> None:
        index, _ = self.filled(20)
        with pytest.raises(ValueError, match="shape"):
            index.search(np.zeros((1, DIM + 1), np.float32), 1)
        with pytest.raises(ValueError, match="shape"):
            index.search(np.zeros(DIM, np.float32), 1)
        with pytest.raises(ValueError, match="at least 1"):
            index.search(np.zeros((1, DIM), np.float32), 0)
        with pytest.raises(ValueError, match="shape"):
            index.add(np.array([1, 2]), np.zeros((1, DIM), np.float32))

    def test_a_filter_of_every_width_gives_k_hits_whenever_k_exist(self) -> None:
        index, oracle = self.filled(1500)
        queries = clustered(4, DIM, seed=8)

        @settings(max_examples=40, deadline=None, database=None)
        @given(share=st.floats(0, 1), k=st.integers(1, 60), seed=st.integers(0, 99), foreign=st.integers(0, 5))
        def check(share: float, k: int, seed: int, foreign: int) -> None:
            chosen = oracle.ids[np.random.default_rng(seed).random(len(oracle)) < share]
            allowed = np.union1d(chosen, np.arange(foreign) * 3)  # ids that the index does not hold
            ids, scores = index.search(queries, k, allowed=allowed)
            exist = min(k, len(chosen))
            assert ((ids >= 0).sum(axis=1) == exist).all()
            assert np.isin(ids[ids >= 0], chosen).all()
            assert all(len(np.unique(line[line >= 0])) == exist for line in ids)
            assert (np.isneginf(scores) == (ids < 0)).all()
            if exist >= 10:
                assert recall(ids, oracle.search(queries, exist, allowed=allowed)[0]) >= 0.6

        check()

    def test_no_allowed_ids_give_no_hits(self) -> None:
        index, _ = self.filled(50)
        assert (index.search(clustered(2, DIM), 3, allowed=np.empty(0, np.int64))[0] == -1).all()
