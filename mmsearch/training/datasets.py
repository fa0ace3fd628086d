"""Folders of pictures with captions or in classes go in, the sets that training and evaluation read come out.

Three forms are read: a table of captions (`captions.csv` beside its pictures, as Flickr8k has it), COCO's JSON, and one
folder for each class, whose name is put into sentences.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from mmsearch.config import processors
from mmsearch.errors import MediaError, UsageError
from mmsearch.media.files import open_regular, reason_of, stream_hash
from mmsearch.training.augmentation import photo_view
from mmsearch.training.captions import CaptionedImages, join, read_captions, read_coco
from mmsearch.training.classes import (
    CLASS_PROMPTS,
    ClassSet,
    caption_classes,
    class_names,
    fill_prompt,
    read_classes,
)
from mmsearch.types import Failure

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "CLASS_PROMPTS",
    "CaptionedImages",
    "CaptionedPhotos",
    "ClassSet",
    "caption_classes",
    "check_images",
    "class_names",
    "fill_prompt",
    "join",
    "photo_view",
    "read_captions",
    "read_classes",
    "read_coco",
    "read_dataset",
    "read_photo",
    "split",
]

CaptionedPhotos = CaptionedImages

_TABLES = (".csv", ".tsv", ".txt")
_FULL_SIDE = 1 << 20
_TAIL_BYTES = 1 << 16


def read_dataset(path: Path, images: Path | None = None) -> CaptionedImages:
    """Read captioned pictures in whatever form they have.

    Args:
        path: A table of captions (``.csv``, ``.tsv``), COCO's captions (``.json``), a folder that has one of these as
            ``captions.csv``, ``captions.tsv`` or ``captions.json``, or a folder with one folder for each class.
        images: The folder of the pictures; without it the folder ``images`` beside the captions, or theirs.

    Raises:
        UsageError: It is none of these, it cannot be read, or pictures are missing.
    """
    if path.is_dir():
        named = [path / f"captions{suffix}" for suffix in (".csv", ".tsv", ".json")]
        captions = next((file for file in named if file.is_file()), None)
        if captions is not None:
            return read_dataset(captions, images)
        if images is not None:
            raise UsageError(f"There are no captions in {path}.", hint="Name the file of the captions itself.")
        try:
            return caption_classes(read_classes(path), source=str(path))
        except UsageError as error:
            raise UsageError(
                f"{path} has neither captions.csv nor folders of classes.",
                hint="Give a table of captions, COCO's captions as JSON, or a folder with one folder for each class.",
            ) from error
    if not path.exists():
        raise UsageError(f"There is no file or folder {path}.")
    suffix = path.suffix.casefold()
    if suffix not in (*_TABLES, ".json"):
        raise UsageError(f"Cannot tell what {path} is.", hint="Captions come as .csv, .tsv or .json.")
    if images is None:
        beside = path.parent / "images"
        images = beside if beside.is_dir() else path.parent
    return read_coco(path, images) if suffix == ".json" else read_captions(path, images)


def read_photo(path: Path, side: int = _FULL_SIDE) -> Image.Image:
    """Decode a picture to upright RGB, with white behind what is transparent, as it is when a library is indexed.

    Args:
        path: The file.
        side: Length of the shorter side below which it is not shrunk while it is decoded.

    Raises:
        MediaError: It cannot be read.
    """
    from mmsearch.media.image import read_image

    return read_image(path, target_side=side).image


def check_images(images: CaptionedImages, *, thorough: bool = False) -> tuple[CaptionedImages, tuple[Failure, ...]]:
    """Find the pictures that cannot be read, before training meets them.

    By default only headers and ends of files are looked at, on threads: that finds what is missing, empty, cut off or
    no picture at all, at some thousands a second.

    Args:
        images: The set.
        thorough: Decode each picture, which finds damage within as well.

    Returns:
        The set without those pictures and their captions, and the pictures with the reasons.
    """
    with ThreadPoolExecutor(processors()) as threads:
        failures = list(threads.map(_failure_of_all if thorough else _failure_of_header, images.images))
    good = np.array([i for i, failure in enumerate(failures) if failure is None], np.int64)
    found = tuple(failure for failure in failures if failure is not None)
    return (images.select(good) if found else images), found


def split(images: CaptionedImages, share: float, seed: int = 0) -> tuple[CaptionedImages, CaptionedImages]:
    """Part a set in one for training and one for development, by picture.

    Files with the same content stay together, under whatever names and from whatever sources they come. Which side a
    picture falls on depends on its content, the seed and the rest of the set, not on names or order.

    Args:
        images: The set.
        share: Of the pictures, about how many go to the second set; between 0 and 1. Each set has at least one.
        seed: Another one gives another split.

    Returns:
        The set for training, the set for development.

    Raises:
        UsageError: The share is not between 0 and 1, or the set has no two different pictures.
    """
    if not 0 < share < 1:
        raise UsageError(f"The share of a split must lie between 0 and 1, and is {share}.")
    with ThreadPoolExecutor(processors()) as threads:
        contents = list(threads.map(_content, images.images))
    groups: dict[bytes, list[int]] = {}
    for number, content in enumerate(contents):
        groups.setdefault(content, []).append(number)
    if len(groups) < 2:
        raise UsageError("A set with fewer than two different pictures cannot be split.")
    key = str(seed).encode()[:64]
    shuffled = sorted(groups, key=lambda content: hashlib.blake2b(content, digest_size=16, key=key).digest())
    wanted = min(max(1, round(share * len(images.images))), len(images.images) - 1)
    chosen: list[int] = []
    for content in shuffled:
        if len(chosen) + len(groups[content]) <= wanted:
            chosen += groups[content]
    chosen = chosen or min((groups[content] for content in shuffled), key=len)
    second = np.sort(np.array(chosen, np.int64))
    first = np.setdiff1d(np.arange(len(images.images)), second)
    return images.select(first), images.select(second)


def _content(path: Path) -> bytes:
    """What identifies the content of a file, or the name of one that cannot be read."""
    try:
        with open_regular(path) as file:
            return stream_hash(file)
    except (OSError, MediaError):
        return os.fsencode(path)


def _failure_of_all(path: Path) -> Failure | None:
    try:
        read_photo(path, 1)
    except MediaError as error:
        return Failure(path, error.reason)
    return None


def _failure_of_header(path: Path) -> Failure | None:
    try:
        with open_regular(path) as file:
            reason = next(_faults(file), None)
    except MediaError as error:
        reason = error.reason
    except OSError as error:
        reason = reason_of(error)
    return None if reason is None else Failure(path, reason)


def _faults(file: IO[bytes]) -> Iterator[str]:
    from mmsearch.media.formats import lacks_end, open_image, sniff
    from mmsearch.media.image import MAX_PIXELS, quiet_decoders

    head = file.read(64)
    file.seek(0)
    if not head:
        yield "empty file"
    kind = sniff(head)
    if kind is None:
        yield "not an image"
        return
    with quiet_decoders():
        try:
            image = open_image(file, kind)
        except MediaError:
            raise
        except Exception:  # a damaged header may raise anything in the decoders
            yield f"{'truncated' if lacks_end(file, kind) else 'damaged'} {kind}"
            return
    if image.width * image.height > MAX_PIXELS:
        yield f"too many pixels ({image.width} x {image.height})"
    size = file.seek(0, 2)
    # The mark stands at the very end, but for files that something was added to.
    if lacks_end(file, kind, max(0, size - _TAIL_BYTES)) and lacks_end(file, kind):
        yield f"truncated {kind}"
