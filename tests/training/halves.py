"""Pictures of two colours side by side, captions that name them, and the data that a reranker learns from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mmsearch.training.captions import CaptionedImages

if TYPE_CHECKING:
    from mmsearch.training.place import Data

COLOURS = {"red": (220, 30, 30), "green": (20, 160, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
CAPTIONS = ("a {} wall beside a {} wall", "on the left a {} door , on the right a {} door .")


def halves(folder: Path, count: int, *, captions: int = 2) -> CaptionedImages:
    """Pictures, each with so many of two captions; like pictures differ a little."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    pairs = [(left, right) for left in COLOURS for right in COLOURS]
    paths, told, owners = [], [], []
    for number in range(count):
        pair = pairs[(7 * number) % len(pairs)]
        pixels = np.zeros((32, 48, 3))
        pixels[:, :24], pixels[:, 24:] = (COLOURS[name] for name in pair)
        noisy = (pixels + rng.normal(0, 12, pixels.shape)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(noisy).save(paths[-1])
        told += [form.format(*pair) for form in CAPTIONS[:captions]]
        owners += [number] * captions
    return CaptionedImages(tuple(paths), tuple(told), np.array(owners))


def data_of(folder: Path, train: int = 48, dev: int = 16) -> Data:
    """What to learn from, and what to measure with."""
    from mmsearch.training.place import Data  # which needs torch

    return Data(halves(folder / "train", train), halves(folder / "dev", dev))


def write_data(folder: Path, train: int = 48, dev: int = 16) -> tuple[Path, Path]:
    """The same as folders with ``captions.csv``."""
    for name, count in (("train", train), ("dev", dev)):
        found = halves(folder / name, count)
        lines = [f'{found.images[own].name},"{text}"' for own, text in zip(found.owners, found.captions, strict=True)]
        (folder / name / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n", encoding="utf-8")
    return folder / "train", folder / "dev"
