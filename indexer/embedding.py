"""Prepared segments -> their embeddings, by every encoder that takes them; each tower gets all of a batch at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmsearch.types import Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from indexer.prepared import PreparedSegment
    from mmsearch.protocols import Encoder

__all__ = ["embed"]


def embed(encoders: Sequence[Encoder], segments: Sequence[PreparedSegment]) -> list[dict[str, NDArray[np.float32]]]:
    """Embed segments.

    Args:
        encoders: Each embeds what it can.
        segments: n of any modalities.

    Returns:
        For each segment, encoder ids -> (dim,) float32, L2-normalised.

    Raises:
        EncoderError: A tower failed.
    """
    found: list[dict[str, NDArray[np.float32]]] = [{} for _ in segments]
    for encoder in encoders:
        texts = [at for at, segment in enumerate(segments) if segment.modality is Modality.TEXT]
        sounds = [at for at in _taken(encoder, segments) if segments[at].modality is Modality.AUDIO]
        pictures = [at for at in _taken(encoder, segments) if segments[at].modality is not Modality.AUDIO]
        if pictures:
            _put(found, encoder, pictures, encoder.encode_images([segments[at].inputs[encoder.id] for at in pictures]))
        if sounds:
            _put(found, encoder, sounds, encoder.encode_sounds([segments[at].inputs[encoder.id] for at in sounds]))
        if texts and Modality.TEXT in encoder.modalities:
            _put(found, encoder, texts, encoder.encode_passages([segments[at].text or "" for at in texts]))
    return found


def _taken(encoder: Encoder, segments: Sequence[PreparedSegment]) -> list[int]:
    return [at for at, segment in enumerate(segments) if encoder.id in segment.inputs]


def _put(
    found: list[dict[str, NDArray[np.float32]]], encoder: Encoder, places: list[int], embeddings: NDArray[np.float32]
) -> None:
    for at, embedding in zip(places, embeddings, strict=True):
        found[at][encoder.id] = embedding
