"""Captioned photos and an encoder go in; what the fusion model learns from comes out, kept in files.

Of each photo, in some views: its patches, brought to the places that tokens have, and its embedding. Of each caption,
as it is, as people type it, and distorted: the states of its words.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.files import whole, written
from mmsearch.rerank.adapter import pooled
from mmsearch.rerank.words import WordReader
from mmsearch.training.augmentation import PhotoChanges, photo_view, sentence_view
from mmsearch.training.datasets import read_photo
from mmsearch.training.distortions import distort
from mmsearch.types import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder
    from mmsearch.training.features import ProgressCallback

__all__ = ["SeenPhotos", "SentenceStates", "read_sentences", "see_photos", "typed", "wrong"]

_AT_ONCE, _READ_AT_ONCE = 32, 512
_HINT = "Make room, or choose another --out."


@dataclass(frozen=True, slots=True, eq=False)
class SeenPhotos:
    """What an encoder sees in n photos.

    Attributes:
        patches: For each view (n, places, width) float16, in files.
        embeddings: (n, dim) float32 of the photos as they are.
    """

    patches: tuple[NDArray[np.float16], ...]
    embeddings: NDArray[np.float32]

    def rows(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m, places, width) of some photos, each in one view."""
        rows = [self.patches[view][photo] for photo, view in zip(chosen.tolist(), views.tolist(), strict=True)]
        return np.stack(rows).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SentenceStates:
    """The words of n sentences.

    Attributes:
        states: (w, width) float16, in a file.
        starts: (n + 1,) where the words of each begin.
    """

    states: NDArray[np.float16]
    starts: NDArray[np.int64]

    def rows(self, chosen: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The states (w, width) of some sentences' words, and the place (w,) of each one's sentence among them."""
        own = [self.states[self.starts[at] : self.starts[at + 1]] for at in chosen.tolist()]
        owners = np.repeat(np.arange(len(own)), [len(part) for part in own])
        return np.concatenate(own).astype(np.float32), owners


def see_photos(
    encoder: Encoder,
    photos: Sequence[Path],
    views: int,
    wanted: tuple[int, int],
    folder: Path,
    *,
    seed: int = 0,
    changes: PhotoChanges = PhotoChanges(),  # noqa: B008 - it is frozen
    progress: ProgressCallback = None,
) -> SeenPhotos:
    """Look at photos with an encoder that yields patches; what is in the folder already is not looked at again.

    Args:
        encoder: Whose patches; `encoder.patches` must not be None.
        photos: Readable files.
        views: Of each photo; the first is the photo as it is.
        wanted: Rows and columns that patches are brought to.
        folder: Where they are kept.
        seed: Of the views.
        changes: How far views differ from the photo.
        progress: Called as photos are looked at.

    Raises:
        StorageError: There is no room.
        MediaError: A photo cannot be read any more.
        EncoderError: The encoder failed.
    """
    assert encoder.patches is not None
    grid = (encoder.patches.rows, encoder.patches.columns)
    stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in photos]
    named = repr((encoder.id, grid, wanted, encoder.patches.width, seed, changes, stamps))
    name = hashlib.sha256(named.encode()).hexdigest()[:16]
    began = time.monotonic()
    files = [folder / f"patches-{name}-{view}.npy" for view in range(views)]
    embedded = folder / f"embeddings-{name}.npy"
    for view, file in enumerate(files):
        if file.exists() and (view or embedded.exists()):
            continue
        embeddings: list[NDArray[np.float32]] = []
        with whole(file, hint=_HINT) as part:
            kept: Any = None
            for start in range(0, len(photos), _AT_ONCE):
                chosen = range(start, min(len(photos), start + _AT_ONCE))
                prepared = _prepared(encoder, photos, chosen, view, seed, changes)
                found, patches = encoder.encode_images_with_patches(prepared)
                rows = pooled(patches, grid, wanted).astype(np.float16)
                if kept is None:
                    kept = np.lib.format.open_memmap(part, "w+", rows.dtype, (len(photos), *rows.shape[1:]))
                kept[chosen.start : chosen.stop] = rows
                embeddings.append(found)
                if progress is not None:
                    done = view * len(photos) + chosen.stop
                    progress(Progress("look", done, views * len(photos), time.monotonic() - began))
            if kept is not None:
                kept.flush()
        if view == 0:
            with written(embedded, hint=_HINT) as stream:
                np.save(stream, np.concatenate(embeddings))
    return SeenPhotos(tuple(np.load(file, mmap_mode="r") for file in files), np.load(embedded))


def _prepared(
    encoder: Encoder, photos: Sequence[Path], chosen: range, view: int, seed: int, changes: PhotoChanges
) -> list[NDArray[Any]]:
    def look(photo: int) -> NDArray[Any]:
        from PIL import Image

        image = read_photo(photos[photo], encoder.image_size)
        if view:
            image = Image.fromarray(photo_view(image, image.size, view, (seed, photo), changes))
        return encoder.prepare_image(image)

    with ThreadPoolExecutor(processors()) as threads:
        return list(threads.map(look, chosen))


def read_sentences(
    reader: WordReader, sentences: Sequence[str], name: str, folder: Path, progress: ProgressCallback = None
) -> SentenceStates:
    """Read sentences word by word; what is in the folder already is not read again.

    Args:
        reader: Reads them.
        sentences: n of them.
        name: Names the reader, such as its depth.
        folder: Where the states are kept.
        progress: Called as sentences are read.

    Raises:
        StorageError: There is no room.
    """
    key = hashlib.sha256("\n".join([name, *sentences]).encode()).hexdigest()[:16]
    file, starts_file = folder / f"words-{key}.npy", folder / f"words-{key}-starts.npy"
    if not (file.exists() and starts_file.exists()):
        began = time.monotonic()
        # Sentences of like length go through the tower together.
        order = sorted(range(len(sentences)), key=lambda at: len(sentences[at]))
        found: list[NDArray[np.float16]] = [np.zeros((0, 0), np.float16)] * len(sentences)
        for start in range(0, len(order), _READ_AT_ONCE):
            chosen = order[start : start + _READ_AT_ONCE]
            words = reader.read([sentences[at] for at in chosen])
            bounds = np.searchsorted(words.owners, np.arange(1, len(chosen)))
            for at, own in zip(chosen, np.split(words.states.astype(np.float16), bounds), strict=True):
                found[at] = own
            if progress is not None:
                done = min(len(order), start + _READ_AT_ONCE)
                progress(Progress("read", done, len(order), time.monotonic() - began))
        with written(file, hint=_HINT) as stream:
            # No words at all, as where no caption can be distorted, take a row that belongs to none: a file is mapped.
            np.save(stream, np.concatenate(found) if found else np.zeros((1, 1), np.float16))
        with written(starts_file, hint=_HINT) as stream:
            np.save(stream, np.cumsum([0, *(len(own) for own in found)]))
    return SentenceStates(np.load(file, mmap_mode="r"), np.load(starts_file))


def typed(captions: Sequence[str], view: int, seed: int) -> list[str]:
    """Captions as people type them into a search box, in one of the ways of `sentence_view`; 0 is as they are."""
    return [sentence_view(caption, view, (seed, place)) for place, caption in enumerate(captions)]


def wrong(captions: Sequence[str], seed: int) -> tuple[list[str], NDArray[np.int64]]:
    """One distortion of each caption that allows any, and of which caption (m,) each is."""
    found = [distort(caption, random.Random(f"{seed}-{place}")) for place, caption in enumerate(captions)]
    owners = [place for place, sentence in enumerate(found) if sentence is not None]
    return [sentence for sentence in found if sentence is not None], np.array(owners, np.int64)
