"""Two pictures that their embeddings take for one another -> whether they look the same, place by place.

An embedding says what a picture shows, so two photos of two zebras come close. A tiny grey picture says where light and
dark are: of a copy it is the same whatever its size and quality, of another photo of such a thing it is not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.media.image import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LIKENESS", "likeness_of", "look"]

LIKENESS = 0.8
"""Correlation of two looks from which pictures are the same, by benchmarks/near_duplicates.py."""
_SIDE = 16
# What grey is made of, by ITU-R BT.601.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def look(source: Path | bytes) -> NDArray[np.float32] | None:
    """A picture as (256,) float32, its greys on a grid less their mean, of length 1; None where it cannot be read.

    One without light and dark, such as a plain wall, is all zeros.
    """
    from PIL import Image

    try:
        image = read_image(source, target_side=_SIDE).image
    except (MediaError, OSError):
        return None
    grid = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32) @ _GREY  # (16, 16)
    grid = grid.ravel() - grid.mean()
    length = float(np.linalg.norm(grid))
    return np.asarray(grid / length if length > _SIDE else np.zeros_like(grid), np.float32)


def likeness_of(pairs: Sequence[tuple[Path | None, Path | None]]) -> list[float | None]:
    """How alike two files of pictures look, -1 to 1, for each of many pairs; None where one cannot be read.

    Each file is read once, as small as its format allows, by as many threads as there are processors.
    """
    paths = list(dict.fromkeys(path for pair in pairs for path in pair if path is not None))
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        looks = dict(zip(paths, threads.map(look, paths), strict=True))
    found: list[float | None] = []
    for one, other in pairs:
        first = None if one is None else looks[one]
        second = None if other is None else looks[other]
        if first is None or second is None:
            found.append(None)
        elif not first.any() and not second.any():
            found.append(1.0)  # two plain surfaces
        else:
            found.append(float(first @ second))
    return found
