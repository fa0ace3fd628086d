"""Recommendations by content: what users did -> what they may like, over the items of a library.

from mmsearch import SearchEngine
from mmsearch.recommend import Event, Recommender

with SearchEngine.open("shop/.mmsearch") as engine:
    recommender = Recommender(engine, half_life=timedelta(days=30))
    for found in recommender.recommend([Event("shoe-42"), Event("tent-7", weight=-1)], k=10):
        print(found.rank, found.key, found.score)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmsearch.config import processors
from mmsearch.errors import UsageError
from mmsearch.recommendation.candidates import Taste, recommended
from mmsearch.recommendation.features import ItemFeatures
from mmsearch.recommendation.histories import Event, Histories, Weighed, weigh
from mmsearch.recommendation.profiles import profiles
from mmsearch.recommendation.table import Items, ItemTable
from mmsearch.rerank.diversity import check_strength, near_duplicate_cosine
from mmsearch.retrieval.many_hits import ManyHits
from mmsearch.vectors.hits import empty_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.engine import SearchEngine
    from mmsearch.recommendation.candidates import Search
    from mmsearch.types import Modality

__all__ = ["Event", "Histories", "ItemFeatures", "Profile", "Recommendation", "Recommender", "popularity"]

INTERESTS = 3
"""Interests that a user has at most where nobody says."""

# Users that a thread works on at a time: enough for their interests to share the lists that they visit.
_TOGETHER = 2500

AWAY = 0.25
"""How far dislikes push where nobody says: Rocchio's gamma over beta is 0.15 over 0.75."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One item for a user.

    >>> Recommendation(1, "shoe-43", 0.91, 7).key
    'shoe-43'

    Attributes:
        rank: 1 for the best.
        key: Of the item, or the absolute path of its file.
        score: Higher is better, comparable within one list.
        item_id: Of the item.
    """

    rank: int
    key: str
    score: float
    item_id: int


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What a user likes.

    >>> Profile(np.eye(2, dtype=np.float32), np.array([0.75, 0.25])).shares.tolist()
    [0.75, 0.25]

    Attributes:
        interests: (c, dim) float32, L2-normalised.
        shares: (c,) how much each stands for, summing to 1.
    """

    interests: NDArray[np.float32]
    shares: NDArray[np.float64]


def popularity(histories: Histories | Sequence[Iterable[Event | str]]) -> dict[str, float]:
    """How popular items are, for the priors of a `Recommender`: the log of how many users liked each, scaled to 1.

    >>> popularity([["a", "b"], ["a"], ["a"]])
    {'a': 1.0, 'b': 0.5}
    """
    if not isinstance(histories, Histories):
        histories = Histories.of(histories)
    likes = zip(histories.user.tolist(), histories.keys, histories.weights.tolist(), strict=True)
    liked = dict.fromkeys((user, key) for user, key, weight in likes if weight > 0)
    counts = Counter(key for _, key in liked)
    most = np.log1p(max(counts.values(), default=1))
    return {key: float(np.log1p(count) / most) for key, count in counts.items()}


class Recommender:
    """Recommends the items of a library by their content; new ones as soon as they are in it.

    Any number of threads may ask one recommender. What users get in a batch is what each would get alone.

    Args:
        engine: The library, which stays open.
        modality: Of the items; the kind that the library has most of when None.
        model: The encoder, in a library of several; the first when None.
        half_life: After so long an event weighs half; None when nothing fades.
        interests: How many a user has at most, 1 for one average.
        away: How far dislikes push the interests away, 0 or more.
        priors: What speaks for items whoever asks, such as `popularity`: keys -> scores, of which the highest counts as
            1 and those below 0 as 0. Whoever has no history gets the items with the highest.
        prior_weight: What a prior of 1 adds to the cosine.
        diverse: Strength of MMR, 0 to 1, which pushes down what is like better recommendations; None leaves the order.
        duplicates: ``fold`` recommends one of several near-duplicates, ``show`` all.

    Raises:
        UsageError: A number is out of range, or there is no such model.
    """

    def __init__(
        self,
        engine: SearchEngine,
        *,
        modality: Modality | None = None,
        model: str | None = None,
        half_life: timedelta | None = None,
        interests: int = INTERESTS,
        away: float = AWAY,
        priors: Mapping[str, float] | None = None,
        prior_weight: float = 0.1,
        diverse: float | None = None,
        duplicates: Literal["fold", "show"] = "show",
    ) -> None:
        if interests < 1:
            raise UsageError(f"A user has at least 1 interest, not {interests}.")
        if half_life is not None and half_life <= timedelta(0):
            raise UsageError("The half-life must be longer than nothing.")
        if not 0 <= away < float("inf"):
            raise UsageError(f"Dislikes push by 0 or more, not {away:g}.")
        if diverse is not None:
            check_strength(diverse)
        if duplicates not in ("fold", "show"):
            raise UsageError(f'Duplicates can "fold" or "show", not {duplicates!r}.')
        if priors and not all(np.isfinite(value) for value in priors.values()):
            raise UsageError("Priors must be finite numbers.")
        self._arrays = engine.arrays(model)
        self._table = ItemTable(self._arrays, modality)
        self._half_life_s = None if half_life is None else half_life.total_seconds()
        self._interests, self._away = interests, away
        self._priors, self._prior_weight = dict(priors or {}), prior_weight
        self._diverse = diverse
        self._fold_cosine = near_duplicate_cosine(self._arrays.encoder.id) if duplicates == "fold" else None
        self._prior: tuple[Items, NDArray[np.float32]] | None = None

    def profile(self, events: Iterable[Event | str], *, now: datetime | float | None = None) -> Profile:
        """What one user likes; without interests where nothing is known of that.

        Args:
            events: In any order.
            now: When now is, for fading; the last event when None.
        """
        items = self._table.now()
        weighed = self._weighed(Histories.of([events]), items, now)
        found = profiles(weighed, items, self._interests, self._away)
        return Profile(found.vectors, found.shares)

    def recommend(
        self,
        events: Iterable[Event | str],
        k: int = 10,
        *,
        exclude: Iterable[str] = (),
        seen: bool = False,
        now: datetime | float | None = None,
    ) -> list[Recommendation]:
        """Recommend items to one user.

        Args:
            events: What the user did, in any order; a key alone is an event of weight 1.
            k: How many, at least 1.
            exclude: Keys of items that are not to be recommended.
            seen: Recommend items of the history, too.
            now: When now is, for fading; the last event when None.

        Returns:
            At most k, best first; none for a user of whom nothing is known, without priors.

        Raises:
            UsageError: k is below 1, or something is no event.
        """
        hits = self.recommend_many([events], k, exclude=exclude, seen=seen, now=now)
        found = zip(hits.keys[0], hits.scores[0].tolist(), hits.items[0].tolist(), strict=True)
        there = [(key, score, id_) for key, score, id_ in found if key is not None]
        return [Recommendation(rank, key, score, id_) for rank, (key, score, id_) in enumerate(there, start=1)]

    def recommend_many(
        self,
        histories: Histories | Sequence[Iterable[Event | str]],
        k: int = 10,
        *,
        exclude: Iterable[str] = (),
        seen: bool = False,
        now: datetime | float | None = None,
    ) -> ManyHits:
        """Recommend items to many users at once: what each would get alone, thousands of users in seconds.

        Args:
            histories: Of m users; for the rest see `recommend`.
            k: How many for each, at least 1.
            exclude: Keys of items that are not to be recommended to anyone.
            seen: Recommend items of their histories, too.
            now: When now is, for fading; for each user the last event when None.

        Returns:
            Items, their segments and scores, (m, k).

        Raises:
            UsageError: k is below 1, or something is no event.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, not {k}.")
        if not isinstance(histories, Histories):
            histories = Histories.of(histories)
        items = self._table.now()
        weighed = self._weighed(histories, items, now)
        excluded = self._table.rows_of_keys(items, exclude)
        excluded = excluded[excluded >= 0]
        taste = Taste(self._prior_of(items), self._prior_weight, self._diverse, self._fold_cosine)
        search = self._search(items)
        rows, scores = empty_hits(len(histories), k)

        def work(low: int) -> None:
            """Some users, who need nothing of the others."""
            high = min(low + _TOGETHER, len(histories))
            begin, end = np.searchsorted(weighed.user, [low, high])
            own = Weighed(weighed.user[begin:end] - low, weighed.rows[begin:end], weighed.weights[begin:end])
            pairs = (np.arange(high - low)[:, None] * len(items) + excluded).ravel()
            if not seen:
                pairs = np.concatenate([pairs, own.user * len(items) + own.rows])
            found = profiles(own, items, self._interests, self._away)
            rows[low:high], scores[low:high] = recommended(found, high - low, np.sort(pairs), items, search, k, taste)

        starts = range(0, len(histories), _TOGETHER)
        if len(starts) == 1:
            work(0)
        else:
            with ThreadPoolExecutor(processors(), "mmsearch-users") as threads:
                list(threads.map(work, starts))
        there = rows >= 0
        ids = np.where(there, items.ids[rows] if len(items) else -1, -1)
        segments = np.full(rows.shape, -1, np.int64)
        if len(items):
            firsts = np.full(len(items), -1, np.int64)
            firsts[items.rows[::-1]] = items.segments[::-1]  # the first segment of each stands for it
            segments = np.where(there, firsts[rows], -1)
        return ManyHits(ids, segments, scores, self._arrays.catalog.keys_of_items)

    def features(self, keys: Sequence[str] | None = None) -> ItemFeatures:
        """The items with their vectors, for other tools.

        Args:
            keys: Which, and in what order; all when None.

        Raises:
            UsageError: An item is not among those that this recommends.
        """
        items = self._table.now()
        if keys is None:
            names = self._arrays.catalog.keys_of_items(items.ids.tolist())
            rows = np.array([row for row, id_ in enumerate(items.ids.tolist()) if id_ in names], np.int64)
            keys = [names[int(items.ids[row])] for row in rows]
        else:
            rows = self._table.rows_of_keys(items, keys)
            if (rows < 0).any():
                raise UsageError(f"There is no item {keys[int(np.argmax(rows < 0))]!r}.")
        vectors = items.vectors(rows)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return ItemFeatures(tuple(keys), vectors)

    def _weighed(self, histories: Histories, items: Items, now: datetime | float | None) -> Weighed:
        seconds = Histories.of([[Event("", time=now)]]).times[0] if now is not None else None
        return weigh(histories, lambda keys: self._table.rows_of_keys(items, keys), self._half_life_s, seconds)

    def _prior_of(self, items: Items) -> NDArray[np.float32] | None:
        if not self._priors:
            return None
        held = self._prior
        if held is None or held[0] is not items:
            prior = np.zeros(len(items), np.float32)
            rows = self._table.rows_of_keys(items, self._priors)
            values = np.fromiter(self._priors.values(), np.float64, len(rows)).clip(0)
            prior[rows[rows >= 0]] = (values / max(values.max(initial=0), 1e-300))[rows >= 0]
            held = self._prior = (items, prior)
        return held[1]

    def _search(self, items: Items) -> Search:
        arrays, modality = self._arrays, self._table.modality
        store = arrays.stores(arrays.encoder, modality)
        source = arrays.catalog.vector_source(arrays.encoder.id, modality)

        def search(queries: NDArray[np.float32], depth: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            segments, scores = store.search(source, queries, depth)
            return items.rows_of_segments(segments), scores

        return search
