"""Choosing how much of an index to search, and the samples it is chosen by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.sampling import Sampler, mixed
from mmsearch.vectors.tuning import TARGETS, Trial, tune
from tests.vectors.worlds import clustered, recall

DIM = 16


def trial_over(vectors: np.ndarray, batches: int) -> Trial:
    trial = Trial(np.arange(20), vectors[:20], vectors)
    for part in np.array_split(np.arange(len(vectors)), batches):
        trial.offer(part, vectors[part])
    return trial


def test_exact_search_has_full_recall_and_an_empty_answer_has_none() -> None:
    vectors = clustered(500, DIM)
    oracle = ExactIndex(DIM)
    oracle.add(np.arange(500), vectors)
    trial = trial_over(vectors, 4)
    for name, queries in trial.queries.items():
        assert queries.shape == (20, DIM)
        assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
        assert trial.recall(name, oracle.search(queries, 11)[0]) == 1
        assert trial.recall(name, np.full((20, 11), -1)) == 0
    # A near query finds itself, which does not count: nine of its ten hits do.
    assert trial.recall("near", oracle.search(trial.queries["near"], 10)[0]) == pytest.approx(0.9)


def test_far_queries_lie_farther_away_than_near_ones() -> None:
    vectors = clustered(2000, DIM)
    trial = trial_over(vectors, 1)
    oracle = ExactIndex(DIM)
    oracle.add(np.arange(20, 2000), vectors[20:])
    near, far = (oracle.search(trial.queries[name], 1)[1].mean() for name in ("near", "far"))
    assert far < near


def test_the_least_effort_that_reaches_the_targets_is_chosen() -> None:
    vectors = clustered(300, DIM)
    trial = trial_over(vectors, 2)
    oracle = ExactIndex(DIM)
    oracle.add(np.arange(300), vectors)
    asked = []

    def search(queries: np.ndarray, effort: int) -> np.ndarray:
        asked.append(effort)
        return oracle.search(queries, 11)[0][:, :effort]

    effort, measured = tune(trial, range(1, 12), search)
    assert effort in (10, 11)
    assert all(value >= TARGETS[name] for name, value in measured)
    assert len(set(asked)) <= 5
    effort, measured = tune(trial, [1, 2, 3], search)
    assert effort == 3
    assert dict(measured)["near"] < TARGETS["near"]


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 100), st.integers(0, 5), st.integers(1, 7))
def test_a_sample_does_not_depend_on_batches_or_order(count: int, size: int, seed: int, batches: int) -> None:
    ids, vectors = np.arange(count) * 3, np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    whole = Sampler(4, size, seed)
    whole.offer(ids, vectors)
    order = np.random.default_rng(seed).permutation(count)
    parts = Sampler(4, size, seed).offer_all((ids[part], vectors[part]) for part in np.array_split(order, batches))
    assert np.array_equal(whole.taken()[0], parts.taken()[0])
    assert np.array_equal(whole.taken()[1], parts.taken()[1])
    assert len(whole.taken()[0]) == min(count, size)
    smaller = Sampler(4, max(1, size // 2), seed)
    smaller.offer(ids, vectors)
    assert np.isin(smaller.taken()[0], whole.taken()[0]).all()


def test_mixed_numbers_are_even_and_differ_by_seed() -> None:
    numbers = mixed(np.arange(100_000)).astype(np.float64) / 2**64
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs((numbers < 0.1).mean() - 0.1) < 0.01
    assert len(np.unique(mixed(np.arange(100_000)))) == 100_000
    assert recall(mixed(np.arange(100), 1)[None], mixed(np.arange(100), 2)[None]) < 0.1
