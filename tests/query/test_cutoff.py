"""Where a ranked list stops being worth showing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.query.cutoff import floor, keep

LISTS = st.lists(st.floats(0, 1), max_size=60).map(lambda values: sorted(values, reverse=True))


def test_an_empty_list_keeps_nothing() -> None:
    assert keep([]).shape == (0,)
    assert math.isinf(floor([]))


def test_a_list_without_a_good_match_is_dropped() -> None:
    assert not keep([0.01, 0.005]).any()


def test_what_stands_far_behind_the_best_is_dropped() -> None:
    assert keep([0.9, 0.8, 0.3, 0.02, 0.01]).tolist() == [True, True, True, False, False]


def test_hundreds_that_match_alike_are_all_kept() -> None:
    assert keep(np.linspace(0.8, 0.4, 300)).all()


def test_a_query_about_nothing_here_finds_nothing_unless_something_is_sure() -> None:
    assert not keep([0.4, 0.2], about=0.1).any()
    assert keep([0.9, 0.2], about=0.1).tolist() == [True, True]


@pytest.mark.parametrize("about", [0.0, 0.5, 1.0])
@given(relevance=LISTS)
def test_the_best_are_kept_before_the_others(relevance: list[float], about: float) -> None:
    kept = keep(relevance, about).tolist()
    assert kept == sorted(kept, reverse=True)


@given(relevance=LISTS, about=st.floats(0, 1), more=LISTS)
def test_a_list_that_is_continued_keeps_what_it_had(relevance: list[float], about: float, more: list[float]) -> None:
    if len(relevance) >= 10:
        longer = keep([*relevance, *(value * relevance[-1] for value in more)], about)
        assert longer[: len(relevance)].tolist() == keep(relevance, about).tolist()


@given(relevance=LISTS, about=st.floats(0, 1))
def test_what_is_more_likely_than_not_is_always_kept(relevance: list[float], about: float) -> None:
    assert all(kept for value, kept in zip(relevance, keep(relevance, about), strict=True) if value >= 0.5)
