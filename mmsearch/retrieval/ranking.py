"""Ranks the segments of one collection for an embedded query: scores, and the relevance that they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.filters import Filters
from mmsearch.query.calibration import calibration_for
from mmsearch.query.fusion import fuse
from mmsearch.types import Modality, SegmentRecord, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, VectorSource
    from mmsearch.retrieval.filtering import FilteredStore
    from mmsearch.retrieval.terms import EmbeddedTerm
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.store import VectorStore

__all__ = ["CollectionRanker", "Match"]

# A composite query ranks the union of its terms' shortlists, each at least this deep.
_SHORTLIST = 500
# An item with many segments takes many places: so many segments are looked at for each item that is wanted.
_SEGMENTS_FOR_AN_ITEM = 8
# Cosine from which two things of a modality are the same, but for the rounding of stored vectors.
_SAME = 0.999


@dataclass(frozen=True, slots=True)
class Match:
    """A segment that was ranked, with its item.

    Attributes:
        log_odds: For each term of the query, calibrated log-odds that the segment matches it.
        retrieval_score: The score of the stage before, where it was ranked again.
    """

    record: SegmentRecord
    score: float
    relevance: float
    stage: Stage
    log_odds: tuple[float, ...] = ()
    retrieval_score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Segments (n,) with their scores, best first, their log-odds (terms, n), and how many the index found."""

    ids: NDArray[np.int64]
    scores: NDArray[Any]
    relevance: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    found: int

    def matches(self, records: Mapping[int, SegmentRecord], stage: Stage) -> list[Match]:
        """Those that the catalog still has."""
        rows = zip(
            self.ids.tolist(), self.scores.tolist(), self.relevance.tolist(), self.log_odds.T.tolist(), strict=True
        )
        return [
            Match(records[id_], score, relevance, stage, tuple(odds))
            for id_, score, relevance, odds in rows
            if id_ in records
        ]


class CollectionRanker:
    """Ranks what one encoder made of the segments of one modality."""

    def __init__(
        self, catalog: Catalog, encoder: Encoder, modality: Modality, store: VectorStore | FilteredStore
    ) -> None:
        """Rank the vectors of `encoder` for `modality` in `catalog`, with `store` as their index."""
        self._catalog = catalog
        self._encoder = encoder
        self._modality = modality
        self._store = store

    def rank(
        self,
        terms: Sequence[EmbeddedTerm],
        items: int,
        allowed: NDArray[np.int64] | None = None,
        *,
        segments: int = 0,
    ) -> list[Match]:
        """Find the segments that match best, of at least so many items where there are as many.

        Args:
            terms: Of the query.
            items: How many different items are wanted.
            allowed: Segment ids to search among, sorted; None means all.
            segments: How many segments are wanted at least, of whatever items.
        """
        source = self._catalog.vector_source(self._encoder.id, self._modality)
        alone = self._modality is Modality.IMAGE  # a photo has one image
        depth = max(items if alone else _SEGMENTS_FOR_AN_ITEM * items, segments)
        if len(terms) > 1:
            depth = max(depth, _SHORTLIST)
        stage: Stage = "vector" if len(terms) == 1 else "fused"
        matches: list[Match] = []
        seen: set[int] = set()
        while True:
            if len(terms) == 1:
                ranked = self._near(source, terms[0], depth, allowed)
            else:
                ranked = self._composed(source, terms, depth, allowed)
            records = self._catalog.segments(ranked.ids.tolist())
            matches += ranked.matches(records, stage)
            seen.update(record.item.id for record in records.values())
            if ranked.found < depth or len(seen) >= items:
                break
            # An item may take many places, and a removal that came after the index was read leaves a gap: then look
            # deeper among the segments of other items.
            allowed = self._without(seen, allowed)
            depth *= 2
        return sorted(matches, key=lambda match: (-match.score, match.record.segment.id))

    def _without(self, items: set[int], allowed: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """The segments to search among without those of some items, sorted."""
        if allowed is None:
            allowed = self._catalog.select_segments(self._encoder.id, self._modality, Filters())
        left_out = self._catalog.segment_ids_of(items)
        places = np.searchsorted(left_out, allowed)
        places[places == len(left_out)] = 0
        return allowed[left_out[places] != allowed] if len(left_out) else allowed

    def _near(self, source: VectorSource, term: EmbeddedTerm, depth: int, allowed: NDArray[np.int64] | None) -> _Ranked:
        embedding = term.embedding[None]  # (1, dim)
        ids, scores = self._store.search(source, embedding, depth, allowed=allowed)
        there = ids[0] >= 0
        near, similar = ids[0][there], scores[0][there]
        log_odds = self._log_odds(term, similar, self._background(source, embedding)[0])
        # A sigmoid that does not overflow where nothing in the background is like this.
        relevance = np.exp(-np.logaddexp(0.0, -log_odds))
        if term.asked is self._modality:
            relevance[similar >= _SAME] = 1.0  # the thing itself, which asks no background
        return _Ranked(near, similar, relevance, log_odds[None], int(near.size))

    def _composed(
        self, source: VectorSource, terms: Sequence[EmbeddedTerm], depth: int, allowed: NDArray[np.int64] | None
    ) -> _Ranked:
        embeddings = np.stack([term.embedding for term in terms])  # (terms, dim)
        sought = np.array([term.weight > 0 for term in terms])
        ids, _ = self._store.search(source, embeddings[sought], depth, allowed=allowed)
        shortlist, vectors = self._catalog.vectors(self._encoder.id, ids[ids >= 0])  # each once: (n,), (n, dim)
        scores = embeddings @ vectors.T  # (terms, n)
        background = self._background(source, embeddings)  # (terms, sample)
        log_odds = np.empty(scores.shape)
        for row, term in enumerate(terms):
            log_odds[row] = self._log_odds(term, scores[row], background[row])
        fused, relevance = fuse(log_odds, [term.weight for term in terms])
        order = np.lexsort((shortlist, -fused))
        found = int(np.count_nonzero(ids[0] >= 0))
        return _Ranked(shortlist[order], fused[order], relevance[order], log_odds[:, order], found)

    def _log_odds(
        self, term: EmbeddedTerm, scores: NDArray[np.float32], background: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        calibration = calibration_for(self._encoder.id, term.asked, self._modality)
        return calibration.log_odds(scores, calibration.background(background))

    def _background(self, source: VectorSource, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (terms, sample) of each term against a sample of the collection."""
        _, vectors = self._store.sample(source)
        return np.asarray(embeddings @ vectors.T)
