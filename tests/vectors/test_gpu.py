"""FAISS on a GPU, as far as machines without one can tell; the rest carries the marker gpu."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.vectors import gpu
from mmsearch.vectors.faiss_import import load_faiss
from mmsearch.vectors.faiss_index import FaissIndex
from tests.vectors.worlds import clustered, recall

DIM = 32


def filled(kind: str) -> FaissIndex:
    index = FaissIndex(DIM, kind)
    index.train(clustered(4000, DIM))
    index.add(np.arange(4000), clustered(4000, DIM))
    index.nprobe = 8
    return index


def test_a_build_without_gpu_code_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(load_faiss(), "StandardGpuResources", raising=False)
    assert gpu.count() == 0


def test_where_the_gpu_fails_the_processor_trains_and_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss, asked = load_faiss(), []
    calm = filled("ivf16,sq8")

    def fails(*values: object) -> None:
        asked.append(values)
        raise RuntimeError("Error in GpuIndex: out of memory")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", fails, raising=False)
    index = filled("ivf16,sq8")
    assert len(asked) == 1
    queries = clustered(300, DIM, seed=1)
    found = index.search(queries, 5)
    assert len(asked) == 2
    index.search(queries, 5)
    assert len(asked) == 2  # not tried again
    assert np.array_equal(found, calm.search(queries, 5))
    index.add(np.array([9000]), queries[:1])
    assert index.search(queries, 1)[0][0, 0] == 9000


def test_a_copy_that_works_answers_batches_until_the_index_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss, copies = load_faiss(), []

    def copied(_resources: object, _device: int, index: object) -> object:
        copies.append(faiss.clone_index(index))
        return copies[-1]

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copied, raising=False)
    index = filled("ivf16,sq8")
    assert len(copies) == 1  # trained with
    queries = clustered(300, DIM, seed=1)
    for _ in range(2):
        assert (index.search(queries, 5)[0] >= 0).all()
    assert len(copies) == 2
    index.search(queries[:5], 5)
    index.search(queries, 5, allowed=np.arange(2000))
    assert len(copies) == 2
    index.remove(np.arange(100))
    assert not np.isin(index.search(queries, 5)[0], np.arange(100)).any()
    assert len(copies) == 3


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["ivf16,sq8", "ivf16,pq8"])
def test_a_real_gpu_finds_what_the_processor_finds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if gpu.count() == 0:
        pytest.skip("no GPU here")
    index = filled(kind)
    queries = clustered(500, DIM, seed=1)
    on_gpu = index.search(queries, 10)[0]
    monkeypatch.setattr(gpu, "count", lambda: 0)
    assert recall(on_gpu, index.search(queries, 10)[0]) > 0.98
