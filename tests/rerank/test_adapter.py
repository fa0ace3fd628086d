"""Patches become tokens: fewer places by means, and numbers by one small network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.rerank.adapter import Adapter, pooled, side_of
from mmsearch.types import PatchFormat
from tests.rerank.random_reranker import Measures, adapter_arrays

grids = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)).map(
    lambda sides: ((max(sides[:2]), max(sides[2:])), (min(sides[:2]), min(sides[2:])))
)
MEASURES = Measures(grid=(6, 5), wanted=(3, 2))


def patches(count: int, grid: tuple[int, int], width: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, grid[0] * grid[1], width)).astype(np.float32)


@given(grids, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_each_place_is_the_mean_of_those_that_it_overlaps(
    sides: tuple[tuple[int, int], tuple[int, int]], count: int
) -> None:
    (rows, columns), (fewer_rows, fewer_columns) = grid, wanted = sides
    there = patches(count, grid)
    found = pooled(there, grid, wanted)
    assert found.shape == (count, fewer_rows * fewer_columns, 3)
    square = there.reshape(count, rows, columns, 3)
    for row in range(fewer_rows):
        for column in range(fewer_columns):
            top, bottom = row * rows // fewer_rows, -(-(row + 1) * rows // fewer_rows)
            left, right = column * columns // fewer_columns, -(-(column + 1) * columns // fewer_columns)
            expected = square[:, top:bottom, left:right].mean(axis=(1, 2))
            np.testing.assert_allclose(found[:, row * fewer_columns + column], expected, atol=1e-5)


@pytest.mark.full
@given(grids)
@settings(max_examples=40, deadline=None)
def test_it_is_torchs_adaptive_pooling(sides: tuple[tuple[int, int], tuple[int, int]]) -> None:
    torch = pytest.importorskip("torch")
    grid, wanted = sides
    there = patches(2, grid)
    square = torch.from_numpy(there).reshape(2, *grid, 3).permute(0, 3, 1, 2)
    expected = torch.nn.functional.adaptive_avg_pool2d(square, wanted).flatten(2).transpose(1, 2)
    np.testing.assert_allclose(pooled(there, grid, wanted), expected.numpy(), atol=1e-5)


def test_a_grid_that_is_small_enough_stays_as_it_is() -> None:
    there = patches(2, (4, 3))
    assert pooled(there, (4, 3), (4, 3)) is there
    assert side_of(PatchFormat(4, 9, 3), 7) == (4, 7)


@pytest.mark.full
def test_its_tokens_are_those_of_the_network_that_learns() -> None:
    torch = pytest.importorskip("torch")
    from mmsearch.rerank.cross_attention import TOKEN_STEP
    from mmsearch.training.fusion_network import Adapter as Learning
    from mmsearch.training.fusion_network import FusionShape

    arrays = adapter_arrays(MEASURES, np.random.default_rng(3))
    shape = FusionShape(3, count=6, dim=16, hidden=12)
    learned = Learning(shape, torch.zeros(3), torch.ones(3)).eval()
    learned.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    there = patches(40, MEASURES.grid)
    with torch.inference_mode():
        exact = learned(torch.from_numpy(pooled(there, MEASURES.grid, MEASURES.wanted))).numpy() / TOKEN_STEP
    found = Adapter(arrays, MEASURES.grid, MEASURES.wanted).tokens(there)
    assert found.dtype == np.int8 and found.shape == (40, 6, 16)
    assert np.abs(found - exact.clip(-127, 127)).max() <= 0.501


def test_the_tokens_of_a_picture_do_not_depend_on_the_others() -> None:
    adapter = Adapter(adapter_arrays(MEASURES, np.random.default_rng(0)), MEASURES.grid, MEASURES.wanted)
    there = patches(70, MEASURES.grid)
    found = adapter.tokens(there)
    alone = np.concatenate([adapter.tokens(there[at : at + 1]) for at in range(70)])
    assert np.abs(found.astype(int) - alone).max() <= 1 and (found != alone).mean() < 0.001
    assert adapter.tokens(there[:0]).shape == (0, 6, 16)
    places = pooled(there, MEASURES.grid, MEASURES.wanted)
    assert np.array_equal(adapter.tokens_of_places(places[:32]), found[:32])


def test_numbers_beyond_what_a_byte_holds_are_cut() -> None:
    arrays = adapter_arrays(MEASURES, np.random.default_rng(0))
    arrays["last.weight"] *= 100
    found = Adapter(arrays, MEASURES.grid, MEASURES.wanted).tokens(patches(3, MEASURES.grid))
    assert (found.min(), found.max()) == (-127, 127)


def test_weights_that_lack_or_do_not_belong_together_are_told() -> None:
    arrays = adapter_arrays(MEASURES, np.random.default_rng(0))
    with pytest.raises(KeyError):
        Adapter({name: array for name, array in arrays.items() if name != "spread"}, (6, 5), (3, 2))
    with pytest.raises(ValueError, match="mean"):
        Adapter(arrays | {"mean": arrays["mean"][:1]}, (6, 5), (3, 2))
