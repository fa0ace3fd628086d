"""Ranks in blocks against a full sort of the whole matrix."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.training.ranking import (
    caption_rankings,
    rank_classes,
    rank_items,
    rank_scored_classes,
    rank_scored_items,
)


def brute_force(row: np.ndarray, own: set[int]) -> tuple[int, float]:
    """Rank of the first relevant item, and NDCG@10, of one query; relevant items come last among equals."""
    order = sorted(range(len(row)), key=lambda item: (-row[item], item in own))
    gains = [item in own for item in order]
    gained = sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:10]))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(own))))
    return gains.index(True) + 1, gained / ideal


# Small whole numbers have many ties, and their products are exact in whatever order they are added up.
def whole_numbers(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.integers(-2, 3, (rows, 3)).astype(np.float32)


@given(st.integers(1, 12), st.integers(1, 25), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_ranking_in_blocks_equals_a_full_sort(n_queries: int, n_items: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, items = whole_numbers(rng, n_queries), whole_numbers(rng, n_items)
    relevant = [rng.choice(n_items, rng.integers(1, n_items + 1), replace=False) for _ in range(n_queries)]
    found = rank_items(queries, items, relevant, block_elements=block)
    expected = [brute_force(row, set(own)) for row, own in zip(queries @ items.T, relevant, strict=True)]
    assert found.first.tolist() == [first for first, _ in expected]
    assert found.ndcg_at_10 == pytest.approx([ndcg for _, ndcg in expected])


@given(st.integers(1, 8), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_both_directions_equal_a_full_sort_whatever_the_order_of_captions(n: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owners = rng.permutation(np.concatenate([np.arange(n), rng.integers(0, n, more)]))
    images, captions = whole_numbers(rng, n), whole_numbers(rng, n + more)
    by_text, by_image = caption_rankings(images, captions, owners)
    similarity = images @ captions.T
    assert by_text.first.tolist() == [
        brute_force(row, {owner})[0] for row, owner in zip(similarity.T, owners, strict=True)
    ]
    own = [set(np.flatnonzero(owners == image)) for image in range(n)]
    assert list(zip(by_image.first, by_image.ndcg_at_10, strict=True)) == [
        (first, pytest.approx(ndcg))
        for first, ndcg in (brute_force(row, mine) for row, mine in zip(similarity, own, strict=True))
    ]


@given(st.integers(1, 20), st.integers(1, 9), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_classes_in_blocks_equal_a_full_sort(n: int, n_classes: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    items, classes, labels = whole_numbers(rng, n), whole_numbers(rng, n_classes), rng.integers(0, n_classes, n)
    found = rank_classes(items, classes, labels, block_elements=block)
    scores = items @ classes.T
    expected = [brute_force(row, {label})[0] for row, label in zip(scores, labels, strict=True)]
    assert found.ranks.tolist() == expected
    for row, label, predicted, rank in zip(scores, labels, found.predicted, expected, strict=True):
        assert row[predicted] == row.max()
        assert (predicted == label) == (rank == 1)


def test_the_whole_matrix_is_never_in_memory() -> None:
    rng = np.random.default_rng(0)
    queries, items = rng.standard_normal((500, 4), np.float32), rng.standard_normal((8000, 4), np.float32)
    relevant = [np.array([number]) for number in range(500)]
    tracemalloc.start()
    try:
        rank_items(queries, items, relevant, block_elements=80_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000  # the matrix would take 16 MB


def test_ndcg_of_a_small_ranking_is_that_worked_out_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    found = rank_scored_items(scores, [np.array([3, 1]), np.array([0])])  # ranks 2 and 4; rank 1
    assert found.ndcg_at_10 == pytest.approx([(1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3)), 1.0])


def test_what_comes_after_the_tenth_place_gains_nothing() -> None:
    found = rank_scored_items(-np.arange(30.0)[None], [np.array([10, 20])])
    assert (found.first.tolist(), found.ndcg_at_10.tolist()) == ([11], [0.0])


def test_more_than_ten_relevant_items_can_still_be_found_perfectly() -> None:
    found = rank_scored_items(-np.arange(30.0)[None], [np.arange(15)])
    assert found.ndcg_at_10 == pytest.approx([1.0])


def test_one_item_that_scores_nan_does_not_hide_another_that_scores_well() -> None:
    found = rank_scored_items(np.array([[0.9, np.nan, 0.1]]), [np.array([0, 1])])
    assert found.first.tolist() == [1]


def test_a_class_that_shares_the_first_place_is_not_recognised() -> None:
    found = rank_scored_classes(np.array([[1, 1, 0], [0, 1, 0]]), np.array([0, 1]))
    assert (found.ranks.tolist(), found.predicted.tolist()) == ([2, 1], [1, 1])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError):
        rank_items(np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32), [np.array([0])])


def test_the_ranks_need_no_torch() -> None:
    code = "import sys, mmsearch.training.ranking; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
