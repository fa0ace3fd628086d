"""Features, captions and what a classifier knows go in, batches come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsearch.training.datasets import CaptionedPhotos

__all__ = ["Material"]


@dataclass(frozen=True, slots=True)
class Material:
    """What both stages learn from: features of the photos' views, captions, and what the classifier knows."""

    photos: CaptionedPhotos
    views: tuple[Tensor, ...]
    tokens: list[list[int]]
    classifier: tuple[Tensor, Tensor]
    class_tokens: list[list[int]]

    def batches(
        self, batch: int, captions: int, epochs: int, rng: np.random.Generator
    ) -> Iterator[tuple[Tensor, list[int]]]:
        """Features (batch, width) and the places of so many captions of each photo, photo by photo."""
        order = np.argsort(self.photos.owners, kind="stable")
        bounds = np.searchsorted(self.photos.owners[order], np.arange(len(self.photos.photos) + 1))
        for _ in range(epochs):
            shuffled = rng.permutation(len(self.photos.photos))
            for start in range(0, len(shuffled) - batch + 1, batch):
                chosen = shuffled[start : start + batch]
                views = rng.integers(0, len(self.views), len(chosen))
                features = torch.stack([self.views[v][i] for v, i in zip(views, chosen, strict=True)])
                drawn: list[int] = []
                for i in chosen:
                    own = order[bounds[i] : bounds[i + 1]]
                    drawn += rng.choice(own, captions, replace=len(own) < captions).tolist()
                yield features, drawn
