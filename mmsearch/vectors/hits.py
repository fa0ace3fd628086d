"""The k best of scored ids: selecting, ordering, merging and padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "NO_ID",
    "Members",
    "best_first",
    "best_rows",
    "check_queries",
    "contains",
    "distinct",
    "empty_hits",
    "merge_hits",
    "nearly_best",
]

NO_ID = -1
# Bytes of flags that one id may cost.
_SPREAD = 64


def check_queries(queries: NDArray[np.float32], dim: int, k: int) -> NDArray[np.float32]:
    """Return the queries as a C-contiguous (m, dim) float32 array.

    Raises:
        ValueError: They have another length, or k is below 1.
    """
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries must have the shape (m, {dim}), not {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return queries


def empty_hits(m: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Ids (m, k), all -1, and scores (m, k), all -inf."""
    return np.full((m, k), NO_ID, dtype=np.int64), np.full((m, k), -np.inf, dtype=np.float32)


def nearly_best(scores: NDArray[np.float32], k: int, slack: float) -> NDArray[np.int64]:
    """Places of all scores that reach the k-th best less `slack`, in ascending order; -inf never counts."""
    floor = -np.inf
    if len(scores) > k:
        floor = float(np.partition(scores, len(scores) - k)[len(scores) - k]) - slack
    if floor == -np.inf:
        return np.flatnonzero(scores > -np.inf)
    return np.flatnonzero(scores >= np.float32(floor))


def best_first(
    ids: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of one query, padded: ids (k,) and scores (k,), equal scores in order of ids."""
    order = np.lexsort((ids, -scores))[:k]
    out_ids, out_scores = empty_hits(1, k)
    out_ids[0, : len(order)] = ids[order]
    out_scores[0, : len(order)] = scores[order]
    return out_ids[0], out_scores[0]


def best_rows(
    ids: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of many queries, (m, any) -> (m, k): as `best_first`, leaving out what has no id or scores -inf."""
    m, width = ids.shape
    scores = np.where(ids == NO_ID, np.float32(-np.inf), scores)
    if m == 1:
        there = scores[0] > -np.inf
        line_ids, line_scores = best_first(ids[0][there], scores[0][there], k)
        return line_ids[None], line_scores[None]
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    out_ids, out_scores = empty_hits(m, k)
    if width:
        out_ids[:, : order.shape[1]] = np.take_along_axis(ids, order, axis=1)
        out_scores[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
        out_ids[out_scores == -np.inf] = NO_ID
    return out_ids, out_scores


def merge_hits(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Join hits of disjoint sets of vectors, each (m, any), to the k best of each query, (m, k)."""
    ids = np.concatenate([part[0] for part in parts], axis=1)
    scores = np.concatenate([part[1] for part in parts], axis=1)
    return best_rows(ids, scores, k)


def distinct(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each id once, ascending; `np.unique` would import NumPy's masked arrays, which costs a cold query 10 ms."""
    ids = np.sort(ids, axis=None)
    return ids[np.diff(ids, prepend=ids[:1] - 1) > 0]


def contains(sorted_ids: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """For each of `ids`, whether it is among `sorted_ids`."""
    if len(sorted_ids) == 0:
        return np.zeros(len(ids), dtype=np.bool_)
    places = np.searchsorted(sorted_ids, ids)
    places[places == len(sorted_ids)] = 0
    return np.asarray(sorted_ids[places] == ids)


class Members:
    """A set of sorted ids that is asked again and again for some of its members.

    A table of flags answers three times as fast as a binary search, where ids are not spread too thin for it.
    """

    def __init__(self, sorted_ids: NDArray[np.int64]) -> None:
        self._ids = sorted_ids
        self._first = int(sorted_ids[0]) if len(sorted_ids) else 0
        span = int(sorted_ids[-1]) - self._first + 1 if len(sorted_ids) else 0
        self._flags: NDArray[np.bool_] | None = None
        if span <= _SPREAD * len(sorted_ids):
            # The flag at either end stands for all ids beyond it.
            self._flags = np.zeros(span + 2, dtype=np.bool_)
            self._flags[sorted_ids - (self._first - 1)] = True

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each of `ids`, whether it is a member."""
        if self._flags is None:
            return contains(self._ids, ids)
        return self._flags.take(ids - (self._first - 1), mode="clip")
