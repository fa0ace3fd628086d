"""What an image tower yields of each place of a picture -> the tokens that are stored of it, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.rerank.cross_attention import TOKEN_STEP, gelu, layer_norm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.types import PatchFormat

__all__ = ["Adapter", "pooled", "side_of"]

_AT_ONCE = 8


def side_of(patches: PatchFormat, most: int) -> tuple[int, int]:
    """Rows and columns of the tokens of a picture: those of its patches, or `most` each where there are more."""
    return min(patches.rows, most), min(patches.columns, most)


def pooled(patches: NDArray[np.float32], grid: tuple[int, int], wanted: tuple[int, int]) -> NDArray[np.float32]:
    """Bring a grid of patches to fewer places, each the mean of those that it overlaps.

    Args:
        patches: (n, rows * columns, width), row by row.
        grid: Rows and columns there are.
        wanted: Rows and columns to come to, at most as many.

    Returns:
        (n, rows * columns, width) of the new grid.
    """
    if grid == wanted:
        return patches
    n, _, width = patches.shape
    columns = _means(grid[1], wanted[1]) @ patches.reshape(n * grid[0], grid[1], width)
    both = _means(grid[0], wanted[0]) @ columns.reshape(n, grid[0], wanted[1] * width)
    return np.ascontiguousarray(both.reshape(n, wanted[0] * wanted[1], width))


def _means(there: int, wanted: int) -> NDArray[np.float32]:
    """(wanted, there): row i is the mean from place floor(i * there / wanted) to ceil((i + 1) * there / wanted)."""
    matrix = np.zeros((wanted, there), np.float32)
    for place in range(wanted):
        first, last = place * there // wanted, -(-(place + 1) * there // wanted)
        matrix[place, first:last] = 1 / (last - first)
    return matrix


class Adapter:
    """Compresses patches: a linear layer, one inner layer beside it, normalised, and rounded to int8.

    Args:
        arrays: Its weights, by the names of `mmsearch.training.fusion_network.Adapter`.
        grid: Rows and columns of the patches.
        wanted: Rows and columns of the tokens.

    Raises:
        KeyError: Some weights are lacking.
        ValueError: They do not belong together.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], grid: tuple[int, int], wanted: tuple[int, int]) -> None:
        held = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        (dim, width), (hidden, _) = held["enter.weight"].shape, held["up.weight"].shape
        for name, shape in _shapes(dim, width, hidden).items():
            if held[name].shape != shape:
                raise ValueError(f"{name} measures {held[name].shape}")
        self._arrays, self._grid, self._wanted = held, grid, wanted
        # The patches' normalisation is folded into the first layer.
        self._enter: NDArray[np.float32] = held["enter.weight"] / held["spread"]
        self._shift: NDArray[np.float32] = held["enter.bias"] - self._enter @ held["mean"]
        self.width, self.dim = width, dim
        self._threads = ThreadPoolExecutor(processors(), "mmsearch-tokens") if processors() > 1 else None

    def tokens(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """(n, places, width) -> (n, count, dim)."""
        starts = range(0, len(patches), _AT_ONCE)
        # Each thread has pictures of its own, few enough to stay in its cache.
        run = self._threads.map if self._threads is not None and len(starts) > 1 else map
        parts = list(run(lambda start: self._tokens(patches[start : start + _AT_ONCE]), starts))
        count = self._wanted[0] * self._wanted[1]
        return np.concatenate(parts) if parts else np.zeros((0, count, self.dim), np.int8)

    def _tokens(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        return self.tokens_of_places(pooled(np.asarray(patches, np.float32), self._grid, self._wanted))

    def tokens_of_places(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """(n, count, width) patches of as many places as there are tokens -> (n, count, dim)."""
        held = self._arrays
        x: NDArray[np.float32] = patches.reshape(-1, self.width) @ self._enter.T
        x += self._shift
        inner = layer_norm(x, held["norm.weight"], held["norm.bias"]) @ held["up.weight"].T
        inner += held["up.bias"]
        x += gelu(inner) @ held["down.weight"].T
        x += held["down.bias"]
        steps = layer_norm(x, held["last.weight"], held["last.bias"])
        steps /= TOKEN_STEP
        np.rint(steps, out=steps)
        rounded = np.clip(steps, -127, 127, out=steps).astype(np.int8)
        return rounded.reshape(len(patches), -1, self.dim)


def _shapes(dim: int, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of its weights."""
    parts = {"enter": (dim, width), "up": (hidden, dim), "down": (dim, hidden), "norm": (dim,), "last": (dim,)}
    shapes: dict[str, tuple[int, ...]] = {"mean": (width,), "spread": (width,)}
    for name, shape in parts.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes
