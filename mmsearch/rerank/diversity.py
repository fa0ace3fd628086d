"""Relevance and embeddings of hits -> an order that repeats itself less, and which of them show the same picture.

Diversity is maximal marginal relevance (Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking"): of
those not chosen yet, the next is the one with the highest

    (1 - strength) * relevance - strength * (its highest cosine with any that was chosen)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIVERSITY", "check_strength", "leaders", "mmr", "near_duplicate_cosine"]

DIVERSITY = 0.5
"""How much diversity counts where nobody says; benchmarks/diversity.py tells what it costs."""

# Cosine of the image embeddings from which two pictures are near-duplicates, by benchmarks/near_duplicates.py: at 0.95
# `mini` finds 78 % of the copies of Flickr8k's photos and 86 % of those of COCO's, and takes none and two of half a
# million pairs of different photos for copies.
_MEASURED = {"mini": 0.95}
# For an encoder that nobody measured: further from what unrelated pictures have than any measured one needs.
_UNMEASURED = 0.97


def near_duplicate_cosine(encoder_id: str) -> float:
    """The cosine of two image embeddings of an encoder from which the pictures are near-duplicates."""
    return _MEASURED.get(encoder_id, _UNMEASURED)


def check_strength(strength: float) -> None:
    """See that a strength of diversity can be used.

    Raises:
        UsageError: It is not between 0 and 1.
    """
    if not 0 <= strength <= 1:
        raise UsageError(f"Diversity is between 0 and 1, not {strength:g}.", hint=f"Leave it out for {DIVERSITY:g}.")


def mmr(
    relevance: NDArray[np.floating],
    vectors: NDArray[np.float32],
    k: int | None = None,
    *,
    strength: float = DIVERSITY,
    kinds: NDArray[np.int64] | None = None,
    before: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None,
) -> NDArray[np.int64]:
    """Choose k of n things one after the other, relevant ones that are unlike those chosen already.

    Args:
        relevance: (n,) of each; of equal ones the earlier is chosen first.
        vectors: (n, dim) embeddings, L2-normalised; zeros for a thing that is like no other.
        k: How many; all when None.
        strength: 0 for the order of relevance alone, 1 for diversity alone.
        kinds: (n,) numbers; things of different kinds are not compared, since their cosines lie on other scales.
        before: Vectors (m, dim) and kinds (m,) of what was chosen before these came.

    Returns:
        (min(k, n),) rows in the order in which they were chosen.

    Raises:
        UsageError: The strength is not between 0 and 1.
    """
    check_strength(strength)
    n = len(relevance)
    kinds = np.zeros(n, np.int64) if kinds is None else kinds
    gain = (1.0 - strength) * np.asarray(relevance, np.float64)  # (n,)
    nearest = np.full(n, -1.0)  # highest cosine with a chosen one, (n,); at the start the same for all
    if before is not None and len(before[0]):
        cosines = np.where(kinds[:, None] == before[1][None], vectors @ before[0].T, 0.0)  # (n, m)
        nearest = cosines.max(axis=1).astype(np.float64)
    order = np.empty(n if k is None else min(k, n), np.int64)
    left = np.ones(n, bool)
    for place in range(len(order)):
        row = int(np.argmax(np.where(left, gain - strength * nearest, -np.inf)))
        order[place], left[row] = row, False
        nearest = np.maximum(nearest, np.where(kinds == kinds[row], vectors @ vectors[row], 0.0))
    return order


def leaders(vectors: NDArray[np.float32], cosine: float) -> NDArray[np.int64]:
    """For each of n things in their order the first one that it is close to, or itself.

    A thing follows only one that leads, so that a chain of small steps does not join what is far apart; whom it follows
    depends on those before it alone. 100,000 things take seconds, and little memory beside their vectors.

    Args:
        vectors: (n, dim) embeddings, L2-normalised; zeros for a thing that is close to no other.
        cosine: From which two are close.

    Returns:
        (n,) row of the leader of each; a leader has its own.
    """
    n = len(vectors)
    found = np.arange(n)
    leading: NDArray[np.int64] = np.empty(0, np.int64)
    sketches = _sketches(vectors) if n > _ROWS else vectors
    for start in range(0, n, _ROWS):
        rows = np.arange(start, min(n, start + _ROWS))
        for first in range(0, len(leading), _COLUMNS):
            left = rows[found[rows] == rows]
            heads = leading[first : first + _COLUMNS]
            row, head = _close(vectors, sketches, left, heads, cosine)
            # They come row by row, so the first of each row is the first leader.
            firsts = np.flatnonzero(np.diff(row, prepend=-1))
            found[left[row[firsts]]] = heads[head[firsts]]
        left = rows[found[rows] == rows]
        near = vectors[left] @ vectors[left].T >= cosine  # (rows, rows)
        free = np.ones(len(left), bool)
        for place in range(len(left)):
            if free[place]:
                near[place, : place + 1] = False
                followers = near[place] & free
                found[left[followers]] = left[place]
                free &= ~followers
        leading = np.concatenate([leading, left[free]])
    return found


# Things that are compared at once: (rows, columns) cosines.
_ROWS, _COLUMNS = 1024, 8192
# Directions in which things differ most; the rest of a vector is known by its length alone.
_DIRECTIONS = 31
# Sketches are not worth it where more than this share of the pairs has to be looked at.
_MANY = 0.02
_ROUNDING = 1e-4


def _close(
    vectors: NDArray[np.float32],
    sketches: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    cosine: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in `rows` and `columns` of the pairs that are close, row by row."""
    row, column = np.nonzero(sketches[rows] @ sketches[columns].T >= cosine - _ROUNDING)
    if len(row) > _MANY * len(rows) * len(columns):
        row, column = np.nonzero(vectors[rows] @ vectors[columns].T >= cosine)
        return row, column
    exact = np.einsum("nd,nd->n", vectors[rows[row]], vectors[columns[column]]) >= cosine
    return row[exact], column[exact]


def _sketches(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Short vectors (n, directions + 1) whose products are never below the cosines of the (n, dim) vectors.

    They hold a vector's part in the directions in which a sample varies most, and the length of the rest, since by
    Cauchy and Schwarz the product of two rests is at most that of their lengths.
    """
    sample = vectors[:: max(1, len(vectors) // 4096)]
    _, directions = np.linalg.eigh(sample.T @ sample)  # ascending
    part = vectors @ directions[:, -_DIRECTIONS:]  # (n, dim) -> (n, directions)
    rest = np.sqrt(np.maximum(np.einsum("nd,nd->n", vectors, vectors) - np.einsum("nd,nd->n", part, part), 0.0))
    return np.concatenate([part, rest[:, None]], axis=1, dtype=np.float32)
