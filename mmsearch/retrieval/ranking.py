"""Ranks the segments of one collection for an embedded query: scores, and the relevance that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.filters import Filters
from mmsearch.query.calibration import calibration_for
from mmsearch.query.fusion import balanced, fuse
from mmsearch.query.relevance import CONTEXT, Answer, answer_to, probability, relevance_for
from mmsearch.types import Modality, SegmentRecord, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, VectorSource
    from mmsearch.retrieval.filtering import FilteredStore
    from mmsearch.retrieval.terms import EmbeddedTerm
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.store import VectorStore

__all__ = ["CollectionRanker", "Match", "about_anything", "weights_of"]

# A composite query ranks the union of its terms' shortlists, each at least this deep.
_SHORTLIST = 500
# An item with many segments takes many places: so many segments are looked at for each item that is wanted.
_SEGMENTS_FOR_AN_ITEM = 8
# Cosine from which two things of a modality are the same, but for the rounding of stored vectors.
_SAME = 0.999
_CERTAIN = 20.0


@dataclass(frozen=True, slots=True)
class Match:
    """A segment that was ranked, with its item.

    Attributes:
        log_odds: For each term of the query, calibrated log-odds that the segment matches it.
        evidence: For each term, how far the segment stands out by itself, which a reranker starts from; see
            `mmsearch.query.calibration`.
        answers: For each term, what is known of all that it found.
        about: The chance that what is looked for is about anything in the collection.
        retrieval_score: The score of the stage before, where it was ranked again.
    """

    record: SegmentRecord
    score: float
    relevance: float
    stage: Stage
    log_odds: tuple[float, ...] = ()
    evidence: tuple[float, ...] = ()
    answers: tuple[Answer, ...] = field(default=(), repr=False, compare=False)
    about: float = 1.0
    retrieval_score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Segments (n,) with their scores, best first, log-odds and evidence (terms, n), and how many the index found."""

    ids: NDArray[np.int64]
    scores: NDArray[Any]
    relevance: NDArray[np.float64]
    log_odds: NDArray[np.float64]
    evidence: NDArray[np.float64]
    found: int

    def matches(
        self, records: Mapping[int, SegmentRecord], stage: Stage, answers: tuple[Answer, ...], about: float
    ) -> list[Match]:
        """Those that the catalog still has."""
        rows = zip(
            self.ids.tolist(),
            self.scores.tolist(),
            self.relevance.tolist(),
            self.log_odds.T.tolist(),
            self.evidence.T.tolist(),
            strict=True,
        )
        return [
            Match(records[id_], score, relevance, stage, tuple(odds), tuple(evidence), answers, about)
            for id_, score, relevance, odds, evidence in rows
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
        # What was found first tells what the scores of a query mean, also of what is looked up later.
        self._answered: tuple[tuple[EmbeddedTerm, ...], tuple[Answer, ...]] | None = None

    def behind(self, store: FilteredStore) -> CollectionRanker:
        """A ranker of what passes another filter, by what the answers to this one's queries tell."""
        other = copy(self)
        other._store = store
        return other

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
        depth = max(depth, _SHORTLIST if len(terms) > 1 else CONTEXT + 1)  # one may be the thing that asks
        stage: Stage = "vector" if len(terms) == 1 else "fused"
        matches: list[Match] = []
        seen: set[int] = set()
        while True:
            if len(terms) == 1:
                ranked = self._near(source, terms[0], depth, allowed)
            else:
                ranked = self._composed(source, terms, depth, allowed)
            records = self._catalog.segments(ranked.ids.tolist())
            answers = self._answered[1] if self._answered else ()
            wanted = [answer.about for term, answer in zip(terms, answers, strict=True) if term.weight > 0]
            matches += ranked.matches(records, stage, answers, min(wanted, default=1.0))
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
        log_odds, evidence = self._judged((term,), similar[None], source)
        return _Ranked(near, similar, probability(log_odds[0]), log_odds, evidence, int(near.size))

    def _composed(
        self, source: VectorSource, terms: Sequence[EmbeddedTerm], depth: int, allowed: NDArray[np.int64] | None
    ) -> _Ranked:
        embeddings = np.stack([term.embedding for term in terms])  # (terms, dim)
        sought = np.array([term.weight > 0 for term in terms])
        ids, _ = self._store.search(source, embeddings[sought], depth, allowed=allowed)
        shortlist, vectors = self._catalog.vectors(self._encoder.id, ids[ids >= 0])  # each once: (n,), (n, dim)
        log_odds, evidence = self._judged(terms, embeddings @ vectors.T, source)
        fused, relevance = fuse(log_odds, weights_of(terms))
        order = np.lexsort((shortlist, -fused))
        found = int(np.count_nonzero(ids[0] >= 0))
        return _Ranked(shortlist[order], fused[order], relevance[order], log_odds[:, order], evidence[:, order], found)

    def _judged(
        self, terms: Sequence[EmbeddedTerm], scores: NDArray[np.float32], source: VectorSource
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores (terms, n) of what was found -> log-odds and evidence, both (terms, n)."""
        if self._answered is None or self._answered[0] != tuple(terms):
            background = self._background(source, np.stack([term.embedding for term in terms]))
            count = source.watermark().count
            answers = [
                self._answer(term, row, sample, count)
                for term, row, sample in zip(terms, scores, background, strict=True)
            ]
            self._answered = tuple(terms), tuple(answers)
        log_odds, evidence = np.empty(scores.shape), np.empty(scores.shape)
        for row, (term, answer) in enumerate(zip(*self._answered, strict=True)):
            pair = self._encoder.id, term.asked, self._modality
            log_odds[row] = relevance_for(*pair).log_odds(scores[row], answer)
            if term.asked is self._modality:
                log_odds[row, scores[row] >= _SAME] = _CERTAIN  # the thing itself
            evidence[row] = calibration_for(*pair).log_odds(scores[row], answer.background)
        return log_odds, evidence

    def _answer(
        self, term: EmbeddedTerm, scores: NDArray[np.float32], sample: NDArray[np.float32], count: int
    ) -> Answer:
        pair = self._encoder.id, term.asked, self._modality
        background = calibration_for(*pair).background(sample)
        # The thing that asks is no news to itself.
        others = scores[scores < _SAME] if term.asked is self._modality else scores
        text = term.content if isinstance(term.content, str) else ""
        return answer_to(*pair, others, background, count, text)

    def _background(self, source: VectorSource, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (terms, sample) of each term against a sample of the collection."""
        _, vectors = self._store.sample(source)
        return np.asarray(embeddings @ vectors.T)


def weights_of(terms: Sequence[EmbeddedTerm]) -> list[float]:
    """What the terms of a query count beside each other."""
    return balanced([term.weight for term in terms], [term.asked is Modality.TEXT for term in terms])


def about_anything(lists: Iterable[Sequence[Match]]) -> float:
    """The chance that a query is about anything in a library, by the ranked lists of its collections; 0 without any."""
    return max((match.about for matches in lists for match in matches[:1]), default=0.0)
