"""Shortlists of many queries -> their best by the catalog's own vectors, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.config import processors
from mmsearch.vectors.hits import NO_ID, best_rows, contains, distinct, empty_hits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Fetch = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float16]]]

__all__ = ["scored_again"]

# Queries whose shortlists are fetched together.
_TOGETHER = 1024
# Pairs of a query and a vector that are scored at a time: 8 MiB of float64 for 256 dimensions.
_PAIRS = 4096


def scored_again(
    fetch: Fetch, queries: NDArray[np.float32], ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of each shortlist by the catalog's own vectors; what is not there any more drops out.

    Args:
        fetch: From sorted ids to those that exist, and their vectors in half precision.
        queries: (m, dim) float32.
        ids: (m, any), -1 where a shortlist has no more.
        k: At least 1.

    Returns:
        Ids (m, k) and inner products (m, k), best first, padded with id -1 and score -inf.
    """
    if len(queries) <= _TOGETHER:
        return _scored(fetch, queries, ids, k)
    out_ids, out_scores = empty_hits(len(queries), k)

    def work(low: int) -> None:
        some = slice(low, low + _TOGETHER)
        out_ids[some], out_scores[some] = _scored(fetch, queries[some], ids[some], k)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(processors(), "mmsearch-scores") as threads:
        list(threads.map(work, range(0, len(queries), _TOGETHER)))
    return out_ids, out_scores


def _scored(
    fetch: Fetch, queries: NDArray[np.float32], ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    known, halves = fetch(distinct(ids[ids != NO_ID]))
    rows, columns = np.nonzero(contains(known, ids.ravel()).reshape(ids.shape))
    scores = np.full(ids.shape, -np.inf, dtype=np.float32)
    if len(rows):
        places = np.searchsorted(known, ids[rows, columns])
        scores[rows, columns] = _exact_pairs(queries, halves, rows, places)
    return best_rows(ids, scores, k)


def _exact_pairs(
    queries: NDArray[np.float32], halves: NDArray[np.float16], rows: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Inner products (n,) of queries `rows` with vectors `places`, as `exact_scores` computes each."""
    scores = np.empty(len(rows), dtype=np.float32)
    wide = queries.astype(np.float64)
    for low in range(0, len(rows), _PAIRS):
        some = slice(low, low + _PAIRS)
        scores[some] = (halves[places[some]].astype(np.float64) * wide[rows[some]]).sum(axis=1)
    return scores
