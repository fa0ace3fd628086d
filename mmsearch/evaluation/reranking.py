"""Embedded captions and pictures, and a reranker -> where each query finds what belongs to it, once it is reranked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.evaluation.embedding import EmbeddedCaptions, ProgressCallback
from mmsearch.query.calibration import calibration_for
from mmsearch.rerank.query_bank import spread
from mmsearch.training.ranking import Ranking, rank_scored_items
from mmsearch.types import (
    Item,
    MediaInfo,
    Modality,
    Progress,
    RerankCandidate,
    RerankTerm,
    Segment,
    SegmentRecord,
)
from mmsearch.vectors.sampling import SAMPLE_SIZE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Reranker

__all__ = ["reranked_rankings"]


def reranked_rankings(
    encoder_id: str,
    embedded: EmbeddedCaptions,
    reranker: Reranker,
    shortlist: int,
    *,
    progress: ProgressCallback | None = None,
) -> tuple[Ranking, Ranking]:
    """Rank images for captions and captions for images, the first of each list by the reranker.

    Each query's list is that of the embeddings, as `mmsearch.training.ranking.caption_rankings` has it; its first
    `shortlist` entries are read again, exactly as a search does it, and come in the order that they then have.

    Returns:
        Text to image, with m queries; image to text, with n.

    Raises:
        EncoderError: The reranker failed, or does not read such pairs.
    """
    images, captions = embedded.image_embeddings, embedded.caption_embeddings
    meter = _meter(progress, len(captions) + len(images))
    seen: Sequence[NDArray[np.int8] | None] = [None] * len(images) if embedded.tokens is None else [*embedded.tokens]
    some = images[spread(len(images), SAMPLE_SIZE)]
    pictures = [_record(path, Modality.IMAGE) for path in embedded.images]
    sentences = [_record(embedded.images[own], Modality.TEXT, text) for own, text in _owned(embedded)]

    def there(query: int, chosen: NDArray[np.int64], priors: NDArray[np.float64]) -> NDArray[np.float64] | None:
        asked = RerankTerm(embedded.captions[query], Modality.TEXT, captions[query], pictures=some)
        found = [
            RerankCandidate(pictures[at], images[at], prior, seen[at])
            for at, prior in zip(chosen.tolist(), priors.tolist(), strict=True)
        ]
        return reranker.log_odds(asked, found)

    def back(query: int, chosen: NDArray[np.int64], priors: NDArray[np.float64]) -> NDArray[np.float64] | None:
        asked = RerankTerm(embedded.images[query], Modality.IMAGE, images[query], seen[query], some)
        found = [
            RerankCandidate(sentences[at], captions[at], prior)
            for at, prior in zip(chosen.tolist(), priors.tolist(), strict=True)
        ]
        return reranker.log_odds(asked, found)

    order = np.argsort(embedded.owners, kind="stable")
    own = np.split(order, np.searchsorted(embedded.owners[order], np.arange(1, len(images))))
    by_text = _rows(encoder_id, captions, images, (Modality.TEXT, Modality.IMAGE), there, shortlist, meter)
    by_image = _rows(encoder_id, images, captions, (Modality.IMAGE, Modality.TEXT), back, shortlist, meter)
    return (
        rank_scored_items(by_text, [embedded.owners[at : at + 1] for at in range(len(captions))]),
        rank_scored_items(by_image, own),
    )


def _rows(
    encoder_id: str,
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    crossing: tuple[Modality, Modality],
    read: Callable[[int, NDArray[np.int64], NDArray[np.float64]], NDArray[np.float64] | None],
    shortlist: int,
    meter: Callable[[], None],
) -> Iterator[NDArray[np.float64]]:
    """The scores of all items for each query: those of its shortlist above all others."""
    calibration = calibration_for(encoder_id, *crossing)
    size = min(shortlist, len(items))
    for query, embedding in enumerate(queries):
        similar = items @ embedding
        priors = calibration.log_odds(similar, calibration.background(similar))
        chosen = np.argsort(-similar, kind="stable")[:size]
        odds = read(query, chosen, priors[chosen])
        if odds is None:
            raise EncoderError(f"The reranker does not read {crossing[1]}s for {crossing[0]}s.")
        odds = np.where(np.isfinite(odds), odds, priors[chosen])
        scores = priors - priors.max() - 1.0
        scores[chosen] = odds - odds.min()
        meter()
        yield scores


def _owned(embedded: EmbeddedCaptions) -> Iterator[tuple[int, str]]:
    return zip(embedded.owners.tolist(), embedded.captions, strict=True)


def _record(path: Path, kind: Modality, text: str | None = None) -> SegmentRecord:
    """A picture or a caption as a library would hold it."""
    return SegmentRecord(Segment(0, 0, 0, kind, text=text), Item(0, Modality.IMAGE, path, None, 0, 0, MediaInfo(), {}))


def _meter(progress: ProgressCallback | None, total: int) -> Callable[[], None]:
    start, done = time.perf_counter(), 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(Progress("read", done, total, time.perf_counter() - start, "queries reranked"))

    return advance
