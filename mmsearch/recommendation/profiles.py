"""Weighed histories -> profiles: several interests for each user, turned away from what the user dislikes.

Interests are the centroids of a spherical k-means over the liked items (Dhillon and Modha 2001), as PinnerSage has
several for each user (Pal et al. 2020, arXiv 2007.03634): the mean of shoes and cakes is neither. Dislikes move them
away, as Rocchio's feedback does (1971). All of it is deterministic, and what a user gets does not depend on the others:
users with as many items are worked on together, by matrix products of the same shape for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.recommendation.histories import Weighed
    from mmsearch.recommendation.table import Items

__all__ = ["Profiles", "profiles"]

_ROUNDS = 10
# Bytes of vectors that are worked on at a time.
_HELD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """The interests of m users.

    Attributes:
        user: (q,) whose interest each is, ascending.
        vectors: (q, dim) float32, L2-normalised.
        shares: (q,) how much of the user's liking each stands for; those of a user sum to 1.
    """

    user: NDArray[np.int64]
    vectors: NDArray[np.float32]
    shares: NDArray[np.float64]


def profiles(weighed: Weighed, items: Items, interests: int, away: float) -> Profiles:
    """Make the profiles of all users that like something.

    Args:
        weighed: Their histories.
        items: What `weighed.rows` are rows of.
        interests: How many a user has at most.
        away: How far dislikes move interests: their mean direction counts so much beside the interest itself.
    """
    dim = items.halves.shape[1]
    liked = np.flatnonzero(weighed.weights > 0)
    users, starts, counts = np.unique(weighed.user[liked], return_index=True, return_counts=True)
    owners, vectors, shares = [np.empty(0, np.int64)], [np.empty((0, dim), np.float32)], [np.empty(0)]
    for count in np.unique(counts).tolist():
        chosen = np.flatnonzero(counts == count)
        step = max(1, _HELD_BYTES // (4 * dim * count))
        for low in range(0, len(chosen), step):
            some = chosen[low : low + step]
            places = liked[starts[some][:, None] + np.arange(count)]  # (u, n)
            x = items.vectors(weighed.rows[places])  # (u, n, dim)
            w = weighed.weights[places]
            w /= w.sum(axis=1, keepdims=True)
            centroids, parts = _clustered(x, w.astype(np.float32), min(interests, count))
            kept = parts > 0
            owners.append(np.repeat(users[some], kept.sum(axis=1)))
            vectors.append(centroids[kept])
            shares.append(parts[kept])
    user, found = np.concatenate(owners), np.concatenate(vectors)
    order = np.argsort(user, kind="stable")
    user, found = user[order], found[order]
    found = _turned(found, user, weighed, items, away)
    return Profiles(user, found, np.concatenate(shares)[order])


def _clustered(
    x: NDArray[np.float32], w: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Spherical k-means of each user's items: (u, n, dim), (u, n) -> centroids (u, c, dim), shares (u, c)."""
    u, n, _ = x.shape
    everyone = np.arange(u)
    # Farthest first: the item nearest to the mean, then what is least like those chosen, by its weight.
    mean = np.matmul(w[:, None], x)  # (u, 1, dim)
    chosen = [np.argmax(np.matmul(x, mean.transpose(0, 2, 1))[:, :, 0], axis=1)]
    nearest = np.full((u, n), -np.inf, np.float32)
    for _ in range(1, count):
        last = x[everyone, chosen[-1]][:, :, None]  # (u, dim, 1)
        nearest = np.maximum(nearest, np.matmul(x, last)[:, :, 0])
        chosen.append(np.argmax(w * (1 - nearest), axis=1))
    centroids = x[everyone[:, None], np.stack(chosen, axis=1)]  # (u, c, dim)
    before = None
    for _ in range(_ROUNDS):
        own = np.argmax(np.matmul(x, centroids.transpose(0, 2, 1)), axis=2)  # (u, n)
        part = (own[:, None] == np.arange(count)[:, None]) * w[:, None]  # (u, c, n)
        sums = np.matmul(part, x)
        lengths = np.linalg.norm(sums, axis=2, keepdims=True)
        # Users whose interests stand still are not moved by rounds that others need.
        centroids = np.where(lengths > 1e-6, sums / np.maximum(lengths, np.float32(1e-6)), centroids)
        if before is not None and np.array_equal(own, before):
            break
        before = own
    return centroids, part.sum(axis=2, dtype=np.float64)


def _turned(
    vectors: NDArray[np.float32], user: NDArray[np.int64], weighed: Weighed, items: Items, away: float
) -> NDArray[np.float32]:
    """Interests (q, dim) less what their users dislike."""
    disliked = np.flatnonzero(weighed.weights < 0)
    if len(disliked) == 0 or away == 0 or len(vectors) == 0:
        return vectors
    users, starts = np.unique(weighed.user[disliked], return_index=True)
    weighted = items.vectors(weighed.rows[disliked]) * -weighed.weights[disliked, None].astype(np.float32)
    sums = np.add.reduceat(weighted, starts, axis=0)
    sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
    places = np.searchsorted(users, user)
    places[places == len(users)] = 0
    theirs = users[places] == user
    turned = vectors.copy()
    turned[theirs] -= np.float32(away) * sums[places[theirs]]
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    return np.where(theirs[:, None] & (lengths > 1e-6), turned / np.maximum(lengths, np.float32(1e-6)), vectors)
