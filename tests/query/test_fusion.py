"""Composite queries are fused from calibrated probabilities."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmsearch.query.calibration import Background, Calibration, calibration_for
from mmsearch.query.fusion import balanced, fuse, fuse_lists
from mmsearch.types import Modality

ODDS = arrays(np.float64, (3, 8), elements=st.floats(-20, 20))


def test_the_score_is_the_log_probability_that_all_conditions_hold() -> None:
    scores, relevance = fuse(np.log([[3.0], [1.0]]), [1.0, 1.0])  # probabilities 3/4 and 1/2
    assert scores[0] == pytest.approx(math.log(0.75 * 0.5))
    assert relevance[0] == pytest.approx(math.sqrt(0.75 * 0.5))


def test_a_term_to_avoid_takes_its_probability_away() -> None:
    scores, relevance = fuse(np.log([[3.0], [1.0]]), [1.0, -1.0])
    assert scores[0] == pytest.approx(math.log(0.75) + math.log(0.5))
    assert relevance[0] == pytest.approx(0.75 * 0.5)


def test_a_term_to_avoid_that_is_nowhere_leaves_the_order_as_it_was() -> None:
    wanted = np.array([[2.0, -1.0, 0.5, -3.0]])
    alone, _ = fuse(wanted, [1.0])
    both, _ = fuse(np.vstack([wanted, np.full((1, 4), -9.0)]), [1.0, -1.0])
    assert np.argsort(-alone).tolist() == np.argsort(-both).tolist()


@given(ODDS)
def test_relevance_is_a_probability_and_falls_as_a_term_to_avoid_grows(log_odds: np.ndarray) -> None:
    weights = [1.0, 2.0, -1.0]
    scores, relevance = fuse(log_odds, weights)
    assert np.all((relevance >= 0) & (relevance <= 1)) and np.all(scores <= 0)
    worse = log_odds.copy()
    worse[2] += 1.0
    assert np.all(fuse(worse, weights)[0] <= scores)


@given(ODDS, st.permutations([0, 1, 2]))
def test_the_order_of_the_terms_does_not_matter(log_odds: np.ndarray, order: list[int]) -> None:
    weights = np.array([1.0, 0.5, -2.0])
    one, _ = fuse(log_odds, weights.tolist())
    other, _ = fuse(log_odds[order], weights[order].tolist())
    np.testing.assert_allclose(one, other)


def test_relevance_grows_with_the_distance_from_the_background() -> None:
    calibration = Calibration(slope=2.0, intercept=-6.0)
    odds = calibration.log_odds(np.array([0.1, 0.3, 0.5], np.float32), Background(0.1, 0.1))
    np.testing.assert_allclose(odds, [-6.0, -2.0, 2.0], atol=1e-5)


def test_the_background_is_not_moved_by_a_few_matches() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.1, 0.05, 2000).astype(np.float32)
    matching = np.concatenate([scores, np.full(100, 0.6, np.float32)])
    background = Calibration(1.0, 0.0).background(matching)
    assert background.mean == pytest.approx(0.1, abs=0.01)
    assert background.deviation == pytest.approx(0.05, abs=0.01)


def test_a_tiny_library_leans_on_what_is_known_of_the_encoder() -> None:
    calibration = Calibration(1.0, 0.0, mean=0.1, deviation=0.08, confidence=100)
    empty = calibration.background(np.empty(0, np.float32))
    assert (empty.mean, empty.deviation) == (0.1, 0.08)
    one = calibration.background(np.array([0.7], np.float32))
    assert one.mean == pytest.approx(0.1, abs=0.01)


def test_every_encoder_has_a_calibration() -> None:
    for asked, found in product(Modality, Modality):
        assert calibration_for("open_clip/ViT-B-32/anything", asked, found).slope > 0


def test_the_best_of_every_list_comes_before_the_seconds_where_all_match_as_well() -> None:
    lists = [[(1, 0.9), (2, 0.9)], [(3, 0.9), (4, 0.9)], [(5, 0.9)]]
    assert [item for item, _ in fuse_lists(lists)] == [1, 3, 5, 2, 4]


def test_a_list_in_which_nothing_matches_comes_after_what_does() -> None:
    photos = [(number, 0.9) for number in range(10)]
    assert [item for item, _ in fuse_lists([photos, [(99, 0.01)]])][:10] == list(range(10))


def test_items_come_in_order_of_the_highest_relevance_that_any_list_gives_them() -> None:
    assert fuse_lists([[(1, 0.8), (2, 0.7)], [(2, 0.9), (3, 0.1)]]) == [(2, 0.9), (1, 0.8), (3, 0.1)]


@given(st.lists(st.dictionaries(st.integers(0, 9), st.floats(0, 1), max_size=9), max_size=4), st.integers(1, 9))
def test_a_deeper_list_begins_with_the_less_deep_one(found: list[dict[int, float]], depth: int) -> None:
    ranked = [sorted(items.items(), key=lambda pair: -pair[1]) for items in found]
    whole = fuse_lists(ranked)
    assert fuse_lists([items[:depth] for items in ranked])[:depth] == whole[:depth]


def test_an_item_gains_nothing_by_lists_in_which_it_does_not_match() -> None:
    photo, video = [(1, 1.0)], [(2, 0.0)]
    assert [item for item, _ in fuse_lists([photo, video, video, video])] == [1, 2]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_one_list_keeps_its_order(relevance: list[float]) -> None:
    ranked = list(enumerate(sorted(relevance, reverse=True)))
    assert [item for item, _ in fuse_lists([ranked])] == [item for item, _ in ranked]


def test_a_file_beside_words_counts_half() -> None:
    assert balanced([1.0, 1.0], [False, True]) == [0.5, 1.0]
    assert balanced([2.0, 1.0, -1.0], [False, True, False]) == [1.0, 1.0, -1.0]


def test_files_alone_and_words_alone_count_as_they_are_weighted() -> None:
    assert balanced([1.0, 3.0], [False, False]) == [1.0, 3.0]
    assert balanced([1.0, 3.0], [True, True]) == [1.0, 3.0]
    assert balanced([1.0, -1.0], [False, True]) == [1.0, -1.0]


def test_two_scores_close_together_do_not_make_a_narrow_background() -> None:
    scores = np.array([0.1, 0.1001, 0.3], np.float32)
    assert calibration_for("unknown", Modality.TEXT, Modality.IMAGE).background(scores).deviation > 0.02
