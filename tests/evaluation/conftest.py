"""Pictures in six colours, and an encoder whose right answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.evaluation import CaptionSet

COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan")


class ColourEncoder(HashingEncoder):
    """Knows the names of six colours and sees them in pictures."""

    id = "colours"
    batch_size = 4

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        plain = [[Image.new("RGB", (8, 8), name) for name in COLOURS if name in text] for text in texts]
        # A text that names no colour lies nowhere near any of them.
        grey = Image.new("RGB", (8, 8), (128, 128, 128))
        return self.encode_images([self.prepare_image((found or [grey])[0]) for found in plain])


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    """A folder with a folder of three pictures for each colour."""
    for colour in COLOURS:
        (tmp_path / f"plain_{colour}").mkdir()
        for number in range(3):
            Image.new("RGB", (20 + number, 16), colour).save(tmp_path / f"plain_{colour}" / f"{number}.png")
    return tmp_path


def captioned(folder: Path, *, shifted: int = 0) -> CaptionSet:
    """Two captions for a picture of each colour, or of the colour so many places further."""
    images = tuple(folder / f"plain_{colour}" / "0.png" for colour in COLOURS)
    captions = tuple(f"{words} {colour}" for colour in COLOURS for words in ("a", "all"))
    return CaptionSet(images, captions, np.array([(number // 2 + shifted) % 6 for number in range(12)]))
