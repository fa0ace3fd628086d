"""The figures of retrieval and classification, against brute force and hand-computed values."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.training.evaluate import caption_metrics, classification_metrics, first_ranks, retrieval_metrics


def brute_force_ranks(similarity: np.ndarray, relevant: list[np.ndarray]) -> list[int]:
    ranks = []
    for row, own in zip(similarity, relevant, strict=True):
        # Relevant items come last among equals, and only the best of them counts.
        order = sorted(range(len(row)), key=lambda item: (-row[item], item in own))
        place = next(position for position, item in enumerate(order) if item in own)
        ranks.append(place + 1)
    return ranks


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 2**32 - 1))
def test_ranks_equal_those_of_a_full_sort(n_queries: int, n_items: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.integers(0, 5, (n_queries, n_items)).astype(np.float32)
    relevant = [rng.choice(n_items, rng.integers(1, n_items + 1), replace=False) for _ in range(n_queries)]
    assert first_ranks(similarity, relevant).tolist() == brute_force_ranks(similarity, relevant)


def test_figures_of_a_small_ranking_are_those_worked_out_by_hand() -> None:
    similarity = np.array([[0.9, 0.1, 0.5], [0.3, 0.2, 0.1], [0.7, 0.8, 0.9], [0.5, 0.4, 0.3]])
    relevant = [np.array([0]), np.array([2]), np.array([1, 0]), np.array([1])]  # ranks 1, 3, 2 and 3, 2
    metrics = retrieval_metrics(similarity, relevant)
    assert metrics.recall_at_1 == 0.25
    assert metrics.recall_at_5 == metrics.recall_at_10 == 1.0
    assert metrics.median_rank == 2.0
    assert metrics.mrr == pytest.approx((1 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    assert metrics.ndcg_at_10 == pytest.approx((1 + third + (second + third) / (1 + second) + second) / 4)
    assert list(metrics.to_dict()) == ["recall@1", "recall@5", "recall@10", "median_rank", "mrr", "ndcg@10"]


def test_a_scorer_that_likes_everything_equally_comes_last() -> None:
    assert first_ranks(np.zeros((2, 100)), [np.array([0]), np.array([99])]).tolist() == [100, 100]


def test_a_scorer_that_answers_nan_comes_last() -> None:
    assert first_ranks(np.full((1, 10), np.nan), [np.array([3])]).tolist() == [10]


def test_the_best_caption_of_an_image_counts() -> None:
    images = np.eye(2, dtype=np.float32)
    captions = np.array([[0, 1], [1, 0], [0, 1]], dtype=np.float32)
    text_to_image, image_to_text = caption_metrics(images, captions, np.array([0, 0, 1]))
    assert text_to_image.recall_at_1 == pytest.approx(2 / 3)
    # Image 0: its caption 1 scores 1, nothing else does. Image 1: caption 2 ties with caption 0, which is not its own.
    assert image_to_text.recall_at_1 == pytest.approx(1 / 2)
    assert image_to_text.median_rank == 1.5


def test_captions_may_come_in_any_order() -> None:
    rng = np.random.default_rng(0)
    images, captions = rng.standard_normal((6, 8), np.float32), rng.standard_normal((18, 8), np.float32)
    owners = np.repeat(np.arange(6), 3)
    shuffled = rng.permutation(18)
    in_order = caption_metrics(images, captions, owners)
    for metrics, expected in zip(caption_metrics(images, captions[shuffled], owners[shuffled]), in_order, strict=True):
        assert metrics.to_dict() == pytest.approx(expected.to_dict())


def test_a_query_without_relevant_items_is_refused() -> None:
    with pytest.raises(ValueError, match="query 1 has no relevant item"):
        first_ranks(np.zeros((2, 3)), [np.array([0]), np.array([], dtype=np.int64)])


def test_no_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="no queries"):
        retrieval_metrics(np.zeros((0, 3)), [])


def test_accuracy_and_its_mean_per_class_differ_where_classes_differ_in_size() -> None:
    scores = np.eye(3)[[0, 0, 0, 1]]  # the third item and the fourth belong elsewhere or not at all
    metrics = classification_metrics(scores, np.array([0, 0, 0, 2]), 3)
    assert metrics.accuracy == 0.75
    assert metrics.mean_per_class == 0.5  # class 0: all right, class 2: none, class 1 has no items
    assert metrics.accuracy_at_5 == 1.0
    assert list(metrics.to_dict()) == ["accuracy", "accuracy@5", "mean_per_class"]


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        classification_metrics(np.zeros((2, 3)), np.array([0, 1]), 4)


def test_intervals_come_beside_the_figures_where_there_are_any() -> None:
    metrics = classification_metrics(np.eye(3), np.arange(3), 3)
    assert "ci" not in metrics.to_dict()
    assert replace(metrics, ci={"accuracy": (0.5, 1.0)}).to_dict()["ci"] == {"accuracy": [0.5, 1.0]}


def test_the_figures_need_no_torch() -> None:
    code = "import sys, mmsearch.training.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
