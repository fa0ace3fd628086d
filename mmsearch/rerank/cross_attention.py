"""Words and the tokens of pictures go in, log-odds that they belong together come out: the fusion model, in NumPy.

Each word w looks at the places of the picture through several heads of cross-attention (Vaswani et al. 2017, arXiv
1706.03762, equation 1),

    a_w = softmax(Q(w) K(tokens)^T / sqrt(d)) V(tokens),

and what it finds is compared with it, x_w = gelu(M1 (a_w * U(w)) + M2 a_w), a second time with a query that knows what
the first look found. The words' x are pooled by their weight in the sentence into the fused view h_v; the mean of the
tokens and of the words, multiplied, make the global view h_t; a gate mixes the two,

    z = sigmoid(W [h_v; h_t] + b),    h = z * h_v + (1 - z) * h_t,

and one linear layer makes the image-text matching logit of h. What the dual encoder knew, as calibrated log-odds,
enters last, in a weighted sum of both, so that reranking never throws it away.

K(tokens) and V(tokens) are never computed: their matrices are folded into the few words of the query (Q K^T = Q (W t)^T
= (Q W) t^T), which costs a tenth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

__all__ = ["TOKEN_STEP", "CrossAttention", "Looks", "gelu", "layer_norm"]

TOKEN_STEP = np.float32(4.0 / 127.0)
"""What one step of a stored token is worth: tokens are normalised, and what lies beyond 4 deviations is cut."""

_EPSILON = 1e-5
_AT_ONCE = 128


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Where the words of a sentence looked.

    Attributes:
        attention: (layers, heads, words, places) shares that sum to 1 over the places.
        weights: (words,) how much each counts in the sentence, summing to 1.
    """

    attention: Array
    weights: Array


class CrossAttention:
    """The fusion model over int8 tokens.

    Args:
        arrays: Its weights, by the names of `mmsearch.training.fusion_network.FusionNetwork`.
        heads: Of each layer of cross-attention.
        layers: Of cross-attention; with 0 every word finds the mean of all tokens, which is there to be compared with.

    Raises:
        KeyError: Some weights are lacking.
        ValueError: They do not belong together.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], heads: int, layers: int) -> None:
        self._arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        self._heads = heads
        self.layers = layers
        self.count, self.dim = self._arrays["places"].shape
        self._check()

    def logits(self, tokens: NDArray[np.int8], words: Array, owners: NDArray[np.int64]) -> Array:
        """Image-text matching logits of sentences and pictures, all with all.

        Args:
            tokens: (n, count, dim) of n pictures.
            words: (w, width) states of the words of all sentences.
            owners: (w,) the sentence of each, ascending from 0; every sentence has a word.

        Returns:
            (sentences, n).
        """
        u, sums = self._words(words), self._pooling(words, owners)
        parts = [self._logits(tokens[start : start + _AT_ONCE], u, sums) for start in range(0, len(tokens), _AT_ONCE)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(sums[0]), 0), np.float32)

    def looks(self, tokens: NDArray[np.int8], words: Array) -> Looks:
        """Where the words of one sentence look in one picture, (count, dim)."""
        u, sums = self._words(words), self._pooling(words, np.zeros(len(words), np.int64))
        seen: list[Array] = []
        self._logits(tokens[None], u, sums, seen)
        return Looks(np.stack(seen), np.asarray(np.mean(sums, axis=0)[0]))

    def _logits(self, tokens: NDArray[np.int8], u: Array, sums: Array, seen: list[Array] | None = None) -> Array:
        t = tokens * TOKEN_STEP  # (n, count, dim)
        found = self._look("looks.0", self._linear(u, "looks.0.query"), t, seen)  # (n, w, dim)
        meant = self._linear(u, "looks.0.word")
        x = gelu(self._linear(found * meant, "looks.0.match") + self._linear(found, "looks.0.found"))  # (n, w, m)
        for layer in range(1, self.layers):
            name = f"looks.{layer}"
            asked = self._linear(layer_norm(x, *self._norm(f"{name}.norm")), f"{name}.again")
            found = self._look(name, asked + self._linear(u, f"{name}.query"), t, seen)
            x = x + gelu(self._linear(found * meant, f"{name}.match"))
        pooled = np.concatenate([part @ x for part in sums], axis=-1)  # (n, sentences, pools * m)
        fused = gelu(self._linear(layer_norm(pooled, *self._norm("pooled_norm")), "fused"))
        if "gate.weight" not in self._arrays:
            return np.asarray(self._linear(fused, "matching")[..., 0].T)
        pictures = self._linear(t.mean(axis=1), "pictures")  # (n, dim)
        sentences = self._linear(np.concatenate([part @ u for part in sums], axis=-1), "sentences")
        whole = gelu(self._linear(pictures[:, None] * sentences, "whole"))  # (n, sentences, m)
        z = self._linear(np.concatenate([fused, whole], axis=-1), "gate")
        gate = 0.5 + 0.5 * np.tanh(0.5 * z)  # the sigmoid, which does not overflow so
        mixed = gate * fused + (1 - gate) * whole
        return np.asarray(self._linear(mixed, "matching")[..., 0].T)

    def _check(self) -> None:
        """See that all weights are there and measure what the others ask for."""
        if self._heads < 1 or self.dim % self._heads or self.layers < 0:
            raise ValueError(f"{self.dim} numbers, {self._heads} heads, {self.layers} layers")
        matched, pools = len(self._arrays["looks.0.match.weight"]), len(self._arrays["weight.weight"])
        gate = "gate.weight" in self._arrays
        for name, out, into, bias in _parts(self.dim, matched, pools, max(1, self.layers), gate):
            weight = self._arrays[f"{name}.weight"]
            into = weight.shape[-1] if into is None else into  # the states of words are as wide as they are
            if weight.shape != ((out,) if into == 0 else (out, into)):
                raise ValueError(f"{name} measures {weight.shape}")
            if bias and self._arrays[f"{name}.bias"].shape != (out,):
                raise ValueError(f"{name} is biased by {self._arrays[f'{name}.bias'].shape}")

    def _words(self, words: Array) -> Array:
        """(w, width) states -> (w, dim)."""
        return layer_norm(self._linear(words, "words"), *self._norm("words_norm"))

    def _pooling(self, words: Array, owners: NDArray[np.int64]) -> Array:
        """(pools, sentences, w) weight of each word in its sentence."""
        weights = self._linear(self._words(words), "weight")  # (w, pools)
        sentences = np.arange(owners[-1] + 1)
        # Each sentence has a highest weight of its own: what it comes to does not depend on the others.
        weights -= np.maximum.reduceat(weights, np.searchsorted(owners, sentences))[owners]
        own = sentences[:, None] == owners  # (sentences, w)
        sums = np.where(own, np.exp(weights).T[:, None], 0.0)
        return np.asarray(sums / sums.sum(axis=-1, keepdims=True), np.float32)

    def _look(self, name: str, asked: Array, t: Array, seen: list[Array] | None) -> Array:
        """Cross-attention: queries (w, dim) or (n, w, dim) over tokens (n, count, dim) -> (n, w, dim)."""
        key, value = self._arrays[f"{name}.key.weight"], self._arrays[f"{name}.value.weight"]
        shift = self._arrays[f"{name}.value.bias"]
        size = self.dim // self._heads
        found: list[Array] = []
        looked: list[Array] = []
        placed = (t + self._arrays["places"]).swapaxes(-1, -2)  # (n, dim, count)
        for head in range(self._heads):
            own = slice(head * size, (head + 1) * size)
            folded = (asked[..., own] * np.float32(size**-0.5)) @ key[own]  # (..., w, dim)
            scores = folded @ placed if self.layers else np.zeros((len(t), asked.shape[-2], self.count), np.float32)
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            scores /= scores.sum(axis=-1, keepdims=True)
            found.append((scores @ t) @ value[own].T + shift[own])
            looked.append(scores[0])
        if seen is not None:
            seen.append(np.stack(looked))
        return np.concatenate(found, axis=-1)

    def _linear(self, x: Array, name: str) -> Array:
        weight = self._arrays[f"{name}.weight"]
        # One large product instead of many small ones.
        y = x.reshape(-1, x.shape[-1]) @ weight.T
        bias = self._arrays.get(f"{name}.bias")
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], len(weight))

    def _norm(self, name: str) -> tuple[Array, Array]:
        return self._arrays[f"{name}.weight"], self._arrays[f"{name}.bias"]


def _parts(dim: int, matched: int, pools: int, layers: int, gate: bool) -> Iterator[tuple[str, int, int | None, bool]]:
    """Name, outputs, inputs (0 for a norm, None for any) of each part, and whether it has a bias."""
    yield from (("words", dim, None, True), ("words_norm", dim, 0, True), ("weight", pools, dim, False))
    for layer in range(layers):
        look = f"looks.{layer}"
        yield from ((f"{look}.{name}", dim, dim, name != "key") for name in ("query", "key", "value"))
        yield f"{look}.match", matched, dim, True
        if layer == 0:
            yield from ((f"{look}.word", dim, dim, True), (f"{look}.found", matched, dim, False))
        else:
            yield from ((f"{look}.norm", matched, 0, True), (f"{look}.again", dim, matched, False))
    yield from (("pooled_norm", matched * pools, 0, True), ("fused", matched, matched * pools, True))
    if gate:
        yield from (("pictures", dim, dim, True), ("sentences", dim, dim * pools, True))
        yield from (("whole", matched, dim, True), ("gate", matched, 2 * matched, True))
    yield "matching", 1, matched, True


def layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    """Layer norm over the last axis (Ba et al. 2016, arXiv 1607.06450)."""
    y = x - x.mean(axis=-1, keepdims=True)
    squares = np.einsum("...i,...i->...", y, y)[..., None]
    y /= np.sqrt(squares / np.float32(x.shape[-1]) + np.float32(_EPSILON))
    y *= weight
    y += bias
    return np.asarray(y)


def gelu(x: Array) -> Array:
    """GELU in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415)."""
    y = x * x
    y *= np.float32(0.044715)
    y += np.float32(1.0)
    y *= x
    y *= np.float32(0.7978845608)
    np.tanh(y, out=y)
    y += np.float32(1.0)
    y *= x
    y *= np.float32(0.5)
    return y
