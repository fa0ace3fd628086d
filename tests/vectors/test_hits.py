"""Selecting and merging hits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.vectors.hits import Members, best_first, contains, distinct, merge_hits, nearly_best


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(-5, 40)))
def test_membership_is_that_of_a_set(sorted_ids: list[int], ids: list[int]) -> None:
    among = np.unique(np.array(sorted_ids, np.int64))
    assert contains(among, np.array(ids, np.int64)).tolist() == [number in sorted_ids for number in ids]


@given(st.lists(st.floats(-1, 1, width=32) | st.just(-np.inf), max_size=50), st.integers(1, 20), st.floats(0, 0.5))
def test_everything_within_the_slack_of_the_kth_best_is_a_candidate(scores: list[float], k: int, slack: float) -> None:
    places = nearly_best(np.array(scores, np.float32), k, slack).tolist()
    finite = sorted((score for score in scores if score > -np.inf), reverse=True)
    floor = finite[k - 1] - slack if len(finite) >= k else -np.inf
    assert places == [place for place, score in enumerate(scores) if score > -np.inf and score >= np.float32(floor)]


def test_hits_are_ordered_by_score_then_id_and_padded() -> None:
    ids, scores = best_first(np.array([5, 3, 9]), np.array([0.5, 0.5, 0.9], np.float32), 4)
    assert ids.tolist() == [9, 3, 5, -1]
    assert scores[3] == -np.inf


def test_merging_ignores_the_padding_of_the_parts() -> None:
    left = np.array([[1, -1]]), np.array([[0.1, -np.inf]], np.float32)
    right = np.array([[2, 3, -1]]), np.array([[0.3, 0.1, -np.inf]], np.float32)
    ids, _ = merge_hits([left, right], 4)
    assert ids.tolist() == [[2, 1, 3, -1]]


@given(st.lists(st.integers(-40, 10**4)), st.lists(st.integers(-100, 2 * 10**4)), st.integers(1, 1000))
def test_members_are_those_of_a_set_however_thin_they_are_spread(among: list[int], ids: list[int], thin: int) -> None:
    members = np.unique(np.array(among, np.int64)) * thin
    asked = np.array(ids, np.int64)
    assert Members(members)(asked).tolist() == np.isin(asked, members).tolist()
    assert Members(members)(members).all()


@given(st.lists(st.integers(-9, 9) | st.integers(-(2**40), 2**40)))
def test_distinct_ids_are_a_sorted_set(ids: list[int]) -> None:
    assert distinct(np.array(ids, np.int64)).tolist() == sorted(set(ids))
