"""Choosing how much of an index to search: the least effort that finds what exact search finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.hits import NO_ID, empty_hits, merge_hits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["HELD_OUT", "TARGETS", "Trial", "tune"]

# Vectors that are held out from training and serve as queries.
HELD_OUT = 128
_HITS = 10
# recall@10 to reach: for queries that lie among the vectors, as pictures do, and for queries that lie beside them, as
# texts do among pictures.
TARGETS = {"near": 0.975, "far": 0.96}


class Trial:
    """Queries with their true nearest, gathered while the vectors pass by.

    ``near`` queries are held-out vectors themselves, their own ids not counted. ``far`` ones stand for another
    modality: the part by which a vector differs from the mean, mixed with that of another and with as much noise in
    all directions, so that their best scores are low and their nearest lie in several clusters.

    Args:
        ids: Ids of the held-out vectors, (n,).
        vectors: The held-out vectors, (n, dim).
        background: Vectors to know the mean and spread by, (b, dim).
    """

    def __init__(
        self, ids: NDArray[np.int64], vectors: NDArray[np.float32], background: NDArray[np.float32], seed: int = 0
    ) -> None:
        random = np.random.default_rng(seed)
        mean = background.mean(axis=0)
        others = background[random.integers(0, len(background), len(vectors))]
        signal = (vectors - mean) + 0.5 * (others - mean)
        length = np.linalg.norm(signal, axis=1, keepdims=True)
        noise = random.standard_normal(vectors.shape).astype(np.float32) * (length / np.sqrt(vectors.shape[1]))
        far = signal + noise
        far /= np.maximum(np.linalg.norm(far, axis=1, keepdims=True), 1e-12)
        self._own = ids
        self.queries = {"near": vectors, "far": far.astype(np.float32)}
        self._hits = {name: empty_hits(len(vectors), _HITS + 1) for name in self.queries}

    def offer(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Search a batch of the vectors exactly."""
        batch = ExactIndex(vectors.shape[1])
        batch.add(ids, vectors)
        for name, queries in self.queries.items():
            self._hits[name] = merge_hits([self._hits[name], batch.search(queries, _HITS + 1)], _HITS + 1)

    def recall(self, name: str, found: NDArray[np.int64]) -> float:
        """Share of the true ten nearest that is among the ids found, (n, any), for one kind of query."""
        shares = []
        for own, truth, line in zip(self._own, self._hits[name][0], found, strict=True):
            truth = truth[truth != NO_ID]
            truth = (truth[truth != own] if name == "near" else truth)[:_HITS]
            if len(truth):
                shares.append(np.isin(truth, line).mean())
        return float(np.mean(shares)) if shares else 1.0


def tune(
    trial: Trial, efforts: Sequence[int], search: Callable[[NDArray[np.float32], int], NDArray[np.int64]]
) -> tuple[int, tuple[tuple[str, float], ...]]:
    """Choose the least effort that reaches `TARGETS`, the greatest where none does.

    Args:
        trial: Queries and truth.
        efforts: What to choose from, ascending.
        search: From queries and an effort to the ids found.

    Returns:
        The effort and the recall@10 that was measured with it, by kind of query.
    """
    low, high = 0, len(efforts) - 1
    measured: dict[int, tuple[tuple[str, float], ...]] = {}

    def good(place: int) -> bool:
        if place not in measured:
            measured[place] = tuple(
                (name, round(trial.recall(name, search(queries, efforts[place])), 4))
                for name, queries in trial.queries.items()
            )
        return all(recall >= TARGETS[name] for name, recall in measured[place])

    while low < high:
        middle = (low + high) // 2
        if good(middle):
            high = middle
        else:
            low = middle + 1
    good(low)
    return efforts[low], measured[low]
