"""Pixels, words and samples in, deterministic embeddings out, without a model: the encoder of fast tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.absent import OneTextTower
from mmsearch.types import Modality, PatchFormat, SoundFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["HashingEncoder"]

_SIDE = 8
_BIAS = 0.25
_BANDS = 16
_WORD = re.compile(r"\w+")


class HashingEncoder(OneTextTower):
    """An encoder that hashes instead of understanding: equal inputs meet, similar pictures and word sets lie close.

    Pictures are compared by their colours on an 8 x 8 grid, texts by the words that they share, sounds by their
    loudness in bands of frequency. A picture and a text have nothing to do with each other, so it is of no use to
    people and `load_encoder` hides it from them.

    Args:
        dim: Length of the embeddings.
    """

    id = "hashing"
    modalities = frozenset({Modality.IMAGE, Modality.TEXT, Modality.AUDIO})
    sound = SoundFormat(rate=8000, window_ms=1000, hop_ms=500)
    text_pieces = 64
    patches = PatchFormat(rows=4, columns=4, width=3)
    image_size = _SIDE
    batch_size = 64

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim
        self._sounds = np.random.default_rng(1).standard_normal((_BANDS + 1, dim), dtype=np.float32)
        self._projection = np.random.default_rng(0).standard_normal((_SIDE * _SIDE * 3 + 1, dim), dtype=np.float32)

    def prepare_image(self, image: Image.Image) -> NDArray[Any]:
        """Shrink an RGB image to (8, 8, 3) uint8."""
        from PIL import Image as pil

        small = image.convert("RGB").resize((_SIDE, _SIDE), pil.Resampling.BOX)
        return np.asarray(small, dtype=np.uint8)

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Project the grids of n prepared images to (n, dim) float32, rows L2-normalised."""
        if not images:
            return np.empty((0, self.dim), np.float32)
        grids = np.stack(images).reshape(len(images), -1).astype(np.float32) / 127.5 - 1  # (n, 8, 8, 3) -> (n, 192)
        # The constant keeps a plain mid-grey picture from having no direction at all.
        features = np.concatenate([grids, np.full((len(images), 1), _BIAS, np.float32)], axis=1)
        # einsum adds up each row by itself: a picture's embedding does not depend on the batch that it came in.
        return _normalised(np.einsum("nf,fd->nd", features, self._projection))

    def encode_images_with_patches(
        self, images: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `encode_images` gives, and the mean colours, -1 to 1, of 4 x 4 places: (n, 16, 3) float32."""
        if not images:
            return self.encode_images(images), np.empty((0, self.patches.count, 3), np.float32)
        grids = np.stack(images).astype(np.float32) / 127.5 - 1
        colours = grids.reshape(len(images), 4, _SIDE // 4, 4, _SIDE // 4, 3).mean((2, 4), np.float32)
        return self.encode_images(images), colours.reshape(len(images), -1, 3)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Add up the signs of the words of n texts, whatever their case and order: (n, dim) float32, normalised."""
        rows = np.empty((len(texts), self.dim), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = _signs("", self.dim) * _BIAS
            for word in _WORD.findall(text.lower()):
                row += _signs(word, self.dim)
        return _normalised(rows)

    def prepare_sound(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """The share of each of 16 bands of frequency in the power of (n,) samples: (16,) float32."""
        power = np.abs(np.fft.rfft(samples, max(len(samples), 2 * _BANDS))) ** 2
        bands = np.array([band.sum() for band in np.array_split(power, _BANDS)], np.float32)
        return np.asarray(bands / max(float(bands.sum()), 1e-12), np.float32)

    def encode_sounds(self, sounds: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Project the bands of n prepared sounds to (n, dim) float32, rows L2-normalised."""
        if not sounds:
            return np.empty((0, self.dim), np.float32)
        features = np.concatenate([np.stack(sounds), np.full((len(sounds), 1), _BIAS, np.float32)], axis=1)
        return _normalised(np.einsum("nf,fd->nd", features, self._sounds))


@lru_cache(maxsize=4096)
def _signs(word: str, dim: int) -> NDArray[np.float32]:
    """A (dim,) vector of +1 and -1 that depends on the word alone."""
    blocks = (
        blake2b(word.encode("utf-8", "surrogateescape"), salt=block.to_bytes(8, "little")).digest()
        for block in range(-(-dim // 512))
    )
    bits = np.unpackbits(np.frombuffer(b"".join(blocks), np.uint8))[:dim]
    return bits.astype(np.float32) * 2 - 1


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)
