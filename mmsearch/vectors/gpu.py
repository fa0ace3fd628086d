"""FAISS on a GPU, where there is one: training and large batches of queries; the processor does it everywhere else."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mmsearch.vectors.faiss_import import load_faiss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["count", "for_training", "forget", "search"]

# Below so many queries, copying them over and back takes longer than searching on the processor.
_BATCH = 256
# What FAISS's kernels can do at most.
_MOST_HITS = 2048
_MOST_LISTS = 2048
_lock = threading.Lock()
_copies: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def count() -> int:
    """How many GPUs FAISS can use; 0 also where its build knows none."""
    faiss = load_faiss()

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def _copy(index: Any) -> Any | None:
    """A copy of an index on the first GPU, or None where that fails, such as for want of memory."""
    faiss = load_faiss()

    if count() == 0:
        return None
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError:
        return None


@contextmanager
def for_training(index: Any, dim: int) -> Iterator[None]:
    """Let the k-means of an inverted-file index assign its points on the GPU."""
    faiss = load_faiss()

    assigner = _copy(faiss.IndexFlatIP(dim))
    if assigner is None:
        yield
        return
    index.clustering_index = assigner
    try:
        yield
    finally:
        index.clustering_index = None


def search(
    index: Any, queries: NDArray[np.float32], k: int, nprobe: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Search a batch on the GPU.

    Returns:
        Ids and scores (m, k), or None where the batch is small, there is no GPU or it failed.
    """
    if len(queries) < _BATCH or k > _MOST_HITS or nprobe > _MOST_LISTS or count() == 0:
        return None
    with _lock:  # FAISS's objects of a GPU are for one thread at a time
        if index not in _copies:
            _copies[index] = _copy(index)
        copied = _copies[index]
        if copied is None:
            return None
        try:
            copied.nprobe = nprobe
            scores, ids = copied.search(queries, k)
        except RuntimeError:
            _copies[index] = None
            return None
    return ids, scores


def forget(index: Any) -> None:
    """Drop the copy of an index that is about to change."""
    with _lock:
        _copies.pop(index, None)
