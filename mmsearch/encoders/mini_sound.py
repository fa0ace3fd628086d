"""Samples of a sound go in, the logarithmic mel spectrogram that the audio tower of ``mini`` reads comes out.

What it hears does not depend on the volume: the loudest point
of a window is the zero of its decibels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.media.mel import log_mel
from mmsearch.types import SoundFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BANDS", "FRAMES", "SOUND", "decibels", "levelled", "spectrogram"]

SOUND = SoundFormat(rate=16_000, window_ms=5_000, hop_ms=2_500)
"""How the audio tower wants sounds to be cut."""

BANDS = 64
_FFT, _HOP, _LOWEST_HZ = 1024, 320, 40.0
_WINDOW = SOUND.rate * SOUND.window_ms // 1000
FRAMES = 1 + _WINDOW // _HOP
"""Frames of a window, one every 20 ms."""

SILENCE_DB = -100.0  # what `log_mel` gives for it
_QUIETEST_DB = -70.0  # a window whose loudest point is below is not raised any further
_RANGE_DB = 80.0
_LOUDEST = 100.0  # where full scale is 1


def decibels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mono samples at `SOUND.rate` -> (BANDS, frames) of their mel spectrogram, one frame every 20 ms."""
    return log_mel(samples, SOUND.rate, n_mels=BANDS, n_fft=_FFT, hop=_HOP, f_min=_LOWEST_HZ)


def levelled(mels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Decibels of one window, of any shape -> what the network reads: 2 for the loudest, -2 for 80 dB less."""
    top = max(float(mels.max(initial=SILENCE_DB)), _QUIETEST_DB)
    return np.asarray((np.maximum(mels - top, -_RANGE_DB) + _RANGE_DB / 2) / (_RANGE_DB / 4), np.float32)


def spectrogram(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mono samples at `SOUND.rate` -> (BANDS, FRAMES) of the first window; what is shorter is followed by silence.

    Values that are no numbers count as silence, those far beyond full scale as the loudest there are.
    """
    window = np.nan_to_num(np.asarray(samples, np.float32)[:_WINDOW], nan=0.0, posinf=0.0, neginf=0.0)
    window = np.clip(window, -_LOUDEST, _LOUDEST)
    mels = np.full((BANDS, FRAMES), SILENCE_DB, np.float32)
    if window.size:
        found = decibels(window)
        mels[:, : found.shape[1]] = found
    return levelled(mels)
