"""Inverted lists with FAISS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import UsageError
from mmsearch.vectors.faiss_index import FaissIndex
from mmsearch.vectors.inverted import InvertedFile
from tests.vectors.contract import DIM, VectorIndexContract
from tests.vectors.worlds import clustered


def trained(kind: str, nprobe: int, dim: int = DIM) -> FaissIndex:
    index = FaissIndex(dim, kind)
    index.train(clustered(2048, dim, seed=77))
    index.nprobe = nprobe
    return index


@pytest.fixture(scope="module")
def product_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("product") / "index.arr"
    trained("ivf32,pq16", 16).save(path)
    return path


class TestScalarCodes(VectorIndexContract):
    own_rank = 5

    def make(self) -> FaissIndex:
        return trained("ivf32,sq8", 12)


class TestOneList(VectorIndexContract):
    own_rank = 5

    def make(self) -> FaissIndex:
        return trained("ivf1,sq8", 1)


class TestProductCodes(VectorIndexContract):
    own_rank = 20
    score_error = 0.3

    @pytest.fixture(autouse=True)
    def trained_once(self, product_file: Path) -> None:
        self.path = product_file

    def make(self) -> FaissIndex:
        index = FaissIndex.open(InvertedFile(self.path, DIM))
        index.nprobe = 16
        return index


class TestReopened(VectorIndexContract):
    """An index that was saved empty and opened again: mapped at first, in memory once it changes."""

    own_rank = 5

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        self.path = tmp_path / "index.arr"

    def make(self) -> FaissIndex:
        trained("ivf16,sq8", 8).save(self.path)
        index = FaissIndex.open(InvertedFile(self.path, DIM))
        index.nprobe = 8
        return index


@pytest.mark.parametrize("kind", ["ivf32,sq8", "ivf32,pq16"])
def test_a_mapped_index_answers_as_the_one_in_memory_and_can_be_grown(kind: str, tmp_path: Path) -> None:
    vectors = clustered(3000, DIM)
    index = trained(kind, 6)
    index.add(np.arange(3000), vectors)
    before = index.save(tmp_path / "a.arr")
    mapped = FaissIndex.open(InvertedFile(tmp_path / "a.arr", DIM))
    mapped.nprobe = 6
    queries = clustered(20, DIM, seed=3)
    for allowed in (None, np.arange(0, 3000, 7)):
        assert np.array_equal(mapped.search(queries, 9, allowed=allowed), index.search(queries, 9, allowed=allowed))
    more = clustered(100, DIM, seed=8)
    assert mapped.remove(np.arange(500)) == 500
    mapped.add(np.arange(3000, 3100), more)
    assert mapped.search(more, 1)[0][:, 0].tolist() == list(range(3000, 3100))
    assert len(mapped) == 2600
    again = mapped.save(tmp_path / "b.arr")
    assert FaissIndex.open(InvertedFile(tmp_path / "b.arr", DIM)).sizes().sum() == 2600
    assert again.size_bytes < before.size_bytes
    # The file it came from is as it was.
    assert len(InvertedFile(tmp_path / "a.arr", DIM, before.size_bytes)) == 3000


def test_ids_beyond_the_bitmap_can_be_allowed() -> None:
    index = trained("ivf8,sq8", 8)
    ids = np.arange(100) + (1 << 40)
    index.add(ids, clustered(100, DIM))
    found, _ = index.search(clustered(3, DIM, seed=2), 5, allowed=ids[40:60])
    assert np.isin(found, ids[40:60]).all()


def test_excluded_ids_are_left_out() -> None:
    index = trained("ivf32,sq8", 4)
    vectors = clustered(1000, DIM)
    index.add(np.arange(1000), vectors)
    found, _ = index.search(vectors[:50], 10, excluded=np.arange(50))
    assert (found >= 50).all()
    found, _ = index.search(vectors[:50], 10, excluded=np.arange(50), allowed=np.arange(45, 60))
    assert (found >= 50).all()
    assert (found < 60).all()


def test_training_prints_nothing_and_repeats_itself(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        index = FaissIndex(DIM, "ivf64,pq8")
        index.train(clustered(300, DIM))
        index.add(np.arange(300), clustered(300, DIM))
        index.save(tmp_path / name)
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", ["flat", "ivf", "ivf0x,sq8", "ivf16,sq4", "hnsw32", ""])
def test_an_unknown_kind_is_refused_with_the_ones_there_are(kind: str) -> None:
    with pytest.raises(UsageError, match="ivf, hnsw or pq"):
        FaissIndex(DIM, kind)
