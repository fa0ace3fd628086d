"""A stretch of sound -> a picture of it: time from left to right, pitch from below, louder is brighter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.media.mel import log_mel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["RATE", "SIZE", "spectrogram"]

RATE = 16_000
"""Sample rate in Hz that a picture is drawn from."""

SIZE = (240, 144)
"""Width and height of the picture in pixels, of the proportions of a preview."""

_BANDS = 48
# Decibels from the loudest place down to black.
_RANGE_DB = 60.0
_FRAME = 1024
# Black, violet, red, orange and pale yellow: every step is brighter than the one before.
_COLOURS = np.array([(6, 4, 24), (74, 20, 110), (176, 42, 92), (244, 132, 48), (252, 244, 180)], np.float64)


def spectrogram(samples: NDArray[np.float32]) -> Image.Image:
    """Draw a sound as an RGB picture of `SIZE`.

    Args:
        samples: (n,) mono at `RATE`, full scale at -1 and 1. Silence is black.
    """
    from PIL import Image

    width, height = SIZE
    decibels = log_mel(samples, RATE, n_mels=_BANDS, n_fft=_FRAME, hop=max(64, -(-len(samples) // width)))
    # Noise that nobody hears stays dark where there is nothing louder.
    floor = max(float(decibels.max()), -40.0) - _RANGE_DB
    level = np.clip((decibels - floor) / _RANGE_DB, 0.0, 1.0)[::-1]  # (bands, t), the highest pitch first
    steps = np.arange(len(_COLOURS)) / (len(_COLOURS) - 1)
    pixels = np.stack([np.interp(level, steps, channel) for channel in _COLOURS.T], axis=-1)  # (bands, t, 3)
    image = Image.fromarray(pixels.round().astype(np.uint8))
    return image.resize((width, height), Image.Resampling.BILINEAR)
