"""How much of everything a thing is close to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.rerank.query_bank import Queries, QueryBank, pictures_as_queries, spread


def unit(count: int, seed: int, dim: int = 12) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(0, 1, (count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_a_hub_is_a_soft_maximum_over_weighted_queries() -> None:
    queries = Queries(unit(3, 0), np.array([0.5, 0.25, 0.25], np.float32))
    for thing, found in zip(unit(4, 1), queries.hubs(unit(4, 1)), strict=True):
        powers = [
            weight * math.exp(20 * float(query @ thing))
            for weight, query in zip((0.5, 0.25, 0.25), unit(3, 0), strict=True)
        ]
        assert found == pytest.approx(math.log(sum(powers)) / 20, abs=1e-5)


@given(st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_hub_lies_between_the_mean_and_the_nearest_query(count: int, seed: int) -> None:
    queries, things = unit(count, seed), unit(5, seed + 100)
    found = Queries(queries, np.full(count, 1 / count, np.float32)).hubs(things)
    similar = things @ queries.T
    assert (found <= similar.max(axis=1) + 1e-5).all() and (found >= similar.mean(axis=1) - 1e-5).all()


def test_the_sentences_count_that_the_pictures_are_closest_to() -> None:
    sentences, pictures = unit(40, 0), unit(9, 1)
    found = QueryBank(QueryBank.pack(sentences)).fitting(pictures)
    times = np.zeros(40)
    for picture in pictures:
        times[np.argsort(-(sentences @ picture))[:4]] += 1
    assert found.weights.sum() == pytest.approx(1) and len(found.weights) == np.count_nonzero(times)
    near = found.embeddings @ sentences.T
    assert near.max(axis=1).min() > 0.999  # a byte a number is enough
    np.testing.assert_allclose(found.weights, times[near.argmax(axis=1)] / times.sum(), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=1e-5)


def test_another_library_gets_another_answer_and_the_same_one_the_same() -> None:
    bank = QueryBank(QueryBank.pack(unit(40, 0)))
    first = bank.fitting(unit(9, 1))
    assert bank.fitting(unit(9, 1)) is first
    assert not np.array_equal(bank.fitting(unit(9, 2)).embeddings, first.embeddings)
    np.testing.assert_array_equal(bank.fitting(unit(9, 1)).embeddings, first.embeddings)


def test_few_or_no_sentences_or_pictures_are_no_trouble() -> None:
    things = unit(3, 0)
    for bank, pictures in ((unit(0, 0), unit(5, 1)), (unit(5, 1), unit(0, 0))):
        assert QueryBank(QueryBank.pack(bank)).fitting(pictures).hubs(things).tolist() == [0, 0, 0]
    assert len(QueryBank(QueryBank.pack(unit(2, 0))).fitting(unit(5, 1)).weights) == 2
    assert pictures_as_queries(unit(0, 0), things[0]).hubs(things).tolist() == [0, 0, 0]
    assert QueryBank(QueryBank.pack(unit(4, 0))).fitting(unit(5, 1)).hubs(things[:0]).shape == (0,)


def test_the_picture_that_asks_is_no_query_beside_itself() -> None:
    pictures = unit(6, 0)
    found = pictures_as_queries(pictures, pictures[2])
    np.testing.assert_array_equal(found.embeddings, np.delete(pictures, 2, axis=0))
    np.testing.assert_allclose(found.weights, 0.2)
    assert len(pictures_as_queries(pictures, unit(1, 9)[0]).weights) == 6
    assert pictures_as_queries(pictures[2:3], pictures[2]).hubs(pictures).tolist() == [0] * 6


@given(st.integers(0, 500), st.integers(1, 300))
def test_places_are_spread_evenly_with_both_ends(count: int, most: int) -> None:
    found = spread(count, most)
    assert len(found) == min(count, most) and (np.diff(found) > 0).all()
    if count:
        assert found[0] == 0 and (most == 1 or found[-1] == count - 1)
        assert np.ptp(np.diff(found)) <= 1 if len(found) > 2 else True
