"""Maximal marginal relevance and near-duplicates over plain arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.rerank.diversity import leaders, mmr, near_duplicate_cosine


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def drawn(seed: int, n: int, dim: int = 4) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Relevance, vectors of which several are close to one another, and kinds."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 3), dim))
    vectors = unit(centres[rng.integers(len(centres), size=n)] + 0.2 * rng.standard_normal((n, dim)))
    return rng.random(n), vectors, rng.integers(0, 2, n)


def by_definition(
    relevance: NDArray[np.float64], vectors: NDArray[np.float32], kinds: NDArray[np.int64], strength: float
) -> list[int]:
    """Each of those left is scored against all that were chosen, one by one."""
    chosen: list[int] = []
    left = list(range(len(relevance)))
    while left:

        def value(row: int) -> float:
            alike = [float(vectors[row] @ vectors[other]) * (kinds[row] == kinds[other]) for other in chosen]
            return float((1 - strength) * relevance[row] - strength * (max(alike) if alike else 0.0))

        best = max(left, key=lambda row: (value(row), -row))
        chosen.append(best)
        left.remove(best)
    return chosen


@given(st.integers(0, 10_000), st.integers(1, 20), st.floats(0, 1))
def test_the_order_is_that_of_the_definition(seed: int, n: int, strength: float) -> None:
    relevance, vectors, kinds = drawn(seed, n)
    found = mmr(relevance, vectors, strength=strength, kinds=kinds).tolist()
    assert sorted(found) == list(range(n))
    expected = by_definition(relevance, vectors, kinds, strength)
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        if mine != theirs:  # only where two are worth the same but for rounding
            values = []
            for row in (mine, theirs):
                alike = [float(vectors[row] @ vectors[o]) * (kinds[row] == kinds[o]) for o in found[:place]]
                values.append((1 - strength) * relevance[row] - strength * max(alike, default=0.0))
            assert values[0] == pytest.approx(values[1], abs=1e-6)
            break


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
def test_fewer_are_the_first_of_more(seed: int, n: int, k: int, strength: float) -> None:
    relevance, vectors, kinds = drawn(seed, n)
    whole = mmr(relevance, vectors, strength=strength, kinds=kinds)
    assert mmr(relevance, vectors, k, strength=strength, kinds=kinds).tolist() == whole[:k].tolist()


@given(st.integers(0, 10_000), st.integers(1, 20))
def test_without_strength_the_order_is_that_of_relevance(seed: int, n: int) -> None:
    relevance, vectors, _ = drawn(seed, n)
    assert mmr(relevance, vectors, strength=0).tolist() == np.argsort(-relevance, kind="stable").tolist()


def test_what_was_chosen_before_counts_as_chosen() -> None:
    vectors = unit(np.array([[1.0, 0.0], [0.0, 1.0]]))
    before = (vectors[:1], np.zeros(1, np.int64))
    relevance = np.array([0.9, 0.8])
    assert mmr(relevance, vectors, strength=0.5).tolist() == [0, 1]
    assert mmr(relevance, vectors, strength=0.5, before=before).tolist() == [1, 0]
    other_kind = (vectors[:1], np.ones(1, np.int64))
    assert mmr(relevance, vectors, strength=0.5, before=other_kind).tolist() == [0, 1]


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_that_is_no_share_is_refused(strength: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        mmr(np.ones(2), np.eye(2, dtype=np.float32), strength=strength)


@given(st.integers(0, 10_000), st.integers(0, 25), st.floats(0.3, 0.99))
def test_each_follows_the_first_leader_that_it_is_close_to(seed: int, n: int, cosine: float) -> None:
    _, vectors, _ = drawn(seed, n) if n else (None, np.empty((0, 4), np.float32), None)
    heads = leaders(vectors, cosine)
    cosines = np.stack([vectors @ row for row in vectors]) if n else vectors
    for row, head in enumerate(heads.tolist()):
        assert heads[head] == head <= row
        close = [other for other in range(row) if heads[other] == other and cosines[other, row] >= cosine + 1e-5]
        if close:
            assert head <= close[0]
        assert head == row or cosines[head, row] >= cosine - 1e-5


@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 25))
def test_later_things_change_nothing_about_earlier_ones(seed: int, n: int, first: int) -> None:
    _, vectors, _ = drawn(seed, n)
    assert leaders(vectors[:first], 0.8).tolist() == leaders(vectors, 0.8)[:first].tolist()


def test_a_chain_of_small_steps_does_not_join_its_ends() -> None:
    angles = np.arange(10) * 0.2
    chain = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert leaders(chain, float(np.cos(0.3))).tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]


def test_things_without_an_embedding_are_alike_to_none() -> None:
    assert leaders(np.zeros((3, 4), np.float32), 0.9).tolist() == [0, 1, 2]


def test_an_encoder_that_nobody_measured_is_judged_with_more_care() -> None:
    assert 0.9 <= near_duplicate_cosine("mini") < near_duplicate_cosine("open_clip/any") < 1
