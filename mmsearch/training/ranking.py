"""Embeddings and what belongs together go in, the ranks of what was looked for come out; NumPy alone.

Similarities are computed in blocks, so that any number of queries and items needs bounded memory. Everywhere a tie
counts against the query, so that a scorer that gives everything the same score does not look perfect, and a NaN counts
as a tie.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NDCG_DEPTH",
    "ClassRanking",
    "Ranking",
    "caption_rankings",
    "rank_classes",
    "rank_items",
    "rank_scored_classes",
    "rank_scored_items",
]

NDCG_DEPTH = 10

_BLOCK_ELEMENTS = 1 << 24  # 64 MiB of float32
# What a relevant item at rank 1, 2, ... is worth, and what the best possible ranking of 0, 1, ... of them is.
_DISCOUNTS = 1.0 / np.log2(np.arange(2, NDCG_DEPTH + 2))
_IDEAL = np.concatenate([[0.0], np.cumsum(_DISCOUNTS)])


@dataclass(frozen=True, slots=True)
class Ranking:
    """Where each query found what belongs to it.

    Attributes:
        first: (n_queries,) rank of the best relevant item, 1 for the best.
        ndcg_at_10: (n_queries,) normalised discounted cumulative gain of the first ten, 0 to 1. It is that of Järvelin
            and Kekäläinen 2002 (doi 10.1145/582415.582418) with the discount of Burges et al. 2005 (doi
            10.1145/1102351.1102363) and binary relevance: the sum of 1 / log2(1 + rank) over the relevant items at
            ranks up to 10, divided by what it is where they come first.
    """

    first: NDArray[np.int64]
    ndcg_at_10: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClassRanking:
    """Where each item found its class.

    Attributes:
        labels: (n,) its own class.
        ranks: (n,) rank of that among all classes, 1 for the best.
        predicted: (n,) the class that came first; another one where the own class shares the first place.
    """

    labels: NDArray[np.int64]
    ranks: NDArray[np.int64]
    predicted: NDArray[np.int64]


def rank_items(
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    relevant: Sequence[NDArray[Any]],
    *,
    block_elements: int = _BLOCK_ELEMENTS,
) -> Ranking:
    """Rank all items for each query by their inner product.

    Args:
        queries: (n_queries, dim).
        items: (n_items, dim).
        relevant: For each query the indices of the items that belong to it, at least one.
        block_elements: How many similarities are held at once; one query's are the least.

    Raises:
        ValueError: The lengths differ, or a query has no relevant item.
    """
    blocks = _blocks(len(queries), len(items), block_elements)
    return rank_scored_items((scores for rows in blocks for scores in queries[rows] @ items.T), relevant)


def rank_scored_items(rows: Iterable[NDArray[Any]], relevant: Sequence[NDArray[Any]]) -> Ranking:
    """Rank all items for each query by given scores.

    Args:
        rows: For each query the scores of all items, higher is better: a matrix, or its rows one after another.
        relevant: For each query the indices of the items that belong to it, at least one.

    Raises:
        ValueError: The lengths differ, or a query has no relevant item.
    """
    first = np.empty(len(relevant), dtype=np.int64)
    ndcg = np.empty(len(relevant), dtype=np.float64)
    for query, (scores, own) in enumerate(zip(rows, relevant, strict=True)):
        if len(own) == 0:
            raise ValueError(f"query {query} has no relevant item")
        ranks = _ranks(scores, own)
        first[query] = ranks[0]
        ndcg[query] = _DISCOUNTS[ranks[ranks <= NDCG_DEPTH] - 1].sum() / _IDEAL[min(len(ranks), NDCG_DEPTH)]
    return Ranking(first, ndcg)


def _ranks(scores: NDArray[Any], own: NDArray[Any]) -> NDArray[np.int64]:
    """Ranks of the relevant items `own` of one query, best first: after others that are not worse."""
    levels = -np.sort(-scores[own])  # descending, NaN last
    others = [np.count_nonzero(~(scores < level)) - np.count_nonzero(~(levels < level)) for level in levels]
    return np.array(others) + np.arange(1, len(levels) + 1)


def caption_rankings(
    images: NDArray[np.float32], captions: NDArray[np.float32], owners: NDArray[Any]
) -> tuple[Ranking, Ranking]:
    """Rank images for captions, and captions for images.

    Args:
        images: (n, dim) L2-normalised.
        captions: (m, dim) L2-normalised.
        owners: (m,) for each caption the index of its image; every image has at least one.

    Returns:
        Text to image, with m queries; image to text, with n.
    """
    owners = np.asarray(owners, dtype=np.int64)
    order = np.argsort(owners, kind="stable")
    own_captions = np.split(order, np.searchsorted(owners[order], np.arange(1, len(images))))
    return (
        rank_items(captions, images, [owners[i : i + 1] for i in range(len(owners))]),
        rank_items(images, captions, own_captions),
    )


def rank_classes(
    items: NDArray[np.float32],
    classes: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    block_elements: int = _BLOCK_ELEMENTS,
) -> ClassRanking:
    """Rank all classes for each item by their inner product.

    Args:
        items: (n, dim).
        classes: (n_classes, dim).
        labels: (n,) the class of each item.
        block_elements: How many similarities are held at once; one item's are the least.
    """
    labels = np.asarray(labels, dtype=np.int64)
    parts = [
        rank_scored_classes(items[rows] @ classes.T, labels[rows])
        for rows in _blocks(len(items), len(classes), block_elements)
    ]
    return ClassRanking(
        labels, np.concatenate([part.ranks for part in parts]), np.concatenate([part.predicted for part in parts])
    )


def rank_scored_classes(scores: NDArray[Any], labels: NDArray[Any]) -> ClassRanking:
    """Rank all classes for each item by given scores.

    Args:
        scores: (n, n_classes), higher is better.
        labels: (n,) the class of each item.
    """
    labels = np.asarray(labels, dtype=np.int64)
    own = np.take_along_axis(scores, labels[:, None], axis=1)  # (n, 1)
    ranks = np.count_nonzero(~(scores < own), axis=1)
    others = np.array(scores, dtype=np.result_type(scores, np.float32))
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return ClassRanking(labels, ranks, np.where(ranks == 1, labels, others.argmax(axis=1)))


def _blocks(rows: int, columns: int, elements: int) -> Iterator[slice]:
    step = max(1, elements // max(1, columns))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
