"""Similarities and what belongs together go in, retrieval and classification figures come out; NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClassificationMetrics",
    "RetrievalMetrics",
    "caption_metrics",
    "classification_metrics",
    "first_ranks",
    "retrieval_metrics",
]


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """How well a ranking finds what belongs to a query.

    Attributes:
        recall_at_1, recall_at_5, recall_at_10: Share of queries with a relevant item among the first k.
        median_rank: Median over the queries of the rank of the best relevant item; 1 is best.
        mrr: Mean of one over that rank.
    """

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: float
    mrr: float

    def to_dict(self) -> dict[str, float]:
        """The figures under the names that scripts read."""
        return {
            "recall@1": self.recall_at_1,
            "recall@5": self.recall_at_5,
            "recall@10": self.recall_at_10,
            "median_rank": self.median_rank,
            "mrr": self.mrr,
        }


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """How often the right class scores highest.

    Attributes:
        accuracy: Share of items whose own class comes first.
        accuracy_at_5: Share of items whose own class is among the first five.
        mean_per_class: Mean of the classes' accuracies; classes without items do not count.
    """

    accuracy: float
    accuracy_at_5: float
    mean_per_class: float

    def to_dict(self) -> dict[str, float]:
        """The figures under the names that scripts read."""
        return {
            "accuracy": self.accuracy,
            "accuracy@5": self.accuracy_at_5,
            "mean_per_class": self.mean_per_class,
        }


def first_ranks(similarity: NDArray[Any], relevant: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Rank of the best relevant item of each query.

    A tie counts against the query, so that a scorer that gives everything the same score does not look perfect; a
    NaN counts as a tie.

    Args:
        similarity: (n_queries, n_items), higher is better.
        relevant: For each query the indices of the items that belong to it, at least one.

    Returns:
        (n_queries,) ranks, 1 for the best.

    Raises:
        ValueError: The lengths differ, or a query has no relevant item.
    """
    if similarity.ndim != 2 or similarity.shape[0] != len(relevant):
        raise ValueError(f"similarity is {similarity.shape}, relevant items are given for {len(relevant)} queries")
    ranks = np.empty(len(relevant), dtype=np.int64)
    for query, own in enumerate(relevant):
        if len(own) == 0:
            raise ValueError(f"query {query} has no relevant item")
        scores = similarity[query]
        best = np.max(scores[own])
        ahead = ~(scores < best)  # (n_items,)
        ahead[own] = False
        ranks[query] = 1 + np.count_nonzero(ahead)
    return ranks


def retrieval_metrics(similarity: NDArray[Any], relevant: Sequence[NDArray[Any]]) -> RetrievalMetrics:
    """Recall, median rank and mean reciprocal rank of one direction of retrieval.

    For images as queries and their captions as items, the best-ranked caption of an image counts.

    Args:
        similarity: (n_queries, n_items), higher is better.
        relevant: For each query the indices of the items that belong to it.

    Raises:
        ValueError: There are no queries, the lengths differ, or a query has no relevant item.
    """
    ranks = first_ranks(similarity, relevant)
    if ranks.size == 0:
        raise ValueError("there are no queries")
    return RetrievalMetrics(
        recall_at_1=float(np.mean(ranks <= 1)),
        recall_at_5=float(np.mean(ranks <= 5)),
        recall_at_10=float(np.mean(ranks <= 10)),
        median_rank=float(np.median(ranks)),
        mrr=float(np.mean(1.0 / ranks)),
    )


def caption_metrics(
    images: NDArray[np.float32], captions: NDArray[np.float32], owners: NDArray[Any]
) -> tuple[RetrievalMetrics, RetrievalMetrics]:
    """Both directions of caption retrieval.

    Args:
        images: (n, dim) L2-normalised.
        captions: (m, dim) L2-normalised.
        owners: (m,) for each caption the index of its image; every image has at least one.

    Returns:
        Text to image, image to text.
    """
    similarity = captions @ images.T  # (m, n)
    owners = np.asarray(owners, dtype=np.int64)
    order = np.argsort(owners, kind="stable")
    own_captions = np.split(order, np.searchsorted(owners[order], np.arange(1, len(images))))
    return (
        retrieval_metrics(similarity, [owners[i : i + 1] for i in range(len(owners))]),
        retrieval_metrics(similarity.T, own_captions),
    )


def classification_metrics(scores: NDArray[Any], labels: NDArray[Any], n_classes: int) -> ClassificationMetrics:
    """Accuracy of a zero-shot classification; a tie counts against the item.

    Args:
        scores: (n, n_classes), higher is better.
        labels: (n,) the class of each item.
        n_classes: How many classes there are.

    Raises:
        ValueError: There are no items, or the shapes do not fit.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if labels.size == 0 or scores.shape != (len(labels), n_classes):
        raise ValueError(f"scores are {scores.shape}, expected ({len(labels)}, {n_classes}) with at least one item")
    ranks = first_ranks(scores, [labels[i : i + 1] for i in range(len(labels))])
    right = ranks <= 1
    counts = np.bincount(labels, minlength=n_classes)
    hits = np.bincount(labels[right], minlength=n_classes)
    there = counts > 0
    return ClassificationMetrics(
        accuracy=float(np.mean(right)),
        accuracy_at_5=float(np.mean(ranks <= 5)),
        mean_per_class=float(np.mean(hits[there] / counts[there])),
    )
