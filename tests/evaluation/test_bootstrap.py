from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.evaluation import bootstrap
from mmsearch.evaluation.bootstrap import classification_intervals, recall_intervals, retrieval_intervals
from mmsearch.training.ranking import ClassRanking, Ranking

FIGURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "recall@1": lambda first, ndcg: np.mean(first <= 1),
    "recall@5": lambda first, ndcg: np.mean(first <= 5),
    "recall@10": lambda first, ndcg: np.mean(first <= 10),
    "median_rank": lambda first, ndcg: np.median(first),
    "mrr": lambda first, ndcg: np.mean(1 / first),
    "ndcg@10": lambda first, ndcg: np.mean(ndcg),
}


def random_ranking(rng: np.random.Generator, n_queries: int, worst: int = 20) -> Ranking:
    return Ranking(rng.integers(1, worst + 1, n_queries), rng.random(n_queries))


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(0, 25), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_intervals_equal_those_of_samples_written_out_query_by_query(n: int, more: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.concatenate([np.arange(n), rng.integers(0, n, more)]))
    ranking = random_ranking(rng, len(groups))
    samples = []
    for drawn in np.random.default_rng(7).integers(0, n, (40, n)):
        queries = np.concatenate([np.flatnonzero(groups == image) for image in drawn])
        samples.append([figure(ranking.first[queries], ranking.ndcg_at_10[queries]) for figure in FIGURES.values()])
    expected = np.quantile(samples, (0.025, 0.975), axis=0).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "_BLOCK_ELEMENTS", block)
        found = retrieval_intervals(ranking, groups, resamples=40, seed=7)
        curve = recall_intervals(ranking, groups, (1, 5, 10), resamples=40, seed=7)
    assert list(found) == list(FIGURES)
    assert np.array(list(found.values())) == pytest.approx(expected)
    assert curve == pytest.approx(expected[:3])


def test_the_same_seed_gives_the_same_intervals() -> None:
    ranking, groups = random_ranking(np.random.default_rng(0), 50), np.repeat(np.arange(10), 5)
    assert retrieval_intervals(ranking, groups) == retrieval_intervals(ranking, groups)
    assert retrieval_intervals(ranking, groups) != retrieval_intervals(ranking, groups, seed=1)


def test_an_interval_surrounds_its_figure() -> None:
    ranking = random_ranking(np.random.default_rng(0), 500)
    for name, (low, high) in retrieval_intervals(ranking, np.repeat(np.arange(100), 5)).items():
        assert low <= FIGURES[name](ranking.first, ranking.ndcg_at_10) <= high
        assert low < high


def test_captions_that_succeed_together_are_no_more_evidence_than_their_image() -> None:
    # Five captions of an image always agree: the interval is that of the images, not one of five times as many.
    first = np.random.default_rng(0).choice([1, 50], 200)
    of_images = retrieval_intervals(Ranking(first, first / 50), np.arange(200))
    of_captions = retrieval_intervals(
        Ranking(np.repeat(first, 5), np.repeat(first / 50, 5)), np.repeat(np.arange(200), 5)
    )
    as_if_apart = retrieval_intervals(Ranking(np.repeat(first, 5), np.repeat(first / 50, 5)), np.arange(1000))
    assert of_captions["recall@1"] == pytest.approx(of_images["recall@1"])
    low, high = of_captions["recall@1"]
    narrow_low, narrow_high = as_if_apart["recall@1"]
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx(5**0.5, rel=0.15)


def test_the_interval_of_an_accuracy_is_as_wide_as_the_binomial_one() -> None:
    labels = np.repeat(np.arange(4), 100)
    ranks = np.where(np.arange(400) % 100 < 60, 1, 9)  # each class is recognised 60 times of 100
    found = classification_intervals(ClassRanking(labels, ranks, labels), 4, resamples=4000)
    margin = 1.96 * (0.6 * 0.4 / 400) ** 0.5
    for name in ("accuracy", "mean_per_class", "accuracy@5"):
        assert found[name] == pytest.approx((0.6 - margin, 0.6 + margin), abs=0.006)


def test_classes_without_pictures_do_no_harm() -> None:
    labels = np.array([0, 0, 2, 2])
    found = classification_intervals(ClassRanking(labels, np.array([1, 1, 1, 1]), labels), 5)
    assert found == {name: (1.0, 1.0) for name in ("accuracy", "accuracy@5", "mean_per_class")}


def test_a_large_class_does_not_decide_the_interval_of_the_mean_over_classes() -> None:
    labels = np.repeat([0, 1], [1000, 4])
    ranks = np.where((labels == 0) | (np.arange(1004) % 2 == 0), 1, 2)
    found = classification_intervals(ClassRanking(labels, ranks, labels), 2)
    assert found["accuracy"][1] - found["accuracy"][0] < 0.01
    assert found["mean_per_class"] == (0.5, 1.0)
