"""Profiles -> the best items of each user that the user has not seen: interests are searched, their finds blended.

An interest is a von Mises-Fisher component and a user the mixture of a few: an item scores the log of the largest
component that it has, times the temperature, which is the cosine plus `TEMPERATURE * log(share)`. So an interest that
holds a tenth of the history has to be nearer by 0.115 than one that holds all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.rerank.diversity import leaders, mmr
from mmsearch.vectors.hits import empty_hits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mmsearch.recommendation.profiles import Profiles
    from mmsearch.recommendation.table import Items

    # From queries (q, dim) and a depth to rows (q, depth), -1 where there are no more, and cosines.
    Search = Callable[[NDArray[np.float32], int], tuple[NDArray[np.int64], NDArray[np.float32]]]

__all__ = ["TEMPERATURE", "Taste", "recommended"]

TEMPERATURE = 0.05
"""How sharply interests are told apart."""

# Candidates that are looked at for each item that is wanted, where they are put into another order.
_POOL = 5
# What else is fetched beside k, for the seen items among the nearest.
_SPARE = 16
# Items with the highest priors that everyone gets as candidates.
_BEST_PRIORS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Taste:
    """How candidates become recommendations.

    Attributes:
        prior: (items,) scores 0 to 1 beside the user's taste, or None.
        prior_weight: What a prior of 1 adds to the cosine.
        diverse: Strength of MMR, 0 to 1, or None.
        fold_cosine: Cosine from which two items are near-duplicates, of which one is enough; None to keep all.
    """

    prior: NDArray[np.float32] | None = None
    prior_weight: float = 0.0
    diverse: float | None = None
    fold_cosine: float | None = None


def recommended(
    profiles: Profiles,
    users: int,
    seen: NDArray[np.int64],
    items: Items,
    search: Search,
    k: int,
    taste: Taste,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Choose k items for each user.

    Args:
        profiles: Their interests.
        users: m of them.
        seen: Sorted pairs (n,) of a user and a row, as ``user * len(items) + row``: what not to recommend.
        items: What rows are rows of.
        search: Finds the nearest items of interests.
        k: How many.
        taste: What else counts.

    Returns:
        Rows (m, k), -1 where a user has fewer, and scores (m, k), best first.
    """
    rows, scores = empty_hits(users, k)
    pool = k if taste.diverse is None and taste.fold_cosine is None else _POOL * k
    total = len(items.segments)
    depth = (pool + _SPARE) * max(1, -(-total // max(1, len(items))))
    open_ = np.arange(users)
    while len(open_):
        asked = np.flatnonzero(np.isin(profiles.user, open_))
        found, cosines = search(profiles.vectors[asked], max(1, min(depth, total))) if len(asked) else empty_hits(0, 1)
        owners, candidates, values = _blended(profiles, asked, found, cosines, taste, items)
        owners, candidates, values = _priors(profiles, open_, owners, candidates, values, taste, items)
        kept = ~_contains(seen, owners * len(items) + candidates)
        owners, candidates, values = _best_of_each(owners[kept], candidates[kept], values[kept], pool)
        counts = np.bincount(owners, minlength=users)
        if taste.diverse is None and taste.fold_cosine is None:
            place = _places(owners)
            rows[owners, place], scores[owners, place] = candidates, values
            owners = owners[:0]
        for user, begin, end in _runs(owners):
            some = _arranged(candidates[begin:end], values[begin:end], k, taste, items)
            counts[user] = len(some)
            rows[user, : len(some)] = candidates[begin:end][some]
            scores[user, : len(some)] = values[begin:end][some]
        # Seen items and duplicates took places: look deeper, as long as there is something left to find.
        more = np.unique(profiles.user[asked][found[:, -1] >= 0]) if depth < total else open_[:0]
        open_ = more[counts[more] < k]
        depth *= 4
    return rows, scores


def _blended(
    profiles: Profiles,
    asked: NDArray[np.int64],
    found: NDArray[np.int64],
    cosines: NDArray[np.float32],
    taste: Taste,
    items: Items,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Owners, rows and scores of what the interests `asked` have found."""
    bonus = (TEMPERATURE * np.log(profiles.shares[asked])).astype(np.float32)
    there = found >= 0
    owners = np.broadcast_to(profiles.user[asked][:, None], found.shape)[there]
    values = (cosines + bonus[:, None])[there]
    return owners, found[there], _with_prior(values, found[there], taste)


def _with_prior(values: NDArray[np.float32], rows: NDArray[np.int64], taste: Taste) -> NDArray[np.float32]:
    return values if taste.prior is None else values + np.float32(taste.prior_weight) * taste.prior[rows]


def _priors(
    profiles: Profiles,
    users: NDArray[np.int64],
    owners: NDArray[np.int64],
    candidates: NDArray[np.int64],
    values: NDArray[np.float32],
    taste: Taste,
    items: Items,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Add the items with the best priors: they may be far from an interest, and a new user has none."""
    if taste.prior is None:
        return owners, candidates, values
    best = np.lexsort((np.arange(len(items)), -taste.prior))[:_BEST_PRIORS]
    best = best[taste.prior[best] > 0]
    vectors = items.vectors(best).astype(np.float64)
    asked = np.flatnonzero(np.isin(profiles.user, users))
    # Not by the BLAS, whose sums depend on how many rows there are.
    cosines = np.empty((len(asked), len(best)), np.float32)
    for at, number in enumerate(asked.tolist()):
        cosines[at] = (vectors * profiles.vectors[number].astype(np.float64)).sum(axis=1)
    found = np.broadcast_to(best, cosines.shape)
    more = _blended(profiles, asked, np.ascontiguousarray(found), cosines, taste, items)
    lacking = users[~np.isin(users, profiles.user)]
    alone = np.repeat(lacking, len(best)), np.tile(best, len(lacking))
    return (
        np.concatenate([owners, more[0], alone[0]]),
        np.concatenate([candidates, more[1], alone[1]]),
        np.concatenate([values, more[2], _with_prior(np.zeros(len(alone[1]), np.float32), alone[1], taste)]),
    )


def _best_of_each(
    owners: NDArray[np.int64], rows: NDArray[np.int64], values: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The best `count` of each owner, each row once, in falling order; equal ones in order of rows."""
    order = np.lexsort((-values, rows, owners))
    first = (np.diff(owners[order], prepend=-1) != 0) | (np.diff(rows[order], prepend=-1) != 0)
    order = order[first]
    order = order[np.lexsort((rows[order], -values[order], owners[order]))]
    order = order[_places(owners[order]) < count]
    return owners[order], rows[order], values[order]


def _places(owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers from 0 on for the entries of each owner, which come together."""
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    return np.arange(len(owners)) - np.repeat(begins, np.diff(begins, append=len(owners)))


def _arranged(
    rows: NDArray[np.int64], values: NDArray[np.float32], k: int, taste: Taste, items: Items
) -> NDArray[np.int64]:
    """Places of the k that one user gets, in order; `rows` come best first."""
    places = np.arange(len(rows))
    vectors = items.vectors(rows)
    if taste.fold_cosine is not None:
        places = places[leaders(vectors, taste.fold_cosine) == places]
    if taste.diverse is not None:
        places = places[mmr(values[places], vectors[places], k, strength=taste.diverse)]
    return places[:k]


def _runs(owners: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Each owner, and from where to where its entries go."""
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    ends = np.append(begins[1:], len(owners))[: len(begins)]
    return list(zip(owners[begins].tolist(), begins.tolist(), ends.tolist(), strict=True))


def _contains(sorted_pairs: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    if len(sorted_pairs) == 0:
        return np.zeros(len(pairs), np.bool_)
    places = np.searchsorted(sorted_pairs, pairs)
    places[places == len(sorted_pairs)] = 0
    return np.asarray(sorted_pairs[places] == pairs)
