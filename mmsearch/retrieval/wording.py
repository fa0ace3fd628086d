"""Words of a query that stand in names, folders, notes and texts: the evidence that they give for items.

A word in the name of a file or folder, in a caption or a note says more the rarer it is. Where n of N items have the
word, finding it adds log(N / n) to the log-odds that an item is meant: the inverse document frequency, which is the
likelihood ratio of the binary independence model for a word that every item has which is meant (Robertson and Sparck
Jones 1976). An item that has every word of the query was probably meant by its words, whatever its picture looks like:
`_ALL_WORDS` is added to its odds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.storage.passages import terms_of
from mmsearch.types import SegmentRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.filters import Filters
    from mmsearch.query.language import Query
    from mmsearch.retrieval.ranking import Match
    from mmsearch.storage.catalog import Catalog

__all__ = ["Wording"]

# See benchmarks/hybrid_search.py.
_ALL_WORDS = 20.0
# Words beyond so many of a query, and of which so many items have one, tell next to nothing.
_MOST_WORDS = 12
_MOST_ITEMS = 20_000
# Items that are ranked for their words even if no index finds them near.
_CANDIDATES = 1000
_LEAST = 1e-12
# Words that say nothing by themselves, in the languages that file names are most often in.
_EMPTY = frozenset(
    [
        *("a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its", "of", "on", "or"),
        *("that", "the", "their", "there", "this", "to", "two", "with"),
        *("am", "auf", "aus", "bei", "das", "dem", "den", "der", "des", "die", "ein", "eine", "einem", "einen"),
        *("einer", "für", "im", "ist", "mit", "und", "vom", "von", "zu", "zum", "zur"),
        *("au", "aux", "avec", "dans", "de", "du", "en", "et", "la", "le", "les", "par", "pour", "sur", "un", "une"),
        *("al", "con", "del", "el", "las", "los", "por", "una", "uno", "y"),
        *("che", "da", "dei", "della", "di", "e", "il", "lo", "per"),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class Wording:
    """What the words of a query say of items.

    Attributes:
        items: (n,) ids of those that have at least one of the rarer words, ascending.
        bonus: (n,) what is added to the log-odds that an item is meant.
        counts: (n,) how many of the rarer words it has.
        words: How many words the query has.
        broad: Words that many items have, each with what it adds; who has them is looked up when it matters.
    """

    items: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    bonus: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    words: int = 0
    broad: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, catalog: Catalog, query: Query) -> Wording:
        """Look up the words of all terms that are looked for."""
        texts = [term.content for term in query.terms if isinstance(term.content, str) and term.weight > 0]
        words = list(dict.fromkeys(word for text in texts for word in terms_of(text)))
        telling = [word for word in words if word.strip('"').casefold() not in _EMPTY]
        if not telling or len(texts) < sum(term.weight > 0 for term in query.terms):
            return cls()  # a file that is looked for has no words here
        count = catalog.item_count()
        found: list[NDArray[np.int64]] = []
        gains: list[float] = []
        broad: list[tuple[str, float]] = []
        for word in telling[:_MOST_WORDS]:
            items = catalog.items_with_word(word, _MOST_ITEMS + 1)
            having = len(items) if len(items) <= _MOST_ITEMS else catalog.count_with_word(word)
            if not 0 < having <= max(1, count // 2):
                continue
            gain = math.log(count / having) if having < count else 0.0
            if having > _MOST_ITEMS:
                broad.append((word, gain))
            else:
                found.append(items)
                gains.append(gain)
        if not found:
            return cls(words=len(telling), broad=tuple(broad))
        every = np.concatenate(found)
        # np.unique would import NumPy's masked arrays, which a cold query need not pay for.
        items = np.sort(every)
        items = items[np.diff(items, prepend=-1) > 0]
        places = np.searchsorted(items, every)
        gained = np.repeat(gains, [len(part) for part in found])
        bonus = np.bincount(places, gained, len(items)).astype(np.float64)
        counts = np.bincount(places, minlength=len(items)).astype(np.int64)
        return cls(items, bonus, counts, len(telling), tuple(broad))

    def __bool__(self) -> bool:
        """Whether any item has a word."""
        return len(self.items) > 0 or bool(self.broad)

    def candidates(self) -> NDArray[np.int64]:
        """Ids of the items that have most, ascending."""
        if len(self.items) <= _CANDIDATES:
            return self.items
        order = np.lexsort((self.items, -self.bonus, -self.counts))
        return np.sort(self.items[order[:_CANDIDATES]])

    def weighed(self, catalog: Catalog, matches: Sequence[Match]) -> list[Match]:
        """Matches with what their words say added, best first; as they are where none of them has a word."""
        bonus, whole = self._of(catalog, [match.record.item.id for match in matches])
        if not bonus.any():
            return list(matches)
        chance = np.clip([match.relevance for match in matches], _LEAST, 1 - _LEAST)
        odds = np.exp(np.log(chance) - np.log1p(-chance) + bonus) + np.where(whole, _ALL_WORDS, 0.0)
        weighed = [
            replace(
                match,
                score=float(score),
                relevance=max(float(new / (1 + new)), match.relevance) if gained else match.relevance,
                stage="fused",
                retrieval_score=match.score if match.retrieval_score is None else match.retrieval_score,
            )
            for match, score, new, gained in zip(matches, np.log(odds).tolist(), odds, bonus.tolist(), strict=True)
        ]
        order = sorted(range(len(matches)), key=lambda place: (-weighed[place].score, place))
        return [weighed[place] for place in order]

    def _of(self, catalog: Catalog, item_ids: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Bonus (m,) and whether all words are there (m,) of items; nothing of those without a word."""
        ids = np.array(item_ids, np.int64)
        bonus, counts = np.zeros(len(ids)), np.zeros(len(ids), np.int64)
        if len(self.items) and len(ids):
            places = np.minimum(np.searchsorted(self.items, ids), len(self.items) - 1)
            there = self.items[places] == ids
            bonus[there], counts[there] = self.bonus[places[there]], self.counts[places[there]]
        for word, gain in self.broad if len(ids) else ():
            with_word = set(catalog.having_word(word, set(item_ids)))
            having = np.array([item in with_word for item in item_ids])
            bonus[having] += gain
            counts[having] += 1
        return bonus, (counts == self.words) & (counts > 0)

    def remaining(self, catalog: Catalog, lists: Sequence[Sequence[Match]], filters: Filters) -> list[Match]:
        """Matches for items that have every word and are in no list, such as those without an embedding."""
        from mmsearch.retrieval.ranking import Match

        listed = {match.record.item.id for matches in lists for match in matches}
        whole = self.items[self.counts == self.words]
        wanted = [item for item in whole.tolist()[:_CANDIDATES] if item not in listed]
        records = first_segments(catalog, wanted, filters)
        chance = _ALL_WORDS / (1 + _ALL_WORDS)
        return [Match(records[item], _ALL_WORDS, chance, "text") for item in wanted if item in records]


def first_segments(catalog: Catalog, items: Sequence[int], filters: Filters) -> Mapping[int, SegmentRecord]:
    """Items -> what stands for each where no segment was found: its first that passes; without those that have none."""
    ids = catalog.segment_ids_of(items)
    if filters:
        ids = catalog.passing_segments(ids.tolist(), filters)
    found: dict[int, SegmentRecord] = {}
    for _, record in sorted(catalog.segments(ids.tolist()).items()):
        # A photo stands for itself before its captions do.
        known = found.get(record.item.id)
        if known is None or (not _whole(known) and _whole(record)):
            found[record.item.id] = record
    return found


def _whole(record: SegmentRecord) -> bool:
    return record.segment.modality is record.item.modality
