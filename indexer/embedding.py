"""Prepared segments -> their embeddings, by every encoder that takes them; each tower gets all of a batch at once.

Where a reranker keeps tokens of pictures, they are made of what the same pass of the tower yields beside embeddings.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.prepared import PreparedSegment
    from mmsearch.protocols import Encoder, Reranker

__all__ = ["Embedded", "PictureTokens", "embed", "embed_with_tokens", "encode_pictures"]

# Patches take half a megabyte a picture, so no more are held at once than fit in here.
_PATCH_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, eq=False)
class PictureTokens:
    """What a reranker keeps of some of the segments that were embedded.

    Attributes:
        places: Which of the segments (m,).
        tokens: (m, count, dim) int8.
    """

    places: list[int]
    tokens: NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of n segments.

    Attributes:
        embeddings: For each segment, encoder ids -> (dim,) float32, L2-normalised.
        tokens: Encoder ids -> the tokens of its pictures, for encoders with a reranker.
        compressing_s: Seconds that making tokens of patches took.
    """

    embeddings: list[dict[str, NDArray[np.float32]]]
    tokens: dict[str, PictureTokens]
    compressing_s: float


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
    return embed_with_tokens(encoders, segments, {}).embeddings


def embed_with_tokens(
    encoders: Sequence[Encoder], segments: Sequence[PreparedSegment], rerankers: Mapping[str, Reranker]
) -> Embedded:
    """Embed segments, and make tokens of pictures.

    Args:
        encoders: Each embeds what it can.
        segments: n of any modalities.
        rerankers: By the ids of their encoders, those that keep tokens.

    Raises:
        EncoderError: A tower or a reranker failed.
    """
    found: list[dict[str, NDArray[np.float32]]] = [{} for _ in segments]
    tokens: dict[str, PictureTokens] = {}
    compressing_s = 0.0
    for encoder in encoders:
        texts = [at for at, segment in enumerate(segments) if segment.modality is Modality.TEXT]
        sounds = [at for at in _taken(encoder, segments) if segments[at].modality is Modality.AUDIO]
        pictures = [at for at in _taken(encoder, segments) if segments[at].modality is not Modality.AUDIO]
        if pictures:
            inputs = [segments[at].inputs[encoder.id] for at in pictures]
            reranker = rerankers.get(encoder.id)
            if reranker is None or encoder.patches is None:
                _put(found, encoder, pictures, encoder.encode_images(inputs))
            else:
                embeddings, made, seconds = encode_pictures(encoder, reranker, inputs)
                _put(found, encoder, pictures, embeddings)
                tokens[encoder.id] = PictureTokens(pictures, made)
                compressing_s += seconds
        if sounds:
            _put(found, encoder, sounds, encoder.encode_sounds([segments[at].inputs[encoder.id] for at in sounds]))
        if texts and Modality.TEXT in encoder.modalities:
            _put(found, encoder, texts, encoder.encode_passages([segments[at].text or "" for at in texts]))
    return Embedded(found, tokens, compressing_s)


def encode_pictures(
    encoder: Encoder, reranker: Reranker, inputs: Sequence[Any]
) -> tuple[NDArray[np.float32], NDArray[np.int8], float]:
    """Embed n prepared pictures and make their tokens, of a few at a time.

    Returns:
        Embeddings (n, dim), tokens (n, count, dim), and the seconds that the tokens took.
    """
    form, kept = encoder.patches, reranker.tokens
    assert form is not None and kept is not None
    embeddings = np.empty((len(inputs), encoder.dim), np.float32)
    tokens = np.empty((len(inputs), kept.count, kept.dim), np.int8)
    few = max(1, _PATCH_BYTES // (4 * form.count * form.width))
    seconds = 0.0
    for start in range(0, len(inputs), few):
        part = slice(start, start + few)
        embeddings[part], patches = encoder.encode_images_with_patches(inputs[part])
        began = time.perf_counter()
        tokens[part] = reranker.compress(patches)
        seconds += time.perf_counter() - began
    return embeddings, tokens, seconds


def _taken(encoder: Encoder, segments: Sequence[PreparedSegment]) -> list[int]:
    return [at for at, segment in enumerate(segments) if encoder.id in segment.inputs]


def _put(
    found: list[dict[str, NDArray[np.float32]]], encoder: Encoder, places: list[int], embeddings: NDArray[np.float32]
) -> None:
    for at, embedding in zip(places, embeddings, strict=True):
        found[at][encoder.id] = embedding
