"""Exact search with NumPy: vectors in, their true nearest out; the oracle of every other index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.config import processors
from mmsearch.vectors.blas import one_thread
from mmsearch.vectors.halves import HALF_SCALE, to_halves, widen
from mmsearch.vectors.hits import best_first, check_queries, contains, distinct, empty_hits, nearly_best

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["ExactIndex", "exact_scores"]

# Rows that are widened at a time: the working space of 512 x dim floats stays in the second-level cache.
_BLOCK_ROWS = 512
# Scores that are held at a time, over all queries: 16 MiB.
_HELD_SCORES = 1 << 22
# float32 sums of a few hundred products are off by less than this for unit vectors; candidates within it are scored
# again in float64, so that the order depends neither on the blocks nor on the BLAS.
_SLACK = 1e-5
# Queries that are taken through the vectors together; more go in portions, side by side.
_TOGETHER = 256
# Where more than this share of the rows is allowed, reading all in order is faster than picking them.
_DENSE = 0.3


class ExactIndex:
    """A set of float16 vectors with sorted int64 ids, searched exhaustively.

    Scores are those of the stored (rounded) vectors, computed in float64 for all hits; equal scores are ordered by id.
    The arrays may be memory-mapped and read-only: a search reads each row once, from front to back.

    Args:
        dim: Length of the vectors.
        ids: (n,) int64, strictly ascending.
        halves: (n, dim) float16.
    """

    def __init__(
        self, dim: int, ids: NDArray[np.int64] | None = None, halves: NDArray[np.float16] | None = None
    ) -> None:
        self._dim = dim
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64) if ids is None else ids
        self.halves: NDArray[np.float16] = np.empty((0, dim), dtype=np.float16) if halves is None else halves
        if self.halves.shape != (len(self.ids), dim):
            raise ValueError(f"expected vectors of the shape ({len(self.ids)}, {dim}), not {self.halves.shape}")

    @property
    def kind(self) -> str:
        """Always ``flat``."""
        return "flat"

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.ids)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, (n,) and (n, dim); a vector whose id is there already takes its place, the last one counts."""
        ids = np.asarray(ids, dtype=np.int64)
        if vectors.shape != (len(ids), self._dim):
            raise ValueError(f"expected vectors of the shape ({len(ids)}, {self._dim}), not {vectors.shape}")
        if len(ids) == 0:
            return
        halves = to_halves(vectors)
        if (np.diff(ids) <= 0).any():
            _, from_end = np.unique(ids[::-1], return_index=True)
            kept = len(ids) - 1 - from_end
            ids, halves = ids[kept], halves[kept]
        if len(self.ids) == 0:
            self.ids, self.halves = ids.copy(), halves
            return
        if ids[0] <= self.ids[-1]:
            old = ~contains(ids, self.ids)
            joined = np.concatenate([self.ids[old], ids])
            order = np.argsort(joined, kind="stable")
            self.ids = joined[order]
            self.halves = np.concatenate([self.halves[old], halves])[order]
        else:
            self.ids = np.concatenate([self.ids, ids])
            self.halves = np.concatenate([self.halves, halves])

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove the vectors with these ids, as far as they are there; returns how many were."""
        kept = ~contains(distinct(np.asarray(ids, dtype=np.int64)), self.ids)
        removed = len(kept) - int(np.count_nonzero(kept))
        if removed:
            self.ids, self.halves = self.ids[kept], self.halves[kept]
        return removed

    def vectors(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Those of the sorted `ids` that are there, with their vectors."""
        ids = ids[contains(self.ids, ids)]
        return ids, self.halves[np.searchsorted(self.ids, ids)]

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query.

        Args:
            queries: (m, dim) float32.
            k: At least 1.
            allowed: Ids to search among, sorted; None means all.
            excluded: Ids to leave out, sorted.

        Returns:
            Ids (m, k) int64 and inner products (m, k) float32, best first, padded with id -1 and score -inf.
        """
        queries = check_queries(queries, self._dim, k)
        rows = self._rows(allowed, excluded)
        if len(queries) <= _TOGETHER:
            return self._search(queries, k, rows)
        found_ids, found_scores = empty_hits(len(queries), k)

        def work(low: int) -> None:
            some = slice(low, low + _TOGETHER)
            found_ids[some], found_scores[some] = self._search(queries[some], k, rows)

        from concurrent.futures import ThreadPoolExecutor

        with one_thread(), ThreadPoolExecutor(processors(), "mmsearch-exact") as threads:
            list(threads.map(work, range(0, len(queries), _TOGETHER)))
        return found_ids, found_scores

    def _search(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Search among some rows, or all, with as many queries as are held together."""
        found_ids, found_scores = empty_hits(len(queries), k)
        if len(self) == 0 or len(queries) == 0 or (rows is not None and len(rows) == 0):
            return found_ids, found_scores
        flags = None
        if rows is not None and len(rows) > _DENSE * len(self):
            flags = np.zeros(len(self), dtype=np.bool_)
            flags[rows] = True
            rows = None
        slack = _SLACK * np.linalg.norm(queries.astype(np.float64), axis=1)
        shortlists = [_Shortlist(k, float(gap)) for gap in slack]
        for start, scores in self._scored(queries, rows):  # (m, b)
            if flags is not None:
                scores[:, ~flags[start : start + scores.shape[1]]] = -np.inf
            for shortlist, line in zip(shortlists, scores, strict=True):
                shortlist.offer(start, line)
        for query, shortlist in enumerate(shortlists):
            places = shortlist.places if rows is None else rows[shortlist.places]
            exact = exact_scores(queries[query], self.halves, places)
            found_ids[query], found_scores[query] = best_first(self.ids[places], exact, k)
        return found_ids, found_scores

    def _rows(self, allowed: NDArray[np.int64] | None, excluded: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        """Row numbers to search among, ascending, or None for all."""
        rows: NDArray[np.int64] | None = None
        if allowed is not None:
            here = allowed[contains(self.ids, allowed)]
            if len(here) < len(self):
                rows = np.searchsorted(self.ids, here)
        if excluded is not None and len(excluded):
            if rows is not None:
                rows = rows[~contains(excluded, self.ids[rows])]
            else:
                out = np.searchsorted(self.ids, excluded[contains(self.ids, excluded)])
                if len(out):
                    rows = np.delete(np.arange(len(self)), out)
        return rows

    def _scored(
        self, queries: NDArray[np.float32], rows: NDArray[np.int64] | None
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the first place of each stretch of rows and its rough scores (m, stretch)."""
        count = len(self) if rows is None else len(rows)
        stretch = max(_BLOCK_ROWS, _HELD_SCORES // len(queries) // _BLOCK_ROWS * _BLOCK_ROWS)
        scaled = queries.T * HALF_SCALE  # (dim, m)
        # Many queries keep the BLAS busy with larger blocks; one query is bound by memory and wants small ones.
        block = _BLOCK_ROWS if len(queries) < 16 else 8 * _BLOCK_ROWS
        space = np.empty((min(block, count), self._dim), dtype=np.int32)
        for start in range(0, count, stretch):
            stop = min(start + stretch, count)
            scores = np.empty((stop - start, len(queries)), dtype=np.float32)
            for low in range(start, stop, block):
                high = min(low + block, stop)
                halves = self.halves[low:high] if rows is None else self.halves[rows[low:high]]
                np.matmul(widen(halves, space[: high - low]), scaled, out=scores[low - start : high - start])
            yield start, scores.T


class _Shortlist:
    """The places of one query that can still be among its k best."""

    def __init__(self, k: int, slack: float) -> None:
        self._k = k
        self._slack = slack
        self._floor = -np.inf
        self.places = np.empty(0, dtype=np.int64)
        self._scores = np.empty(0, dtype=np.float32)

    def offer(self, start: int, scores: NDArray[np.float32]) -> None:
        """Consider the places from `start` on."""
        if self._floor > -np.inf:
            near = np.flatnonzero(scores >= self._floor)
            if len(near) == 0:
                return
        else:
            near = nearly_best(scores, self._k, self._slack)
        places = np.concatenate([self.places, start + near])
        found = np.concatenate([self._scores, scores[near]])
        best = nearly_best(found, self._k, self._slack)
        self.places, self._scores = places[best], found[best]
        if len(best) >= self._k:
            self._floor = float(self._scores.min())


def exact_scores(
    query: NDArray[np.float32], halves: NDArray[np.float16], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Inner products of one query (dim,) with rows of `halves`, computed in float64 and rounded once.

    The sum over a row does not depend on its neighbours, so equal vectors get equal scores everywhere.
    """
    count = len(halves) if rows is None else len(rows)
    scores = np.empty(count, dtype=np.float32)
    wide = query.astype(np.float64)
    for low in range(0, count, 4096):
        part = halves[low : low + 4096] if rows is None else halves[rows[low : low + 4096]]
        scores[low : low + len(part)] = (part.astype(np.float64) * wide).sum(axis=1)
    return scores
