"""Compressed vectors of inverted lists, scored without decompressing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

__all__ = ["Codes", "ProductCodes", "ScalarCodes"]


class Codes(Protocol):
    """How the residuals (vector minus the centroid of its list) are written as bytes."""

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector."""

    def arrays(self) -> Mapping[str, NDArray[np.float32]]:
        """What must be saved to read the codes again."""

    def scorer(self, query: NDArray[np.float32]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """A function from codes (n, code_bytes) to the inner products (n,) of a query (dim,) with the residuals."""

    def weights(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights (m, any) of queries (m, dim), and constants (m,).

        The inner product of a query with a residual is that of its weights with the `widened` code, plus its constant.
        """

    def widened(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Codes (n, code_bytes) as numbers (n, any) that weights are multiplied with."""

    def error(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """The standard error (m,) of a code's inner product with queries (m, dim); inf where it is not known."""


class ScalarCodes:
    """One byte for each dimension: ``low + (code + 0.5) / 255 * span``, as FAISS's 8-bit scalar quantizer has it."""

    def __init__(self, low: NDArray[np.float32], span: NDArray[np.float32]) -> None:
        self._low = low
        self._span = span

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector: its dimension."""
        return len(self._low)

    def arrays(self) -> Mapping[str, NDArray[np.float32]]:
        """The range of each dimension, (2, dim)."""
        return {"ranges": np.stack([self._low, self._span])}

    def scorer(self, query: NDArray[np.float32]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """See `Codes.scorer`."""
        weights = query * self._span / np.float32(255)
        constant = np.float32(query @ self._low + weights.sum() / 2)
        space = np.empty((512, self.code_bytes), dtype=np.float32)

        def score(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
            scores = np.empty(len(codes), dtype=np.float32)
            for low in range(0, len(codes), len(space)):
                part = codes[low : low + len(space)]
                wide = space[: len(part)]
                np.copyto(wide, part)
                np.matmul(wide, weights, out=scores[low : low + len(part)])
            scores += constant
            return scores

        return score

    def weights(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Codes.weights`."""
        weights = queries * self._span / np.float32(255)
        return weights, queries @ self._low + weights.sum(axis=1) / 2

    def widened(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Codes.widened`: (n, dim)."""
        return codes.astype(np.float32)

    def error(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Codes.error`: rounding spreads evenly over a step of each dimension."""
        step = self._span / np.float32(255)
        return np.asarray(np.sqrt(np.square(queries * step).sum(axis=1) / np.float32(12)))


class ProductCodes:
    """One byte for each of M parts of a vector: the nearest of 256 centroids (Jégou et al., TPAMI 2011)."""

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        self._centroids = centroids  # (M, 256, dim / M)

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector: the number of parts."""
        return len(self._centroids)

    def arrays(self) -> Mapping[str, NDArray[np.float32]]:
        """The centroids of the parts, (M, 256, dim / M)."""
        return {"parts": self._centroids}

    def scorer(self, query: NDArray[np.float32]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
        """See `Codes.scorer`; a table of all partial products is looked up."""
        parts, entries, length = self._centroids.shape
        table = np.matmul(self._centroids, query.reshape(parts, length, 1)).ravel()  # (M * 256,)
        first = np.arange(parts, dtype=np.int32) * entries

        def score(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.asarray(table[codes + first].sum(axis=1, dtype=np.float32))

        return score

    def weights(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `Codes.weights`."""
        return queries, np.zeros(len(queries), dtype=np.float32)

    def widened(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Codes.widened`: (n, dim)."""
        parts = np.arange(len(self._centroids))
        return np.asarray(self._centroids[parts, codes].reshape(len(codes), -1))

    def error(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Codes.error`."""
        return np.full(len(queries), np.inf, dtype=np.float32)
