"""Synthetic embeddings that lie as those of a dual encoder do: pictures in clusters, captions beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import Watermark

__all__ = ["ArraySource", "World"]

TOPICS, SCENES = 256, 60
BATCH = 65_536
# Shares of a picture's vector: topic, scene within it, the picture itself, what all pictures have in common, noise.
TOPIC, SCENE, OWN, COMMON, NOISE = 0.7, 0.7, 0.7, 0.7, 0.25
# Shares of a caption's vector: what it says of a possible picture, noise, and what all captions have in common.
SAID, WORDING, APART = 0.45, 0.45, 0.8


class World:
    """Pictures and captions in one space.

    Directions differ in strength (their variance falls off as i ** -1.2, an effective dimension of about 16 to 20),
    clusters differ in size (Pareto), all pictures share a common direction (the cone that encoders map into) and all
    captions share another (the gap between modalities): a caption's best picture scores about 0.4, a picture's 0.85.
    """

    def __init__(self, dim: int, seed: int = 0) -> None:
        self._seed, self._dim = seed, dim
        random = np.random.default_rng([seed, 0])
        self._strength = (np.arange(1, dim + 1) ** -0.6).astype(np.float32)
        self._strength /= np.linalg.norm(self._strength)
        self._rotation = np.linalg.qr(random.standard_normal((dim, dim)))[0].astype(np.float32)
        self._pictures, self._captions = _unit(random.standard_normal((2, dim), dtype=np.float32))
        topics, scenes = (
            random.standard_normal((n, dim), dtype=np.float32) * self._strength for n in (TOPICS, TOPICS * SCENES)
        )
        self._centres = TOPIC * np.repeat(topics, SCENES, axis=0) + SCENE * scenes
        sizes = random.pareto(1.2, len(self._centres)) + 0.1
        self._shares = sizes / sizes.sum()

    def pictures(self, count: int, seed: int) -> NDArray[np.float32]:
        """(count, dim), L2-normalised."""
        random = np.random.default_rng([self._seed, 1, seed])
        return _unit(self._content(count, random) + COMMON * self._pictures + NOISE * self._noise(count, random))

    def captions(self, count: int, seed: int) -> NDArray[np.float32]:
        """(count, dim), L2-normalised."""
        random = np.random.default_rng([self._seed, 2, seed])
        said = self._content(count, random)
        return _unit(SAID * said + WORDING * self._noise(count, random) + APART * self._captions)

    def saved(self, count: int, folder: Path) -> NDArray[np.float16]:
        """Many pictures in half precision, made once and mapped from a file afterwards."""
        path = folder / f"pictures-{self._seed}-{self._dim}-{count}.npy"
        if not path.exists():
            part = path.with_suffix(".part")
            array = np.lib.format.open_memmap(part, "w+", np.float16, (count, self._dim))
            for number, low in enumerate(range(0, count, BATCH)):
                array[low : low + BATCH] = self.pictures(min(BATCH, count - low), 1000 + number)
            array.flush()
            part.rename(path)
        found: NDArray[np.float16] = np.load(path, mmap_mode="r")
        return found

    def _content(self, count: int, random: np.random.Generator) -> NDArray[np.float32]:
        chosen = random.choice(len(self._shares), count, p=self._shares)
        own = random.standard_normal((count, self._dim), dtype=np.float32) * self._strength
        return (self._centres[chosen] + OWN * own) @ self._rotation

    def _noise(self, count: int, random: np.random.Generator) -> NDArray[np.float32]:
        return _unit(random.standard_normal((count, self._dim), dtype=np.float32))


class ArraySource:
    """A `VectorSource` over an array (n, dim) of half-precision vectors, with the ids 1 to n."""

    def __init__(self, halves: NDArray[np.float16], encoder_id: str = "benchmark") -> None:
        self.encoder_id, self.dim, self._halves = encoder_id, halves.shape[1], halves

    def watermark(self) -> Watermark:
        """See `VectorSource.watermark`."""
        return Watermark(len(self._halves), 0, len(self._halves))

    def read(
        self, after_segment_id: int = 0, batch_size: int = BATCH
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """See `VectorSource.read`."""
        for low in range(after_segment_id, len(self._halves), batch_size):
            part = self._halves[low : low + batch_size]
            yield np.arange(low + 1, low + len(part) + 1), part.astype(np.float32)

    def removed_since(self, removal_id: int) -> NDArray[np.int64]:
        """Nothing was."""
        return np.empty(0, np.int64)

    def fetch(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `VectorSource.fetch`."""
        return ids, self._halves[ids - 1].astype(np.float32)


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
