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

DIVERSITY = 0.3
"""How much diversity counts where nobody says."""

# Cosine of the image embeddings from which two pictures are near-duplicates, by benchmarks/near_duplicates.py.
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
    depends on those before it alone.

    Args:
        vectors: (n, dim) embeddings, L2-normalised; zeros for a thing that is close to no other.
        cosine: From which two are close.

    Returns:
        (n,) row of the leader of each; a leader has its own.
    """
    n = len(vectors)
    found = np.arange(n)
    leading: list[int] = []
    heads = np.empty_like(vectors)  # those of `leading` in its first rows
    for row in range(n):
        if leading:
            near = np.flatnonzero(heads[: len(leading)] @ vectors[row] >= cosine)
            if near.size:
                found[row] = leading[near[0]]
                continue
        heads[len(leading)] = vectors[row]
        leading.append(row)
    return found
