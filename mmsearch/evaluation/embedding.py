"""An encoder, and captions or classes of files -> embeddings; what cannot be read is left out and named."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.embedding import encode_pictures
from mmsearch.config import processors
from mmsearch.errors import EncoderError, MediaError, UsageError
from mmsearch.evaluation.datasets import CaptionSet, ClassSet, is_sound
from mmsearch.training.classes import fill_prompt
from mmsearch.types import Failure, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, Reranker

__all__ = ["EmbeddedCaptions", "EmbeddedClasses", "ProgressCallback", "embed_captions", "embed_classes"]

ProgressCallback = Callable[[Progress], None]

_TEXTS_AT_ONCE = 256
_WINDOWS = 64  # of a sound, at most


@dataclass(frozen=True, slots=True)
class EmbeddedCaptions:
    """Pictures that could be read, and their captions.

    Attributes:
        images: n files.
        captions: m texts.
        owners: (m,) for each caption the index of its picture.
        image_embeddings: (n, dim).
        caption_embeddings: (m, dim).
        skipped: Pictures that could not be read; they and their captions are left out.
        tokens: (n, count, dim) int8 of the pictures, for a reranker that keeps tokens.
    """

    images: tuple[Path, ...]
    captions: tuple[str, ...]
    owners: NDArray[np.int64]
    image_embeddings: NDArray[np.float32]
    caption_embeddings: NDArray[np.float32]
    skipped: tuple[Failure, ...]
    tokens: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedClasses:
    """Classes, and those of their pictures or sounds that could be read.

    Attributes:
        names: Of the c classes.
        items: n files.
        labels: (n,) for each the index of its class.
        item_embeddings: (n, dim).
        class_embeddings: (c, dim), each the mean of its sentences, normalised again.
        skipped: Files that could not be read; they are left out.
    """

    names: tuple[str, ...]
    items: tuple[Path, ...]
    labels: NDArray[np.int64]
    item_embeddings: NDArray[np.float32]
    class_embeddings: NDArray[np.float32]
    skipped: tuple[Failure, ...]


def embed_captions(
    encoder: Encoder,
    captions: CaptionSet,
    *,
    reranker: Reranker | None = None,
    progress: ProgressCallback | None = None,
) -> EmbeddedCaptions:
    """Embed pictures and their captions.

    Pictures without a caption are left out. Where a reranker keeps tokens, they are made in the same pass.

    Raises:
        UsageError: None of the pictures can be read.
        EncoderError: The encoder failed.
    """
    captions = captions.select(np.unique(captions.owners))
    meter = _Meter(progress, len(captions.images) + len(captions.captions))
    tokens: list[NDArray[np.int8]] = []
    tokenised = None if reranker is None or reranker.tokens is None else reranker
    image_embeddings, read, skipped = _embed_files(encoder, captions.images, meter, tokenised, tokens)  # (n, dim)
    kept = captions.select(np.array(read))
    meter.total = len(captions.images) + len(kept.captions)
    caption_embeddings = _embed_texts(encoder, kept.captions, meter)  # (m, dim)
    return EmbeddedCaptions(
        kept.images,
        kept.captions,
        kept.owners,
        image_embeddings,
        caption_embeddings,
        skipped,
        np.concatenate(tokens) if tokens else None,
    )


def embed_classes(
    encoder: Encoder, classes: ClassSet, prompts: Sequence[str], *, progress: ProgressCallback | None = None
) -> EmbeddedClasses:
    """Embed pictures or sounds, and the names of their classes in several sentences each.

    The embeddings of a class's sentences are averaged (Radford et al. 2021, arXiv 2103.00020, section 3.1.4).

    Args:
        encoder: What is measured.
        classes: Files of one kind and what they are.
        prompts: Sentences with one ``{}`` for the name of a class.
        progress: Called after each batch.

    Raises:
        UsageError: None of the files can be read, or a prompt has no ``{}``.
        EncoderError: The encoder failed, or takes no sounds.
    """
    sentences = [fill_prompt(prompt, name) for name in classes.names for prompt in prompts]
    meter = _Meter(progress, len(classes.items) + len(sentences))
    item_embeddings, read, skipped = _embed_files(encoder, classes.items, meter)  # (n, dim)
    means = _embed_texts(encoder, sentences, meter).reshape(len(classes.names), len(prompts), -1).mean(axis=1)
    return EmbeddedClasses(
        names=classes.names,
        items=tuple(classes.items[number] for number in read),
        labels=np.array([classes.labels[number] for number in read], dtype=np.int64),
        item_embeddings=item_embeddings,
        class_embeddings=means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12),
        skipped=skipped,
    )


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


def _embed_files(
    encoder: Encoder,
    paths: Sequence[Path],
    meter: _Meter,
    reranker: Reranker | None = None,
    tokens: list[NDArray[np.int8]] | None = None,
) -> tuple[NDArray[np.float32], list[int], tuple[Failure, ...]]:
    """Embed pictures, or sounds: (n, dim) embeddings, the indices of the n that could be read, others with reasons.

    The embedding of a sound is the mean of its windows', normalised again. Tokens of pictures are added to a list.
    """
    sounds = is_sound(paths[0]) if paths else False
    parts: list[NDArray[np.float32]] = []
    read: list[int] = []
    skipped: list[Failure] = []
    batch: list[list[NDArray[Any]]] = []

    def encode() -> None:
        if batch:
            flat = [prepared for own in batch for prepared in own]
            if reranker is not None and tokens is not None:
                rows, made, _ = encode_pictures(encoder, reranker, flat)
                tokens.append(made)
            else:
                rows = encoder.encode_sounds(flat) if sounds else encoder.encode_images(flat)
            if len(flat) > len(batch):
                starts = np.cumsum([0, *map(len, batch)])[:-1]
                rows = np.add.reduceat(rows, starts, axis=0)
                rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            parts.append(rows)
            meter.advance(len(batch))
            batch.clear()

    for number, result in enumerate(_prepared(encoder, paths, sounds)):
        if isinstance(result, Failure):
            skipped.append(result)
            meter.advance(1)
            continue
        read.append(number)
        batch.append(result)
        if sum(map(len, batch)) >= encoder.batch_size:
            encode()
    encode()
    if not parts:
        what = "sounds" if sounds else "pictures"
        raise UsageError(f"None of the {what} can be read, the first is {paths[0]}: {skipped[0].reason}.")
    return np.concatenate(parts), read, tuple(skipped)


def _prepared(encoder: Encoder, paths: Sequence[Path], sounds: bool) -> Iterator[list[NDArray[Any]] | Failure]:
    """Decode on threads, a bounded number ahead, in order: what the encoder takes of each file, a list."""

    def prepare(path: Path) -> list[NDArray[Any]] | Failure:
        try:
            return _windows(encoder, path) if sounds else [_picture(encoder, path)]
        except MediaError as error:
            return Failure(path, error.reason)

    threads = max(2, processors())
    ahead = threads if sounds else 2 * encoder.batch_size + threads
    with ThreadPoolExecutor(threads) as pool:
        yield from _in_order(pool, prepare, paths, ahead=ahead)


def _picture(encoder: Encoder, path: Path) -> NDArray[Any]:
    from mmsearch.media.image import read_image

    return encoder.prepare_image(read_image(path, target_side=encoder.image_size).image)


def _windows(encoder: Encoder, path: Path) -> list[NDArray[Any]]:
    from mmsearch.media.audio import read_audio

    form = encoder.sound
    if form is None:
        raise EncoderError(f"The model {encoder.id} does not take sounds.")
    windows = read_audio(path, rate=form.rate, window_ms=form.window_ms, hop_ms=form.hop_ms, max_windows=_WINDOWS)
    prepared = [encoder.prepare_sound(window.samples) for window in windows]
    if not prepared:
        raise MediaError(path, "silent throughout")
    return prepared


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
