"""Building index files from all of a catalog's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors import rule
from mmsearch.vectors.arrays import FileStamp, write_arrays
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.halves import to_halves
from mmsearch.vectors.hnsw import HNSW_KIND, HnswIndex
from mmsearch.vectors.sampling import SAMPLE_SIZE, Sampler, mixed
from mmsearch.vectors.tuning import HELD_OUT, Trial, tune

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mmsearch.vectors.faiss_index import FaissIndex
    from mmsearch.vectors.fold import Fold
    from mmsearch.vectors.manifest import Manifest

__all__ = ["build", "imbalance", "save_exact", "save_sample"]

# Vectors that one query may read through the lists at most, whatever recall that leaves: a few milliseconds.
_MOST_READ = 200_000
_LEAST_LISTS_VISITED = 16
_EF_SEARCH = (16, 1024)


def build(job: Fold, kind: str) -> Manifest:
    """Write the files of a new index of that kind.

    Inverted lists and graphs read the catalog twice: for a sample to train and test with, then for the vectors.

    Raises:
        StorageError: The disk is full, read-only or failing.
    """
    if kind != "flat":
        sampler, done = Sampler(job.source.dim, max(SAMPLE_SIZE, HELD_OUT + rule.training_size(kind))), 0
        for ids, vectors in job.read():
            sampler.offer(ids, vectors)
            done += len(ids)
            job.report(done, 2 * job.state.count)
        if done >= max(1, rule.lists_of(kind)):
            return _build_approximate(job, kind, sampler)
    parts = [(ids, to_halves(vectors)) for ids, vectors in job.read()]
    whole = ExactIndex(job.source.dim)
    if parts:
        ids, halves = (np.concatenate(side) for side in zip(*parts, strict=True))
        whole = ExactIndex(job.source.dim, ids, halves)
    job.report(len(whole), job.state.count)
    return job.manifest("flat", save_exact(job.path("index"), whole), len(whole))


def _build_approximate(job: Fold, kind: str, sampler: Sampler) -> Manifest:
    ids, halves = sampler.taken()
    last = np.argsort(mixed(ids))[::-1]
    held_out = np.sort(last[: min(HELD_OUT, len(ids) // 10)])
    trial = Trial(ids[held_out], halves[held_out].astype(np.float32), halves[:SAMPLE_SIZE].astype(np.float32))
    index: FaissIndex | HnswIndex
    if kind == HNSW_KIND:
        index = HnswIndex(job.source.dim)
    else:
        from mmsearch.vectors.faiss_index import FaissIndex

        index = FaissIndex(job.source.dim, kind)
        spare = len(ids) - len(held_out) >= rule.training_size(kind) // 2
        index.train((np.delete(halves, held_out, axis=0) if spare else halves).astype(np.float32))
    del halves
    for batch_ids, vectors in job.read():
        index.add(batch_ids, vectors)
        trial.offer(batch_ids, vectors)
        job.report(job.state.count + len(index), 2 * job.state.count)
    effort, recall = _tuned(index, trial)
    return job.manifest(
        kind,
        index.save(job.path("index")),
        len(index),
        sample=save_sample(job.path("sample"), sampler),
        effort=effort,
        recall=recall,
        imbalance=1.0 if isinstance(index, HnswIndex) else imbalance(index.sizes()),
    )


def _tuned(index: FaissIndex | HnswIndex, trial: Trial) -> tuple[int, tuple[tuple[str, float], ...]]:
    """Choose nprobe or efSearch by the trial's queries."""
    # A held-out vector finds itself as well.
    wanted = rule.shortlist(index.kind, 11)

    def search(queries: NDArray[np.float32], effort: int) -> NDArray[np.int64]:
        if isinstance(index, HnswIndex):
            index.ef_search = effort
        else:
            index.nprobe = effort
        return index.search(queries, wanted)[0]

    if isinstance(index, HnswIndex):
        effort, recall = tune(trial, _steps(*_EF_SEARCH), search)
        # Captions lose more in a graph than the trial's far queries do (0.93 where those reach 0.97); twice the effort
        # still costs less than half a millisecond.
        return 2 * effort, recall
    lists = rule.lists_of(index.kind)
    most = max(_LEAST_LISTS_VISITED, _MOST_READ * lists // max(1, len(index)))
    return tune(trial, _steps(1, min(lists, most)), search)


def _steps(least: int, most: int) -> Sequence[int]:
    """Whole numbers from `least` to `most`, each a quarter more than the one before."""
    steps = [least]
    while steps[-1] < most:
        steps.append(min(most, max(steps[-1] + 1, steps[-1] * 5 // 4)))
    return steps


def imbalance(sizes: NDArray[np.int64]) -> float:
    """How uneven lists are: 1 when all are of one size, the number of lists when one has all."""
    total = float(sizes.sum())
    return float(len(sizes) * np.square(sizes, dtype=np.float64).sum() / total**2) if total else 1.0


def save_exact(path: Path, index: ExactIndex, removed: NDArray[np.int64] | None = None) -> FileStamp:
    """Save plain vectors, and the ids that were removed from the main file.

    Raises:
        StorageError: The disk is full, read-only or failing.
    """
    removed = np.empty(0, dtype=np.int64) if removed is None else removed
    return write_arrays(path, {"ids": index.ids, "halves": index.halves, "removed": removed}, {"kind": "flat"})


def save_sample(path: Path, sampler: Sampler) -> FileStamp:
    """Save the background sample for calibration.

    Raises:
        StorageError: The disk is full, read-only or failing.
    """
    ids, halves = sampler.taken()
    kept = np.sort(np.argsort(mixed(ids))[:SAMPLE_SIZE])
    return save_exact(path, ExactIndex(halves.shape[1], ids[kept], halves[kept]))
