"""Embeddings or similarities and what belongs together go in, figures of retrieval and classification come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.training.ranking import (
    ClassRanking,
    Ranking,
    caption_rankings,
    rank_scored_classes,
    rank_scored_items,
)

__all__ = [
    "ClassificationMetrics",
    "Interval",
    "RetrievalMetrics",
    "caption_metrics",
    "class_hits",
    "classification_figures",
    "classification_metrics",
    "first_ranks",
    "retrieval_figures",
    "retrieval_metrics",
]

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """How well a ranking finds what belongs to a query.

    Attributes:
        recall_at_1, recall_at_5, recall_at_10: Share of queries with a relevant item among the first k.
        median_rank: Median over the queries of the rank of the best relevant item; 1 is best.
        mrr: Mean of one over that rank.
        ndcg_at_10: Mean of the normalised discounted cumulative gain of the first ten.
        ci: The ends of the figures' confidence intervals by their names in `to_dict`, where they were worked out.
    """

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    median_rank: float
    mrr: float
    ndcg_at_10: float
    ci: Mapping[str, Interval] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The figures under the names that scripts read."""
        return {
            "recall@1": self.recall_at_1,
            "recall@5": self.recall_at_5,
            "recall@10": self.recall_at_10,
            "median_rank": self.median_rank,
            "mrr": self.mrr,
            "ndcg@10": self.ndcg_at_10,
            **_ci(self.ci),
        }


@dataclass(frozen=True, slots=True)
class ClassificationMetrics:
    """How often the right class scores highest.

    Attributes:
        accuracy: Share of items whose own class comes first.
        accuracy_at_5: Share of items whose own class is among the first five.
        mean_per_class: Mean of the classes' accuracies; classes without items do not count.
        ci: The ends of the figures' confidence intervals by their names in `to_dict`, where they were worked out.
    """

    accuracy: float
    accuracy_at_5: float
    mean_per_class: float
    ci: Mapping[str, Interval] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The figures under the names that scripts read."""
        return {
            "accuracy": self.accuracy,
            "accuracy@5": self.accuracy_at_5,
            "mean_per_class": self.mean_per_class,
            **_ci(self.ci),
        }


def _ci(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    return {"ci": {name: list(ends) for name, ends in intervals.items()}} if intervals else {}


def retrieval_figures(ranking: Ranking) -> RetrievalMetrics:
    """The figures over all queries of a ranking.

    Raises:
        ValueError: There are no queries.
    """
    first = ranking.first
    if first.size == 0:
        raise ValueError("there are no queries")
    return RetrievalMetrics(
        recall_at_1=float(np.mean(first <= 1)),
        recall_at_5=float(np.mean(first <= 5)),
        recall_at_10=float(np.mean(first <= 10)),
        median_rank=float(np.median(first)),
        mrr=float(np.mean(1.0 / first)),
        ndcg_at_10=float(np.mean(ranking.ndcg_at_10)),
    )


def first_ranks(similarity: NDArray[Any], relevant: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Rank of the best relevant item of each query; a tie or a NaN counts against the query.

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
    return rank_scored_items(similarity, relevant).first


def retrieval_metrics(similarity: NDArray[Any], relevant: Sequence[NDArray[Any]]) -> RetrievalMetrics:
    """The figures of one direction of retrieval.

    For images as queries and their captions as items, the best-ranked caption of an image counts, and for NDCG all.

    Args:
        similarity: (n_queries, n_items), higher is better.
        relevant: For each query the indices of the items that belong to it.

    Raises:
        ValueError: There are no queries, the lengths differ, or a query has no relevant item.
    """
    if similarity.ndim != 2 or similarity.shape[0] != len(relevant):
        raise ValueError(f"similarity is {similarity.shape}, relevant items are given for {len(relevant)} queries")
    return retrieval_figures(rank_scored_items(similarity, relevant))


def caption_metrics(
    images: NDArray[np.float32], captions: NDArray[np.float32], owners: NDArray[Any]
) -> tuple[RetrievalMetrics, RetrievalMetrics]:
    """Both directions of caption retrieval, in bounded memory.

    Args:
        images: (n, dim) L2-normalised.
        captions: (m, dim) L2-normalised.
        owners: (m,) for each caption the index of its image; every image has at least one.

    Returns:
        Text to image, image to text.
    """
    text_to_image, image_to_text = caption_rankings(images, captions, owners)
    return retrieval_figures(text_to_image), retrieval_figures(image_to_text)


def class_hits(ranking: ClassRanking, k: int, n_classes: int) -> NDArray[np.int64]:
    """(n_classes,) for each class, how many of its items have it among the first k."""
    return np.bincount(ranking.labels[ranking.ranks <= k], minlength=n_classes)


def classification_figures(ranking: ClassRanking, n_classes: int) -> ClassificationMetrics:
    """The figures over all items of a ranking.

    Raises:
        ValueError: There are no items.
    """
    if ranking.labels.size == 0:
        raise ValueError("there are no items")
    counts = np.bincount(ranking.labels, minlength=n_classes)
    there = counts > 0
    return ClassificationMetrics(
        accuracy=float(np.mean(ranking.ranks <= 1)),
        accuracy_at_5=float(np.mean(ranking.ranks <= 5)),
        mean_per_class=float(np.mean(class_hits(ranking, 1, n_classes)[there] / counts[there])),
    )


def classification_metrics(scores: NDArray[Any], labels: NDArray[Any], n_classes: int) -> ClassificationMetrics:
    """The figures of a zero-shot classification; a tie counts against the item.

    Args:
        scores: (n, n_classes), higher is better.
        labels: (n,) the class of each item.
        n_classes: How many classes there are.

    Raises:
        ValueError: There are no items, or the shapes do not fit.
    """
    if len(labels) == 0 or scores.shape != (len(labels), n_classes):
        raise ValueError(f"scores are {scores.shape}, expected ({len(labels)}, {n_classes}) with at least one item")
    return classification_figures(rank_scored_classes(scores, labels), n_classes)
