"""How much of everything a picture or a text is close to, whatever is asked: what a reranker takes off its score.

In a space of embeddings some things are near to nearly all queries (hubs; Radovanović et al. 2010) and push aside what
a query is really about. How near a thing is to queries as they may come, on a soft maximum,

    hub(x) = log(sum_q w_q exp(s q . x)) / s,    s = 20,

is learned from a bank of them (querybank normalisation, Bogolin et al. 2022, arXiv 2112.12777; inverted softmax, Smith
et al. 2017, arXiv 1702.03859). Queries that nobody would put to a library say nothing of it, and a bank of another
domain does harm. So of a large bank of sentences those count that the library's own pictures are closest to. Where a
picture asks for texts, the bank is the library's pictures themselves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Queries", "QueryBank", "pictures_as_queries", "spread"]

_SCALE = 20.0
_PICTURES = 256
_SENTENCES_OF_A_PICTURE = 4
_SAME = 0.999  # cosine from which a picture is the one that asks


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Queries as they may come.

    Attributes:
        embeddings: (q, dim), rows L2-normalised.
        weights: (q,) how often each may come, summing to 1.
    """

    embeddings: NDArray[np.float32]
    weights: NDArray[np.float32]

    def hubs(self, things: NDArray[np.float32]) -> NDArray[np.float64]:
        """How near each of n things (n, dim) is to them: (n,), a cosine in size; 0 for all where there are none."""
        if not len(self.embeddings):
            return np.zeros(len(things))
        powers = np.exp(_SCALE * (things @ self.embeddings.T).astype(np.float64))  # (n, q)
        return np.asarray(np.log(powers @ self.weights) / _SCALE)


class QueryBank:
    """Sentences, of which those are taken that fit a library.

    Args:
        sentences: (n, dim) int8: embeddings, L2-normalised, times 127.
    """

    def __init__(self, sentences: NDArray[np.int8]) -> None:
        rows = np.asarray(sentences, np.float32)
        self._sentences = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        self._fitting: tuple[bytes, Queries] | None = None

    @staticmethod
    def pack(embeddings: NDArray[np.float32]) -> NDArray[np.int8]:
        """(n, dim) L2-normalised -> what a bank is made of."""
        return np.rint(embeddings * 127).astype(np.int8)

    def fitting(self, pictures: NDArray[np.float32]) -> Queries:
        """The sentences that pictures (n, dim) of a library are closest to; the last answer is remembered."""
        some = np.ascontiguousarray(pictures[spread(len(pictures), _PICTURES)], np.float32)
        key = hashlib.blake2b(some.tobytes(), digest_size=16).digest()
        if self._fitting is None or self._fitting[0] != key:
            self._fitting = key, self._nearest(some)
        return self._fitting[1]

    def _nearest(self, pictures: NDArray[np.float32]) -> Queries:
        count = min(_SENTENCES_OF_A_PICTURE, len(self._sentences))
        if not len(pictures) or not count:
            return Queries(self._sentences[:0], np.zeros(0, np.float32))
        near = pictures @ self._sentences.T  # (pictures, sentences)
        best = np.argpartition(-near, count - 1, axis=1)[:, :count]
        # np.unique would import NumPy's masked arrays, which a cold query need not pay for.
        counted = np.bincount(best.ravel(), minlength=len(self._sentences))
        chosen = np.flatnonzero(counted)
        times = counted[chosen]
        return Queries(self._sentences[chosen], (times / times.sum()).astype(np.float32))


def pictures_as_queries(pictures: NDArray[np.float32], asking: NDArray[np.float32]) -> Queries:
    """Pictures (n, dim) of a library as queries for texts, without the one that asks (dim,)."""
    others = pictures[pictures @ asking < _SAME]
    return Queries(others, np.full(len(others), 1 / max(1, len(others)), np.float32))


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of `count` places, evenly spread."""
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)
