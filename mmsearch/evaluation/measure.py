"""Measures an encoder: pictures with captions or classes -> recall, rank and accuracy.

For zero-shot classification the name of a class is put into several sentences, whose embeddings are averaged
(Radford et al. 2021, arXiv 2103.00020, section 3.1.4).
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError, UsageError
from mmsearch.evaluation.datasets import CaptionSet, ClassSet
from mmsearch.training.evaluate import (
    ClassificationMetrics,
    RetrievalMetrics,
    caption_metrics,
    classification_metrics,
)
from mmsearch.types import Failure, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder

__all__ = ["PROMPTS", "CaptionsReport", "ClassesReport", "evaluate_captions", "evaluate_classes"]

ProgressCallback = Callable[[Progress], None]

PROMPTS = ("a photo of a {}.", "a picture of a {}.", "a close-up photo of a {}.", "a {}.")
_TEXTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class CaptionsReport:
    """How well captions find their pictures, and pictures their captions.

    Attributes:
        images, captions: How many were measured.
        skipped: Pictures that could not be read; they and their captions are left out.
    """

    model: str
    images: int
    captions: int
    text_to_image: RetrievalMetrics
    image_to_text: RetrievalMetrics
    skipped: tuple[Failure, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {
            "model": self.model,
            "images": self.images,
            "captions": self.captions,
            "text_to_image": self.text_to_image.to_dict(),
            "image_to_text": self.image_to_text.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class ClassesReport:
    """How often the class of a picture is recognised without training for it.

    Attributes:
        classes, items: How many were measured.
        skipped: Pictures that could not be read; they are left out.
    """

    model: str
    classes: int
    items: int
    metrics: ClassificationMetrics
    skipped: tuple[Failure, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {"classes": self.classes, "items": self.items, **self.metrics.to_dict()}


def evaluate_captions(
    encoder: Encoder, captions: CaptionSet, *, progress: ProgressCallback | None = None
) -> CaptionsReport:
    """Measure retrieval in both directions, over all pictures and all captions.

    Raises:
        UsageError: None of the pictures can be read.
        EncoderError: The encoder failed.
    """
    meter = _Meter(progress, len(captions.images) + len(captions.captions))
    embeddings, read, skipped = _embed_pictures(encoder, captions.images, meter)  # (n, dim)
    places = {number: place for place, number in enumerate(read)}
    kept = [
        (places[owner], text) for owner, text in zip(captions.owners, captions.captions, strict=True) if owner in places
    ]
    meter.total = len(captions.images) + len(kept)
    texts = _embed_texts(encoder, [text for _, text in kept], meter)  # (m, dim)
    text_to_image, image_to_text = caption_metrics(embeddings, texts, np.array([owner for owner, _ in kept]))
    return CaptionsReport(encoder.id, len(read), len(kept), text_to_image, image_to_text, skipped)


def evaluate_classes(
    encoder: Encoder,
    classes: ClassSet,
    *,
    prompts: Sequence[str] = PROMPTS,
    progress: ProgressCallback | None = None,
) -> ClassesReport:
    """Measure zero-shot classification.

    Args:
        encoder: What is measured.
        classes: Pictures and what they show.
        prompts: Sentences with ``{}`` for the name of a class; their embeddings are averaged.
        progress: Called after each batch.

    Raises:
        UsageError: None of the pictures can be read.
        EncoderError: The encoder failed.
    """
    sentences = [prompt.format(name) for name in classes.names for prompt in prompts]
    meter = _Meter(progress, len(classes.items) + len(sentences))
    embeddings, read, skipped = _embed_pictures(encoder, classes.items, meter)  # (n, dim)
    towards = _embed_texts(encoder, sentences, meter).reshape(len(classes.names), len(prompts), -1).mean(axis=1)
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-12)  # (classes, dim)
    labels = np.array([classes.labels[number] for number in read])
    metrics = classification_metrics(embeddings @ towards.T, labels, len(classes.names))
    return ClassesReport(encoder.id, len(classes.names), len(read), metrics, skipped)


class _Meter:
    """Counts the pictures and texts that are done."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self.total = total
        self._progress = progress
        self._done = 0
        self._start = time.perf_counter()

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(Progress("embed", self._done, self.total, time.perf_counter() - self._start))


def _embed_texts(encoder: Encoder, texts: Sequence[str], meter: _Meter) -> NDArray[np.float32]:
    parts: list[NDArray[np.float32]] = []
    for at in range(0, len(texts), _TEXTS_AT_ONCE):
        parts.append(encoder.encode_texts(texts[at : at + _TEXTS_AT_ONCE]))
        meter.advance(len(parts[-1]))
    return np.concatenate(parts)


def _embed_pictures(
    encoder: Encoder, paths: Sequence[Path], meter: _Meter
) -> tuple[NDArray[np.float32], list[int], tuple[Failure, ...]]:
    """Embed pictures: (n, dim) embeddings, the indices of the n that could be read, and the others with reasons."""
    parts: list[NDArray[np.float32]] = []
    read: list[int] = []
    skipped: list[Failure] = []
    batch: list[NDArray[Any]] = []

    def encode() -> None:
        if batch:
            parts.append(encoder.encode_images(batch))
            meter.advance(len(batch))
            batch.clear()

    for number, result in enumerate(_prepared(encoder, paths)):
        if isinstance(result, Failure):
            skipped.append(result)
            meter.advance(1)
            continue
        read.append(number)
        batch.append(result)
        if len(batch) >= encoder.batch_size:
            encode()
    encode()
    if not parts:
        raise UsageError(f"None of the pictures can be read, the first is {paths[0]}: {skipped[0].reason}.")
    return np.concatenate(parts), read, tuple(skipped)


def _prepared(encoder: Encoder, paths: Sequence[Path]) -> Iterator[NDArray[Any] | Failure]:
    """Decode on threads, a bounded number ahead, in order."""
    from mmsearch.media.image import read_image

    def prepare(path: Path) -> NDArray[Any] | Failure:
        try:
            return encoder.prepare_image(read_image(path, target_side=encoder.image_size).image)
        except MediaError as error:
            return Failure(path, error.reason)

    threads = max(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        yield from _in_order(pool, prepare, paths, ahead=2 * encoder.batch_size + threads)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Path], Any], paths: Iterable[Path], ahead: int
) -> Iterator[Any]:
    remaining = iter(paths)
    waiting: deque[Future[Any]] = deque(pool.submit(work, path) for path in islice(remaining, ahead))
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, path) for path in islice(remaining, 1))
    finally:
        for future in waiting:
            future.cancel()
