"""Many queries over inverted lists at once, list by list: each list is read once, and one matrix product scores it.

Query by query, FAISS decodes a list anew for each of the hundreds that visit it. Here the visits are turned round: for
a list, the queries that visit it are gathered, its codes are widened to float32 and multiplied with all of them, which
runs at the speed of the BLAS. What is visited, and so what is found, is the same.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.config import processors
from mmsearch.vectors.blas import one_thread
from mmsearch.vectors.hits import NO_ID, best_rows, check_queries, empty_hits
from mmsearch.vectors.inverted import SEEN_PER_HIT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.vectors.inverted import InvertedFile, Kept

    # Query rows, ids and scores, (n,) each.
    Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]

__all__ = ["search_listwise"]

# Queries that are taken through the lists together: their coarse scores take up to 100 MiB.
_TOGETHER = 12288
# The lists of a query in waves, nearest first: after each, only what beats its k-th best so far is looked at again.
_WAVES = (1, 8)
# Queries that a thread takes at a time where they need nothing of each other.
_PORTION = 512
# Rows of allowed ids that are scored together where a filter is narrow.
_NARROW_ROWS = 2048


@dataclass(slots=True)
class _Found:
    """The best of m queries so far: ids (m, k) and scores (m, k), best first, padded."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def merge(self, rows: NDArray[np.int64], ids: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
        """Consider hits (n,) of the queries `rows`."""
        if len(rows) == 0:
            return
        m, k = self.ids.shape
        touched = np.zeros(m, dtype=np.bool_)
        touched[rows] = True
        old = np.flatnonzero((touched[:, None] & (self.ids != NO_ID)).ravel())
        rows = np.concatenate([old // k, rows])
        ids = np.concatenate([self.ids.ravel()[old], ids])
        scores = np.concatenate([self.scores.ravel()[old], scores])
        # One number that sorts by query, then by falling score: the bits of a float32 sort as the number does once
        # those of negative ones are turned round.
        bits = scores.view(np.uint32)
        falling = np.where(bits >> 31, bits, ~(bits | np.uint32(1 << 31)))
        order = np.argsort(rows.astype(np.uint64) << np.uint64(32) | falling)
        rows = rows[order]
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        place = np.arange(len(rows)) - np.repeat(first, np.diff(first, append=len(rows)))
        kept = place < k
        rows, place, order = rows[kept], place[kept], order[kept]
        self.ids[touched], self.scores[touched] = NO_ID, -np.inf
        self.ids[rows, place], self.scores[rows, place] = ids[order], scores[order]


def search_listwise(
    file: InvertedFile,
    queries: NDArray[np.float32],
    k: int,
    *,
    nprobe: int,
    allowed: NDArray[np.int64] | None = None,
    excluded: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k nearest of each query as far as the codes tell: what `InvertedFile.search` finds.

    Args:
        file: The lists.
        queries: (m, dim) float32.
        k: At least 1.
        nprobe: Lists to visit; more where a filter leaves too little of them.
        allowed: Ids to search among, sorted; None means all.
        excluded: Ids to leave out, sorted.

    Returns:
        Ids (m, k) and approximate inner products (m, k), best first, padded with id -1 and score -inf.
    """
    queries = check_queries(queries, file.dim, k)
    found_ids, found_scores = empty_hits(len(queries), k)
    if len(queries) == 0:
        return found_ids, found_scores
    narrow, kept, nprobe = file.sieve(nprobe, allowed, excluded)
    sizes = file.sizes
    if kept is not None:
        sizes = np.array([np.count_nonzero(kept(file.content(number)[0])) for number in range(len(sizes))])
    wanted = k * SEEN_PER_HIT
    parts = max(1, -(-len(queries) // _TOGETHER))
    with one_thread(), ThreadPoolExecutor(processors(), "mmsearch-lists") as threads:
        for rows in np.array_split(np.arange(len(queries)), parts):
            scan = _Scan(file, queries[rows], k, kept, threads)
            if narrow is not None:
                scan.score(narrow)
            else:
                scan.visit(sizes, nprobe, wanted)
            found_ids[rows], found_scores[rows] = best_rows(scan.found.ids, scan.found.scores, k)
    return found_ids, found_scores


def _visits(
    coarse: NDArray[np.float32], sizes: NDArray[np.int64], nprobe: int, wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The lists that queries visit, nearest first and all in one array, and how many each does (m,).

    Args:
        coarse: Scores of the centroids (m, nlist).
        sizes: How many candidates each list holds (nlist,).
        nprobe: How many lists each visits at least.
        wanted: Each goes on until it has seen so many candidates.
    """
    m, count = coarse.shape
    nprobe = min(count, max(1, nprobe))
    near = np.argpartition(coarse, count - nprobe, axis=1)[:, count - nprobe :]
    order = np.argsort(-np.take_along_axis(coarse, near, axis=1), axis=1, kind="stable")
    near = np.take_along_axis(near, order, axis=1)  # (m, nprobe)
    short = np.flatnonzero(sizes[near].sum(axis=1) < wanted)
    if len(short) == 0:
        return near.ravel(), np.full(m, nprobe)
    lists = list(near)
    for row in short.tolist():
        whole = np.argsort(-coarse[row], kind="stable")
        lists[row] = whole[: max(nprobe, 1 + int(np.searchsorted(np.cumsum(sizes[whole]), wanted)))]
    return np.concatenate(lists), np.array([len(line) for line in lists])


class _Scan:
    """Some queries on their way through the lists."""

    def __init__(
        self, file: InvertedFile, queries: NDArray[np.float32], k: int, kept: Kept | None, threads: ThreadPoolExecutor
    ) -> None:
        self.found = _Found(*empty_hits(len(queries), k))
        self._file, self._k, self._kept, self._threads = file, k, kept, threads
        self.coarse = np.empty((len(queries), len(file.sizes)), dtype=np.float32)
        self._space = threading.local()
        self._weights, self._constants = file.codes.weights(queries)  # (m, width), (m,)

        def score(some: slice) -> None:
            np.matmul(queries[some], file.centroids.T, out=self.coarse[some])  # (m, dim) -> (m, nlist)

        list(threads.map(score, self._portions()))

    def _portions(self) -> list[slice]:
        """The queries in stretches for the threads."""
        count = len(self.coarse)
        return [slice(low, min(low + _PORTION, count)) for low in range(0, count, _PORTION)]

    def visit(self, sizes: NDArray[np.int64], nprobe: int, wanted: int) -> None:
        """Score the lists of each query, in waves; for the rest see `_visits`."""
        done = self._threads.map(lambda some: _visits(self.coarse[some], sizes, nprobe, wanted), self._portions())
        lists, counts = (np.concatenate(side) for side in zip(*done, strict=True))
        rows = np.repeat(np.arange(len(counts)), counts)
        nearness = np.arange(len(lists)) - np.repeat(np.cumsum(counts) - counts, counts)
        low = 0
        for high in (*_WAVES, len(sizes)):
            chosen = np.flatnonzero((nearness >= low) & (nearness < high))
            self._wave(rows[chosen], lists[chosen])
            low = high

    def _wave(self, rows: NDArray[np.int64], lists: NDArray[np.int64]) -> None:
        order = np.argsort(lists.astype(np.uint16 if len(self._file.sizes) <= 1 << 16 else np.int64), kind="stable")
        rows, lists = rows[order], lists[order]
        bounds = np.flatnonzero(np.diff(lists, prepend=-1))
        ends = np.append(bounds[1:], len(lists))
        # Work in stretches of about even numbers of visits, a few for each thread.
        stretch = np.searchsorted(ends, np.linspace(0, len(lists), 4 * processors() + 1)[1:-1])
        floor = self.found.scores[:, -1].copy()

        def work(part: NDArray[np.int64]) -> list[Hits]:
            return [
                hits
                for at in part.tolist()
                for hits in self._list(int(lists[bounds[at]]), rows[bounds[at] : ends[at]], floor)
            ]

        done = [hits for part in self._threads.map(work, np.split(np.arange(len(bounds)), stretch)) for hits in part]
        if done:
            found, ids, scores = zip(*done, strict=True)
            self.found.merge(np.concatenate(found), np.concatenate(ids), np.concatenate(scores))

    def _list(self, number: int, rows: NDArray[np.int64], floor: NDArray[np.float32]) -> Iterator[Hits]:
        """Yield rows, ids and scores of what a list holds above the floor of its queries."""
        ids, codes = self._file.content(number)
        if self._kept is not None:
            chosen = self._kept(ids)
            ids, codes = ids[chosen], codes[chosen]
        if len(ids) == 0:
            return
        added = self.coarse[rows, number] + self._constants[rows]  # (g,)
        yield from self._above(ids, self._file.codes.widened(codes), rows, added, floor[rows])

    def _above(
        self,
        ids: NDArray[np.int64],
        wide: NDArray[np.float32],
        rows: NDArray[np.int64],
        added: NDArray[np.float32],
        floor: NDArray[np.float32],
    ) -> Iterator[Hits]:
        """Yield rows, ids and scores of vectors (n, width) above the floors of queries (g,)."""
        weights = np.take(
            self._weights, rows, axis=0, out=self._buffer("weights", len(rows), wide.shape[1]), mode="clip"
        )
        scores = np.matmul(weights, wide.T, out=self._buffer("scores", len(rows), len(ids)))  # (g, n)
        new = floor == -np.inf
        if new.any():
            at = np.flatnonzero(new)
            best = np.arange(len(ids))[None].repeat(len(at), 0)
            if len(ids) > self._k:
                best = np.argpartition(scores[at], len(ids) - self._k, axis=1)[:, len(ids) - self._k :]
            values = np.take_along_axis(scores[at], best, axis=1) + added[at, None]
            yield np.repeat(rows[at], best.shape[1]), ids[best.ravel()], values.ravel()
            if len(at) == len(rows):
                return
            floor = np.where(new, np.inf, floor)
        places = np.flatnonzero(scores > (floor - added)[:, None])
        row = places // len(ids)
        yield rows[row], ids[places - row * len(ids)], scores.ravel()[places] + added[row]

    def _buffer(self, name: str, rows: int, columns: int) -> NDArray[np.float32]:
        """Working space of this thread (rows, columns), overwritten by the next that is asked for by that name."""
        held: NDArray[np.float32] | None = getattr(self._space, name, None)
        if held is None or len(held) < rows * columns:
            held = np.empty(rows * columns * 5 // 4, dtype=np.float32)
            setattr(self._space, name, held)
        return held[: rows * columns].reshape(rows, columns)

    def score(self, narrow: NDArray[np.int64]) -> None:
        """Score ids that are all in the file."""
        rows = np.arange(len(self.coarse))
        for low in range(0, len(narrow), _NARROW_ROWS):
            ids = narrow[low : low + _NARROW_ROWS]
            numbers, codes = self._file.codes_of(ids)
            wide = self._file.codes.widened(codes)
            scores = self._weights @ wide.T + self.coarse[:, numbers] + self._constants[:, None]
            if len(ids) > self._k:
                best = np.argpartition(scores, len(ids) - self._k, axis=1)[:, len(ids) - self._k :]
                scores, ids = np.take_along_axis(scores, best, axis=1), ids[best]
            else:
                ids = np.broadcast_to(ids, scores.shape)
            self.found.merge(np.repeat(rows, scores.shape[1]), ids.ravel(), scores.ravel())
