"""Retriever answers a query over one space: query -> embeddings -> candidates -> calibrated, fused hits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError, QueryError, UsageError
from mmsearch.query.calibration import Calibration, Pair, calibration_for
from mmsearch.query.fusion import fuse
from mmsearch.query.language import Query, Term
from mmsearch.types import Filters, Hit, Modality, SegmentRecord, Stage

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.protocols import Encoder, VectorSource
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.store import VectorStore

__all__ = ["Retriever"]

# A composite query ranks the union of its terms' shortlists, each at least this deep.
_SHORTLIST = 500


class Retriever:
    """Searches the vectors that one encoder has in a catalog."""

    def __init__(self, catalog: Catalog, encoder: Encoder, store: VectorStore) -> None:
        """Search the vectors of `encoder` in `catalog`, with `store` as their index."""
        self._catalog = catalog
        self._encoder = encoder
        self._store = store

    @property
    def _source(self) -> VectorSource:
        return self._catalog.vector_source(self._encoder.id)

    def search(self, query: Query, k: int, modalities: Iterable[Modality | str] | None = None) -> list[Hit]:
        """Find the k items that match best, each with its best segment.

        Raises:
            UsageError: A modality does not exist.
            QueryError: A picture of the query cannot be read.
            EncoderError: The encoder failed.
        """
        allowed = self._allowed(modalities)
        embeddings = self._embed(query.terms)  # (terms, dim)
        if len(query.terms) == 1:
            return self._search_one(query.terms[0], embeddings, k, allowed)
        return self._search_composite(query.terms, embeddings, k, allowed)

    def _search_one(
        self, term: Term, embedding: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[Hit]:
        calibration = self._calibration(term)
        records: list[tuple[float, SegmentRecord]] = []
        depth = k
        while True:
            ids, scores = self._store.search(self._source, embedding, depth, allowed=allowed)
            found = ids[0] >= 0
            records = self._records(ids[0][found], scores[0][found], k)
            # A removal that came after the index was read leaves a gap: look deeper, until all is seen.
            if len(records) >= k or int(np.count_nonzero(found)) < depth:
                break
            depth *= 2
        if not records:
            return []
        scores = np.array([score for score, _ in records], np.float32)
        odds = calibration.log_odds(scores, calibration.background(self._background(embedding)[0]))
        return _hits(records, 1.0 / (1.0 + np.exp(-odds)), "vector")

    def _search_composite(
        self,
        terms: tuple[Term, ...],
        embeddings: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None,
    ) -> list[Hit]:
        sought = np.array([term.weight > 0 for term in terms])
        depth = max(_SHORTLIST, 10 * k)
        ids, _ = self._store.search(self._source, embeddings[sought], depth, allowed=allowed)
        shortlist, vectors = self._catalog.vectors(self._encoder.id, ids[ids >= 0])  # each once: (n,), (n, dim)
        if shortlist.size == 0:
            return []
        scores = embeddings @ vectors.T  # (terms, n)
        background = self._background(embeddings)  # (terms, sample)
        log_odds = np.empty(scores.shape)
        for row, term in enumerate(terms):
            calibration = self._calibration(term)
            log_odds[row] = calibration.log_odds(scores[row], calibration.background(background[row]))
        fused, relevance = fuse(log_odds, [term.weight for term in terms])
        order = np.lexsort((shortlist, -fused))
        by_segment = dict(zip(shortlist.tolist(), relevance.tolist(), strict=True))
        records = self._records(shortlist[order], fused[order], k)
        return _hits(records, np.array([by_segment[record.segment.id] for _, record in records]), "fused")

    def _records(self, ids: NDArray[np.int64], scores: NDArray[Any], k: int) -> list[tuple[float, SegmentRecord]]:
        """The k best items among the segments, each with its best segment."""
        records = self._catalog.segments(ids.tolist())
        best: dict[int, tuple[float, SegmentRecord]] = {}
        for segment_id, score in zip(ids.tolist(), scores.tolist(), strict=True):
            record = records.get(segment_id)
            if record is not None and record.item.id not in best:
                best[record.item.id] = (score, record)
                if len(best) == k:
                    break
        return list(best.values())

    def _background(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (terms, sample) of each term against a sample of the library."""
        _, vectors = self._store.sample(self._source)
        return np.asarray(embeddings @ vectors.T)

    def _calibration(self, term: Term) -> Calibration:
        pair: Pair = "text-image" if isinstance(term.content, str) else "image-image"
        return calibration_for(self._encoder.id, pair)

    def _allowed(self, modalities: Iterable[Modality | str] | None) -> NDArray[np.int64] | None:
        if modalities is None:
            return None
        names = {str(name) for name in modalities}
        kinds = {str(kind) for kind in Modality}
        if unknown := sorted(names - kinds):
            raise UsageError(f"There is no type {unknown[0]!r}.", hint=f"Types: {', '.join(sorted(kinds))}.")
        return self._catalog.select_segments(
            self._encoder.id, Filters(modalities=frozenset(Modality(name) for name in names))
        )

    def _embed(self, terms: Sequence[Term]) -> NDArray[np.float32]:
        """Embeddings (terms, dim) of the terms; a picture that the library holds is not embedded again."""
        embeddings = np.empty((len(terms), self._encoder.dim), np.float32)
        texts = [row for row, term in enumerate(terms) if isinstance(term.content, str)]
        if texts:
            embeddings[texts] = self._encoder.encode_texts([str(terms[row].content) for row in texts])
        for row, term in enumerate(terms):
            if not isinstance(term.content, str):
                embeddings[row] = self._embed_picture(term.content)
        return embeddings

    def _embed_picture(self, content: Path | bytes | Image.Image) -> NDArray[np.float32]:
        if isinstance(content, Path) and (known := self._stored(content)) is not None:
            return known
        if isinstance(content, Path | bytes):
            from mmsearch.media.image import read_image

            try:
                picture = read_image(content, target_side=self._encoder.image_size).image
            except MediaError as error:
                raise QueryError(f"Cannot search by {_named(content)}: {error.reason}.") from error
        else:
            picture = content.convert("RGB")
        return np.asarray(self._encoder.encode_images([self._encoder.prepare_image(picture)])[0])

    def _stored(self, path: Path) -> NDArray[np.float32] | None:
        """The embedding of a picture that lies in the library unchanged, else None."""
        item = self._catalog.item_at(path)
        if item is None:
            return None
        try:
            stat = path.stat()
        except OSError:
            return None
        if (stat.st_size, stat.st_mtime_ns) != (item.size_bytes, item.mtime_ns):
            return None
        segments = self._catalog.segments_of(item.id)
        _, vectors = self._catalog.vectors(self._encoder.id, [segment.id for segment in segments])
        return vectors[0] if len(vectors) == 1 else None


def _named(content: Path | bytes) -> str:
    return str(content) if isinstance(content, Path) else "the picture from standard input"


def _hits(records: Sequence[tuple[float, SegmentRecord]], relevance: NDArray[np.float64], stage: Stage) -> list[Hit]:
    return [
        Hit(
            rank=rank,
            score=float(score),
            relevance=float(chance),
            stage=stage,
            item_id=record.item.id,
            segment_id=record.segment.id,
            modality=record.item.modality,
            path=record.item.path,
            start_ms=record.segment.start_ms,
            end_ms=record.segment.end_ms,
            text=record.segment.text,
        )
        for rank, ((score, record), chance) in enumerate(zip(records, relevance, strict=True), start=1)
    ]
