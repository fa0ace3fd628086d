"""Vectors in clusters, and a source of vectors in memory that keeps the same log as a catalog."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Watermark


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, dim: int, seed: int = 0, *, clusters: int = 200, world: int = 0) -> NDArray[np.float32]:
    """Unit vectors around common centres: few strong directions, sizes of clusters very different."""
    random = np.random.default_rng(world)
    strength = np.arange(1, dim + 1) ** -0.5
    centres = random.standard_normal((clusters, dim)) * strength
    shares = random.pareto(1.5, clusters) + 0.1
    random = np.random.default_rng([world, seed])
    chosen = random.choice(clusters, count, p=shares / shares.sum())
    return unit(centres[chosen] + 0.6 * random.standard_normal((count, dim)) * strength)


class MemorySource:
    """A `VectorSource` in memory; ids ascend and are never used twice."""

    def __init__(self, dim: int, encoder_id: str = "test", catalog: str = "one") -> None:
        self.dim = dim
        self.catalog = catalog
        self.encoder_id = encoder_id
        self.vectors: dict[int, NDArray[np.float32]] = {}
        self.log: list[int] = []
        self.next_id = 1
        self.batches_read = 0
        self.fetched = 0

    def add(self, vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        ids = np.arange(self.next_id, self.next_id + len(vectors), dtype=np.int64)
        self.vectors.update(zip(ids.tolist(), vectors, strict=True))
        self.next_id += len(vectors)
        return ids

    def remove(self, ids: NDArray[np.int64] | list[int]) -> None:
        for number in map(int, ids):
            if self.vectors.pop(number, None) is not None:
                self.log.append(number)

    @property
    def ids(self) -> NDArray[np.int64]:
        return np.fromiter(self.vectors, dtype=np.int64, count=len(self.vectors))

    def watermark(self) -> Watermark:
        return Watermark(max(self.vectors, default=0), len(self.log), len(self.vectors), self.catalog)

    def read(
        self, after_segment_id: int = 0, batch_size: int = 65536
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        ids = self.ids
        ids = ids[ids > after_segment_id]
        for low in range(0, len(ids), batch_size):
            self.batches_read += 1
            yield self.fetch(ids[low : low + batch_size])

    def removed_since(self, removal_id: int) -> NDArray[np.int64]:
        return np.array(self.log[removal_id:], dtype=np.int64)

    def fetch(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        known = [number for number in ids.tolist() if number in self.vectors]
        self.fetched += len(known)
        vectors = np.stack([self.vectors[number] for number in known]) if known else np.empty((0, self.dim))
        return np.array(known, dtype=np.int64), vectors.astype(np.float32)


def brute_force(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], query: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k nearest by float64 products of the vectors rounded to float16, ties by id."""
    scores = vectors.astype(np.float16).astype(np.float64) @ query.astype(np.float64) if len(ids) else np.empty(0)
    order = np.lexsort((ids, -scores.astype(np.float32)))[:k]
    return ids[order], scores[order]


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    return float(np.mean([np.isin(true, line).mean() for true, line in zip(truth, found, strict=True)]))
