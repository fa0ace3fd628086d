"""How sure a figure is: ranks and what was photographed together -> 95 % confidence intervals, by the bootstrap.

Percentile intervals (Efron 1979, doi 10.1214/aos/1176344552): the figure is worked out again on many samples that are
drawn with replacement from what was measured, and the middle 95 % of the outcomes are the interval.

Retrieval draws images, each together with all its captions (the bootstrap of clustered data; Field and Welsh 2007, doi
10.1111/j.1467-9868.2007.00593.x): the five captions of a photo succeed or fail together, and drawing captions one by
one would pretend to five times as much evidence. What is searched stays the same, since a rank among another number of
items, some of them twice, would be another figure. Classification draws the pictures of each class by themselves, since
how many there are of a class is a choice of whoever made the set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.training.evaluate import Interval, class_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.training.ranking import ClassRanking, Ranking

__all__ = ["RESAMPLES", "classification_intervals", "recall_intervals", "retrieval_intervals"]

RESAMPLES = 1000
_QUANTILES = (0.025, 0.975)
_BLOCK_ELEMENTS = 1 << 22


def retrieval_intervals(
    ranking: Ranking, groups: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """The intervals of all figures of one direction of retrieval.

    Args:
        ranking: Of n_queries.
        groups: (n_queries,) the number of the image that each query is, or is a caption of.
        resamples: How many samples are drawn.
        seed: The same seed draws the same samples.
    """
    columns: dict[str, NDArray[Any]] = {f"recall@{k}": ranking.first <= k for k in (1, 5, 10)}
    columns |= {"mrr": 1.0 / ranking.first, "ndcg@10": ranking.ndcg_at_10}
    means = _resampled_means(columns.values(), groups, resamples, seed)  # (resamples, figures)
    found = dict(zip(columns, _intervals(means), strict=True))
    (found["median_rank"],) = _intervals(_resampled_medians(ranking.first, groups, resamples, seed)[:, None])
    return {name: found[name] for name in ("recall@1", "recall@5", "recall@10", "median_rank", "mrr", "ndcg@10")}


def recall_intervals(
    ranking: Ranking, groups: NDArray[np.int64], ks: Iterable[int], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """(len(ks), 2) the intervals of recall at each of some k; arguments as for `retrieval_intervals`."""
    means = _resampled_means((ranking.first <= k for k in ks), groups, resamples, seed)
    return np.array(_intervals(means))


def classification_intervals(
    ranking: ClassRanking, n_classes: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """The intervals of all figures of a classification.

    Of a class with n pictures, h of them right, a sample has as many right ones as n draws that each succeed with the
    probability h / n: nothing has to be drawn picture by picture.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(ranking.labels, minlength=n_classes)
    there = counts > 0
    counts = counts[there]
    at_1, at_5 = (
        rng.binomial(counts, class_hits(ranking, k, n_classes)[there] / counts, (resamples, len(counts)))
        for k in (1, 5)
    )  # (resamples, classes)
    figures = [at_1.sum(axis=1) / counts.sum(), at_5.sum(axis=1) / counts.sum(), (at_1 / counts).mean(axis=1)]
    return dict(zip(("accuracy", "accuracy@5", "mean_per_class"), _intervals(np.column_stack(figures)), strict=True))


def _resampled_means(
    columns: Iterable[NDArray[Any]], groups: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """(resamples, columns) means over the queries of each sample."""
    n = int(groups.max()) + 1
    sizes = np.bincount(groups, minlength=n)
    sums = np.column_stack([*(np.bincount(groups, weights=column, minlength=n) for column in columns), sizes])
    totals = np.concatenate([draws @ sums for draws in _draws(n, resamples, seed, per_sample=n)])
    means: NDArray[np.float64] = totals[:, :-1] / totals[:, -1:]
    return means


def _resampled_medians(
    values: NDArray[np.int64], groups: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """(resamples,) medians over the queries of each sample."""
    order = np.argsort(values, kind="stable")
    values, groups = values[order], groups[order]
    medians = []
    for draws in _draws(int(groups.max()) + 1, resamples, seed, per_sample=len(values)):
        taken = np.cumsum(draws[:, groups], axis=1)  # (samples, n_queries): how many up to this value
        size = taken[:, -1:]
        lower, upper = (values[(taken <= place).sum(axis=1)] for place in ((size - 1) // 2, size // 2))
        medians.append((lower + upper) / 2)
    return np.concatenate(medians)


def _draws(n: int, resamples: int, seed: int, *, per_sample: int) -> Iterator[NDArray[np.int64]]:
    """Blocks (samples, n) of how often each of n images is in a sample; `per_sample` is what one costs in elements."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK_ELEMENTS // per_sample)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)


def _intervals(samples: NDArray[np.float64]) -> list[Interval]:
    """The interval of each column."""
    low, high = np.quantile(samples, _QUANTILES, axis=0)
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
