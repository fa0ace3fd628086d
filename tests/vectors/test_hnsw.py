"""The graph index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsearch.vectors.arrays import DamagedFileError, read_arrays, write_arrays
from mmsearch.vectors.hnsw import HnswIndex
from tests.vectors.contract import DIM, VectorIndexContract
from tests.vectors.worlds import clustered


class TestHnswIndex(VectorIndexContract):
    def make(self) -> HnswIndex:
        return HnswIndex(DIM)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    index = HnswIndex(DIM)
    index.add(np.arange(1000), clustered(1000, DIM))
    index.remove(np.arange(100))
    index.save(tmp_path / "graph.arr")
    return tmp_path / "graph.arr"


def test_a_saved_graph_is_searched_in_place_and_can_be_grown(saved: Path) -> None:
    index = HnswIndex.open(read_arrays(saved), DIM)
    assert len(index) == 900
    vectors = clustered(1000, DIM)
    found, _ = index.search(vectors, 5)
    assert (found[100:, 0] == np.arange(100, 1000)).mean() > 0.99
    assert not np.isin(found, np.arange(100)).any()
    more = clustered(50, DIM, seed=5)
    index.add(np.arange(1000, 1050), more)
    assert (index.search(more, 1)[0][:, 0] == np.arange(1000, 1050)).mean() > 0.95
    assert len(HnswIndex.open(read_arrays(saved), DIM)) == 900


def test_the_graph_is_built_again_once_too_much_of_it_was_removed() -> None:
    index = HnswIndex(DIM)
    vectors = clustered(400, DIM)
    index.add(np.arange(400), vectors)
    index.remove(np.arange(100))
    assert len(index.ids) == 400
    index.remove(np.arange(100, 150))
    assert index.ids.tolist() == list(range(150, 400))
    assert index.search(vectors[200:201], 1)[0].tolist() == [[200]]


def test_scores_are_those_of_exact_search() -> None:
    index = HnswIndex(DIM)
    vectors = clustered(500, DIM)
    index.add(np.arange(500), vectors)
    ids, scores = index.search(vectors[:20], 5)
    stored = vectors.astype(np.float16).astype(np.float64)
    assert np.allclose(scores, np.einsum("qd,qkd->qk", vectors[:20].astype(np.float64), stored[ids]), atol=1e-6)


def test_a_file_that_holds_no_graph_is_damaged(saved: Path, tmp_path: Path) -> None:
    ids, none = np.arange(3), np.empty(0, np.int64)
    write_arrays(tmp_path / "x", {"graph": np.zeros(99, np.uint8), "ids": ids, "removed": none}, {})
    with pytest.raises(DamagedFileError):
        HnswIndex.open(read_arrays(tmp_path / "x"), DIM)
    with pytest.raises(DamagedFileError):
        HnswIndex.open(read_arrays(saved), DIM + 1)
