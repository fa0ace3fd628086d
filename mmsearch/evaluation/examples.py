"""A report goes in, example queries with their best hits come out, evenly spread from what went well to what did not.

Of queries sorted by the rank at which they found what belongs to them, equally many are chosen at random from each of
as many equal parts as examples are wanted. So the examples stand for the whole, and none is picked for its looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.evaluation.measure import CaptionsReport, ClassesReport

__all__ = [
    "CaptionHit",
    "ClassExample",
    "ImageExample",
    "PictureHit",
    "TextExample",
    "class_examples",
    "image_examples",
    "spread",
    "text_examples",
]

HITS = 6


@dataclass(frozen=True, slots=True)
class PictureHit:
    """A picture that was found.

    Attributes:
        rank: 1 for the best.
        right: Whether it belongs to the query.
        label: What it really shows, where that is a class.
    """

    path: Path
    rank: int
    right: bool
    label: str = ""


@dataclass(frozen=True, slots=True)
class CaptionHit:
    """A caption that was found; attributes as for `PictureHit`."""

    text: str
    rank: int
    right: bool


@dataclass(frozen=True, slots=True)
class TextExample:
    """A caption as a query.

    Attributes:
        hits: The best pictures.
        own: The caption's own picture, where it is not among them.
    """

    caption: str
    hits: tuple[PictureHit, ...]
    own: PictureHit | None


@dataclass(frozen=True, slots=True)
class ImageExample:
    """A picture as a query.

    Attributes:
        hits: The best captions.
        own: The best of the picture's own captions, where none is among them.
    """

    picture: Path
    hits: tuple[CaptionHit, ...]
    own: CaptionHit | None


@dataclass(frozen=True, slots=True)
class ClassExample:
    """A class as a query.

    Attributes:
        recognised: Share of its pictures that were taken for it.
        items: How many pictures it has.
        hits: The best pictures.
    """

    name: str
    recognised: float
    items: int
    hits: tuple[PictureHit, ...]


def spread(values: NDArray[np.float64] | NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of at most `count` values, one at random from each of as many equal parts of the sorted values."""
    shuffled = rng.permutation(len(values))  # equal values come in any order
    order = shuffled[np.argsort(values[shuffled], kind="stable")]
    parts = np.array_split(order, min(count, len(order)))
    return np.array([part[rng.integers(len(part))] for part in parts], dtype=np.int64)


def text_examples(report: CaptionsReport, count: int, *, seed: int = 0) -> list[TextExample]:
    """Captions as queries, from those that found their picture best to those that found it worst."""
    data, first = report.embedded, report.by_text.ranking.first
    found = []
    for query in spread(first, count, np.random.default_rng(seed)):
        owner = int(data.owners[query])
        best = _best(data.image_embeddings @ data.caption_embeddings[query], np.array([owner]), HITS)
        hits = tuple(PictureHit(data.images[i], rank, i == owner) for rank, i in enumerate(best, start=1))
        own = None if owner in best else PictureHit(data.images[owner], int(first[query]), right=True)
        found.append(TextExample(data.captions[query], hits, own))
    return found


def image_examples(report: CaptionsReport, count: int, *, seed: int = 0) -> list[ImageExample]:
    """Pictures as queries, from those that found one of their captions best to those that found it worst."""
    data, first = report.embedded, report.by_image.ranking.first
    found = []
    for query in spread(first, count, np.random.default_rng(seed)):
        scores, own = data.caption_embeddings @ data.image_embeddings[query], np.flatnonzero(data.owners == query)
        best = _best(scores, own, HITS)
        hits = tuple(CaptionHit(data.captions[i], rank, i in own) for rank, i in enumerate(best, start=1))
        nearest = data.captions[own[np.argmax(scores[own])]]
        missed = None if any(hit.right for hit in hits) else CaptionHit(nearest, int(first[query]), right=True)
        found.append(ImageExample(data.images[query], hits, missed))
    return found


def class_examples(report: ClassesReport, count: int, *, seed: int = 0) -> list[ClassExample]:
    """Classes as queries over all pictures, from the one that is recognised best to the worst."""
    data = report.embedded
    accuracies = report.class_accuracies()
    there = np.flatnonzero(~np.isnan(accuracies))
    found = []
    for label in there[spread(-accuracies[there], count, np.random.default_rng(seed))]:
        own = np.flatnonzero(data.labels == label)
        best = _best(data.item_embeddings @ data.class_embeddings[label], own, HITS + 1)
        hits = tuple(
            PictureHit(data.items[i], rank, bool(data.labels[i] == label), data.names[data.labels[i]])
            for rank, i in enumerate(best, start=1)
        )
        found.append(ClassExample(data.names[label], float(accuracies[label]), len(own), hits))
    return found


def _best(scores: NDArray[np.float32], own: NDArray[np.int64], count: int) -> list[int]:
    """Indices of the highest scores; of equal ones those in `own` come last, as in the ranks."""
    last = np.zeros(len(scores), dtype=bool)
    last[own] = True
    return [int(i) for i in np.lexsort((last, -scores))[:count]]
