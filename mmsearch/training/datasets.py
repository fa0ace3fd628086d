"""Folders of captioned photos go in; photos as the image tower sees them and captions with their owners come out."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["CaptionedPhotos", "class_names", "join", "photo_view", "read_captions", "read_photo"]


@dataclass(frozen=True, slots=True)
class CaptionedPhotos:
    """Photos and what people say of them.

    Attributes:
        photos: Files.
        captions: Sentences.
        owners: For each caption the index of its photo; a photo may have none.
    """

    photos: tuple[Path, ...]
    captions: tuple[str, ...]
    owners: NDArray[np.int64]


def read_captions(table: Path, images: Path) -> CaptionedPhotos:
    """Read a table with columns ``image`` and ``caption``.

    Args:
        table: The CSV file.
        images: The folder of its images.
    """
    places: dict[str, int] = {}
    captions, owners = [], []
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            owners.append(places.setdefault(row["image"], len(places)))
            captions.append(row["caption"].strip())
    return CaptionedPhotos(
        photos=tuple(images / name for name in places),
        captions=tuple(captions),
        owners=np.array(owners, dtype=np.int64),
    )


def join(sets: Iterable[CaptionedPhotos]) -> CaptionedPhotos:
    """Make one set of several, in their order."""
    photos: list[Path] = []
    captions: list[str] = []
    owners: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for part in sets:
        owners.append(part.owners + len(photos))
        photos += part.photos
        captions += part.captions
    return CaptionedPhotos(tuple(photos), tuple(captions), np.concatenate(owners))


def read_photo(path: Path) -> Image.Image:
    """Decode a photo to RGB, with white behind what is transparent."""
    with Image.open(path) as image:
        if image.mode in ("RGBA", "LA", "P"):
            layer = image.convert("RGBA")
            ground = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            return Image.alpha_composite(ground, layer).convert("RGB")
        return image.convert("RGB")


def photo_view(image: Image.Image, side: int, view: int, seed: Sequence[int]) -> NDArray[np.uint8]:
    """One of the ways in which training looks at a photo.

    Args:
        image: RGB.
        side: Side of the result; the photo is squashed to it.
        view: 0 is the photo as it is, 1 its mirror image, all others random crops of it, half of them mirrored.
        seed: What the crop's randomness begins with, together with `view`.

    Returns:
        (side, side, 3).
    """
    rng = np.random.default_rng((*seed, view))
    box = None
    mirror = view == 1
    if view > 1:
        width, height = image.size
        area, aspect = rng.uniform(0.55, 1.0), np.exp(rng.uniform(-0.22, 0.22))
        crop_width = min(width, width * np.sqrt(area * aspect))
        crop_height = min(height, height * np.sqrt(area / aspect))
        left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
        box = (left, top, min(width, left + crop_width), min(height, top + crop_height))
        mirror = bool(rng.random() < 0.5)
    pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    return np.ascontiguousarray(pixels[:, ::-1] if mirror else pixels)


def class_names() -> list[str]:
    """First names of the thousand classes of ImageNet, in the classifier's order."""
    from timm.data import ImageNetInfo  # type: ignore[attr-defined, unused-ignore]

    info = ImageNetInfo()
    return [info.index_to_description(index).split(",")[0].strip() for index in range(info.num_classes())]
