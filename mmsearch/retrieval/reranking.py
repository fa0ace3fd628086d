"""The matches of a collection are read again by a reranker, together with the query, and put into a better order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.query.fusion import fuse
from mmsearch.query.relevance import Answer, probability, reread_for
from mmsearch.retrieval.ranking import Match, weights_of
from mmsearch.types import Modality, RerankCandidate, RerankTerm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.rerank.token_store import TokenStore
    from mmsearch.retrieval.terms import EmbeddedTerm, TermEmbedder
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.store import VectorStore

__all__ = ["SHORTLIST", "ShortlistReranker"]

SHORTLIST = 100
"""Segments of each collection that are read again."""
_LEAST_DEVIATION = 1e-9
# Characters that few captions are longer than.
_CAPTION = 160


class ShortlistReranker:
    """Reads the best matches of one collection again.

    Args:
        catalog: Holds the embeddings.
        encoder: Whose matches they are.
        modality: Of the collection.
        reranker: Reads them.
        pictures: The index of the library's pictures: of a collection of frames the frames, else the photos.
        store: Holds the tokens of the collection's pictures, or for texts those of photos that may ask; None where
            there are none.
        shortlist: How many it reads at most.
    """

    def __init__(
        self,
        catalog: Catalog,
        encoder: Encoder,
        modality: Modality,
        reranker: Reranker,
        pictures: VectorStore,
        store: TokenStore | None,
        shortlist: int = SHORTLIST,
    ) -> None:
        self._catalog = catalog
        self._encoder = encoder
        self._modality = modality
        self._reranker = reranker
        self._pictures = pictures
        self._kind = Modality.VIDEO if modality is Modality.VIDEO else Modality.IMAGE
        self._store = store
        self.shortlist = shortlist

    def reads(self, terms: Sequence[EmbeddedTerm]) -> bool:
        """Whether any of a query's terms can be read together with what the collection holds."""
        return any(self._crosses(term) for term in terms)

    def rerank(self, terms: Sequence[EmbeddedTerm], matches: Sequence[Match], embedder: TermEmbedder) -> list[Match]:
        """Put the first matches into a better order; the others follow as they are.

        What the reranker cannot read, such as a picture whose tokens are not stored, keeps what retrieval knew of it.

        Args:
            terms: Of the query.
            matches: Best first, with the log-odds and the evidence of each term.
            embedder: Made the terms.

        Raises:
            EncoderError: The reranker failed.
        """
        first, rest = list(matches[: self.shortlist]), list(matches[self.shortlist :])
        if not first:
            return rest
        evidence = np.array([match.evidence for match in first]).T  # (terms, n)
        log_odds = np.array([match.log_odds for match in first]).T
        odds = evidence.copy()
        read = np.zeros(len(first), np.bool_)
        tokens, vectors = self._tokens(first), self._vectors(first)
        for row, term in enumerate(terms):
            if not self._crosses(term):
                continue
            asked = self._asked(term, embedder)
            if asked is None:
                continue
            candidates = [
                RerankCandidate(match.record, vector, prior, own)
                for match, vector, prior, own in zip(first, vectors, evidence[row].tolist(), tokens, strict=True)
            ]
            found = self._reranker.log_odds(asked, candidates)
            if found is None:
                continue
            there = np.isfinite(found)
            if there.any():
                odds[row, there] = found[there]
                read |= there
                log_odds[row] = self._calibrated(term, first, odds[row], log_odds[row], first[0].answers[row])
        if not read.any():
            return [*first, *rest]
        if len(terms) == 1:
            scores, relevance = odds[0], probability(log_odds[0])
        else:
            scores, relevance = fuse(log_odds, weights_of(terms))
        reranked = [
            replace(
                match, score=score, relevance=chance, stage="rerank", log_odds=tuple(own), retrieval_score=match.score
            )
            for match, score, chance, own in zip(
                first, scores.tolist(), relevance.tolist(), log_odds.T.tolist(), strict=True
            )
        ]
        return [*sorted(reranked, key=lambda match: (-match.score, match.record.segment.id)), *rest]

    def _calibrated(
        self,
        term: EmbeddedTerm,
        matches: Sequence[Match],
        odds: NDArray[np.float64],
        known: NDArray[np.float64],
        answer: Answer,
    ) -> NDArray[np.float64]:
        """What the reranker's log-odds (n,) of a shortlist mean, given what retrieval knew (n,); in the same order.

        Of a reranker that nothing is known of, and of passages, which the built-in one did not learn from, all that can
        be told is the order: how relevant the shortlist is as a whole, and how much that differs, is left as it was.
        """
        fitted = reread_for(self._reranker.id, term.asked, self._modality)
        if fitted is not None and (self._modality is not Modality.TEXT or _captions(matches)):
            return fitted.log_odds(odds, answer.reread(odds))
        deviation = float(odds.std())
        scale = float(known.std()) / deviation if deviation > _LEAST_DEVIATION else 1.0
        return np.asarray((odds - odds.mean()) * scale + known.mean())

    def _crosses(self, term: EmbeddedTerm) -> bool:
        """Whether words meet pictures, one way or the other."""
        if self._modality is Modality.TEXT:
            return term.asked is Modality.IMAGE
        return term.asked is Modality.TEXT and self._modality in (Modality.IMAGE, Modality.VIDEO)

    def _asked(self, term: EmbeddedTerm, embedder: TermEmbedder) -> RerankTerm | None:
        """The term as the reranker reads it; None for a file that is no single picture."""
        if term.asked is Modality.TEXT:
            return self._term(term) if isinstance(term.content, str) else None
        if self._reranker.tokens is None:
            return self._term(term)
        if self._store is not None and term.segment is not None:
            there, rows = self._store.read([term.segment])
            if there[0]:
                return self._term(term, rows[0])
        picture = embedder.picture(term.content)
        if picture is None or self._encoder.patches is None:
            return None
        _, patches = self._encoder.encode_images_with_patches([picture])
        return self._term(term, self._reranker.compress(patches)[0])

    def _term(self, term: EmbeddedTerm, tokens: NDArray[np.int8] | None = None) -> RerankTerm:
        _, pictures = self._pictures.sample(self._catalog.vector_source(self._encoder.id, self._kind))
        return RerankTerm(term.content, term.asked, term.embedding, tokens, pictures)

    def _tokens(self, matches: Sequence[Match]) -> Sequence[NDArray[np.int8] | None]:
        if self._store is None or self._modality is Modality.TEXT:
            return [None] * len(matches)
        ids = np.array([match.record.segment.id for match in matches])
        there, rows = self._store.read(ids)
        return [row if known else None for known, row in zip(there.tolist(), rows, strict=True)]

    def _vectors(self, matches: Sequence[Match]) -> NDArray[np.float32]:
        """(n, dim) embeddings; zeros for what was removed meanwhile."""
        ids = np.array([match.record.segment.id for match in matches])
        found, vectors = self._catalog.vectors(self._encoder.id, ids.tolist())
        rows = np.zeros((len(ids), self._encoder.dim), np.float32)
        if len(found):
            places = np.minimum(np.searchsorted(found, ids), len(found) - 1)
            rows[found[places] == ids] = vectors[places[found[places] == ids]]
        return rows


def _captions(matches: Sequence[Match]) -> bool:
    """Whether most of the texts are as short as captions are."""
    short = sum(len(match.record.segment.text or "") <= _CAPTION for match in matches)
    return 2 * short >= len(matches)
