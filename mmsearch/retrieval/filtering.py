"""Filters at work: an index that finds only what passes, in the way that is quickest for what is left.

- Nothing is filtered: the index is searched as it is.
- A filter that leaves little (*narrow*) is answered by the catalog, and the vectors that pass are scored exactly.
- One in between is answered the same way, and the index visits its lists with those ids as a selector.
- One that leaves much (*loose*) is not answered at all: more is fetched than is wanted, and what does not pass is left
  out; where too little stays, more is fetched.

How much a filter leaves is guessed from a sample of the collection. A process that has spent as long on asking the
catalog as it would take to read all facts into memory does that once (rent or buy), and answers filters from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.query.trace import Trace
from mmsearch.storage.facts import Passing
from mmsearch.types import Modality
from mmsearch.vectors.inverted import NARROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.filters import Filters
    from mmsearch.protocols import VectorSource
    from mmsearch.storage.catalog import Catalog
    from mmsearch.storage.facts import FactTable
    from mmsearch.vectors.store import VectorStore

__all__ = ["CollectionFacts", "FilteredStore", "LibraryFacts"]

# Segments of the sample that are asked whether they pass, and the share from which a filter is loose.
_ASKED = 128
_LOOSE = 0.03
# More is fetched than the share of those that pass calls for, and so many times more where that was too little.
_MARGIN = 1.3
_FURTHER = 4
_MOST_FETCHED = 8192
# Reading the facts of one segment into memory takes about as long.
_SECONDS_PER_FACT = 3e-6
# Fewer facts than this are not worth keeping.
_FEW = 20_000


class CollectionFacts:
    """Answers which segments of a collection pass filters; keeps the facts in memory where that pays.

    Args:
        catalog: Knows.
        encoder_id, modality: Of the collection.
    """

    def __init__(self, catalog: Catalog, encoder_id: str, modality: Modality) -> None:
        self._catalog = catalog
        self._encoder_id = encoder_id
        self._modality = modality
        self._table: FactTable = catalog.fact_table(encoder_id, modality)
        self._spent = 0.0
        self._lock = Lock()

    def in_memory(self, filters: Filters) -> bool:
        """Whether `select` answers these filters without asking the catalog."""
        return self._table.loaded and self._table.tells(filters)

    def load(self) -> None:
        """Read the facts into memory now, or what is new of them."""
        with self._lock:
            self._table.refresh()

    def select(self, filters: Filters, count: int) -> Passing:
        """The segments that pass; a few may have been removed meanwhile.

        Args:
            filters: What they have to pass.
            count: Segments of the collection.
        """
        if self._table.tells(filters) and (self._table.loaded or self._worth_it(count)):
            with self._lock:
                self._table.refresh()
                return self._table.select(filters)
        start = time.perf_counter()
        ids = self._catalog.select_segments(self._encoder_id, self._modality, filters)
        self._spent += time.perf_counter() - start
        return Passing(ids)

    def passing(self, segment_ids: NDArray[np.int64], filters: Filters) -> NDArray[np.int64]:
        """Those of some segments that pass, sorted."""
        wanted = sorted(set(segment_ids[segment_ids >= 0].tolist()))
        return self._catalog.passing_segments(wanted, filters)

    def _worth_it(self, count: int) -> bool:
        return count >= _FEW and self._spent >= count * _SECONDS_PER_FACT


class LibraryFacts:
    """What is known of the collections of a library, for all that search it; safe to ask from many threads.

    Args:
        catalog: Knows.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._facts: dict[tuple[str, Modality], CollectionFacts] = {}

    def __call__(self, encoder_id: str, modality: Modality) -> CollectionFacts:
        """The facts of a collection, the same for everyone."""
        found = self._facts.get((encoder_id, modality))
        return found or self._facts.setdefault(
            (encoder_id, modality), CollectionFacts(self._catalog, encoder_id, modality)
        )


class FilteredStore:
    """The index of a collection as it is without what does not pass; has the methods of `VectorStore` that ask.

    Args:
        store: The index.
        facts: Of the collection.
        filters: What passes; nothing is left out where they limit nothing, or only to what the collection is anyway.
        trace: Is told how it was done.
        where: What the collection is called there.
    """

    def __init__(
        self, store: VectorStore, facts: CollectionFacts, filters: Filters, trace: Trace, where: str = ""
    ) -> None:
        self._store = store
        self._facts = facts
        self._filters = filters
        self._trace = trace
        self._where = where
        self._passing: Passing | None = None
        self._share: float | None = None

    def sample(self, source: VectorSource) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `VectorStore.sample`: of everything, since relevance is judged against the whole collection."""
        return self._store.sample(source)

    def passing(self, source: VectorSource) -> Passing:
        """All segments that pass."""
        if self._passing is None:
            with self._trace.step("filter", where=self._where) as step:
                memory = self._facts.in_memory(self._filters)
                self._passing = self._facts.select(self._filters, source.watermark().count)
                step.candidates = len(self._passing)
                step.detail = "facts in memory" if memory else "asked the catalog"
        return self._passing

    def search(
        self,
        source: VectorSource,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `VectorStore.search`; k hits come whenever k pass."""
        if not self._filters:
            return self._searched(source, queries, k, allowed, "")
        if allowed is not None:
            allowed = allowed[self.passing(source).has(allowed)]
            return self._searched(source, queries, k, allowed, "those that were named")
        count = source.watermark().count
        if self._passing is None and not self._facts.in_memory(self._filters):
            share = self._guessed(source)
            if share >= _LOOSE:
                found = self._overfetched(source, queries, k, count, share, self._asked)
                if found is not None:
                    return found
        passing = self.passing(source)
        if len(passing) and len(passing) >= _LOOSE * count:
            share = len(passing) / max(1, count)
            found = self._overfetched(source, queries, k, count, share, passing.has)
            if found is not None:
                return found
        ids = passing.ids
        how = "exact scan of those that pass" if len(ids) <= NARROW else "selector inside the index"
        return self._searched(source, queries, k, ids, how)

    def _searched(
        self,
        source: VectorSource,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None,
        how: str,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with self._trace.step("vectors", where=self._where) as step:
            found = self._store.search(source, queries, k, allowed=allowed)
            manifest = self._store.manifest
            kind = "no index yet: all read" if manifest is None else manifest.kind
            step.detail = f"{kind}, {how}" if how else kind
            step.candidates = int(np.count_nonzero(found[0] >= 0))
        return found

    def _guessed(self, source: VectorSource) -> float:
        """The share of the collection that passes, as far as a sample tells."""
        if self._share is None:
            with self._trace.step("guess", where=self._where) as step:
                ids, _ = self._store.sample(source)
                asked = ids[:: max(1, len(ids) // _ASKED)]
                self._share = float(self._asked(asked).mean()) if len(asked) else 0.0
                step.detail = f"{100 * self._share:.0f} % of a sample pass"
        return self._share

    def _asked(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each of some ids whether it passes, by the catalog."""
        return Passing(self._facts.passing(ids, self._filters)).has(ids)

    def _overfetched(
        self,
        source: VectorSource,
        queries: NDArray[np.float32],
        k: int,
        count: int,
        share: float,
        passes: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """Fetch more than k, and leave out what does not pass; None where that would have to be too many."""
        wanted = min(int(k / share * _MARGIN) + 16, max(count, k))
        while wanted <= _MOST_FETCHED:
            with self._trace.step("vectors", where=self._where) as step:
                ids, scores = self._store.search(source, queries, wanted)
                kept = passes(ids)
                step.candidates = int(np.count_nonzero(kept))
                manifest = self._store.manifest
                kind = "no index yet" if manifest is None else manifest.kind
                step.detail = f"{kind}, fetched {wanted:,} and left out what does not pass"
            enough = kept.sum(axis=1) >= k
            if enough.all() or wanted >= count:
                return _first(ids, scores, kept, k)
            wanted = min(wanted * _FURTHER, count)
        return None


def _first(
    ids: NDArray[np.int64], scores: NDArray[np.float32], kept: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The first k of each row that are kept, padded with id -1 and score -inf."""
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]
    rows = np.arange(len(ids))[:, None]
    out_ids, out_scores, there = ids[rows, order], scores[rows, order], kept[rows, order]
    out_ids[~there], out_scores[~there] = -1, -np.inf
    short = k - out_ids.shape[1]
    if short > 0:
        out_ids = np.pad(out_ids, ((0, 0), (0, short)), constant_values=-1)
        out_scores = np.pad(out_scores, ((0, 0), (0, short)), constant_values=-np.inf)
    return out_ids, out_scores
