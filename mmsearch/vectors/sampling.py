"""Deterministic samples of stored vectors, which do not depend on the order or the batches they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.halves import to_halves

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["SAMPLE_SIZE", "Sampler", "mixed"]

SAMPLE_SIZE = 2048


def mixed(ids: NDArray[np.int64], seed: int = 0) -> NDArray[np.uint64]:
    """A pseudo-random number for each id (the finaliser of SplitMix64, Steele et al. 2014)."""
    seeded = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = ids.astype(np.uint64) + np.uint64(seeded)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


class Sampler:
    """Keeps the `size` vectors whose ids mix to the smallest numbers, whatever the order they are offered in.

    A smaller sample of the same seed is a part of a larger one.
    """

    def __init__(self, dim: int, size: int, seed: int = 0) -> None:
        self._size = size
        self._seed = seed
        self._ids = np.empty(0, dtype=np.int64)
        self._halves = np.empty((0, dim), dtype=np.float16)

    def offer(self, ids: NDArray[np.int64], vectors: NDArray[np.floating]) -> None:
        """Consider vectors (n, dim) with ids (n,) that were not offered before."""
        chosen = self._smallest(ids)
        self._ids = np.concatenate([self._ids, ids[chosen]])
        self._halves = np.concatenate([self._halves, to_halves(vectors[chosen])])
        chosen = self._smallest(self._ids)
        self._ids, self._halves = self._ids[chosen], self._halves[chosen]

    def offer_all(self, batches: Iterable[tuple[NDArray[np.int64], NDArray[np.floating]]]) -> Sampler:
        """Consider every batch and return this sampler."""
        for ids, vectors in batches:
            self.offer(ids, vectors)
        return self

    def _smallest(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        if len(ids) <= self._size:
            return np.arange(len(ids))
        return np.argpartition(mixed(ids, self._seed), self._size)[: self._size]

    def taken(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """The sample in ascending order of ids: (n,) and (n, dim)."""
        order = np.argsort(self._ids)
        return self._ids[order], self._halves[order]
