"""Sound samples -> a logarithmic mel spectrogram, as an audio tower reads it; NumPy alone.

Conventions are those of librosa 0.10 (`librosa.feature.melspectrogram`): a periodic Hann window, frames centred on
multiples of the hop with zeros beyond both ends, the power of the spectrum, triangular filters. Two mel scales: "htk",
m = 2595 log10(1 + f / 700) (Young et al., The HTK Book), and "slaney", linear below 1 kHz and logarithmic above
(Slaney, Auditory Toolbox, 1998), whose filters are scaled to equal area, as librosa does by default.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hz_to_mel", "log_mel", "mel_filters", "mel_to_hz"]

Scale = Literal["htk", "slaney"]

_FLOOR = 1e-10
_FRAMES_AT_ONCE = 4096
_SINGLE_THREADED = 1 << 18  # multiplications up to which OpenBLAS uses one thread
_SLANEY_HZ = 200 / 3  # Hz in one mel below 1 kHz
_SLANEY_BREAK = 1000.0
_SLANEY_STEP = np.log(6.4) / 27  # of the logarithm of the frequency, in one mel above


def log_mel(
    samples: NDArray[np.float32],
    rate: int,
    *,
    n_mels: int = 64,
    n_fft: int = 512,
    hop: int = 160,
    f_min: float = 0.0,
    f_max: float | None = None,
    scale: Scale = "slaney",
) -> NDArray[np.float32]:
    """Compute a log-mel spectrogram in decibels: 10 log10(max(1e-10, mel power)).

    Args:
        samples: (n,) mono, full scale at -1 and 1.
        rate: Their sample rate in Hz.
        n_mels: Number of filters.
        n_fft: Samples in a frame, which is also the length of the window.
        hop: Samples from one frame to the next.
        f_min: Where the lowest filter begins, in Hz.
        f_max: Where the highest one ends, in Hz; half the sample rate unless given.
        scale: The mel scale, and with it the filters' normalisation ("htk": peaks of 1, "slaney": equal areas).

    Returns:
        (n_mels, 1 + n // hop) float32, from -100 for silence upwards.

    Raises:
        ValueError: Samples of more than one axis, sizes that are not positive, or frequencies out of order.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must have one axis, not {samples.ndim}")
    if min(rate, n_mels, n_fft, hop) <= 0:
        raise ValueError("rate, n_mels, n_fft and hop must be positive")
    top = rate / 2 if f_max is None else f_max
    filters = mel_filters(rate, n_mels, n_fft, f_min, top, scale)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
    padded = np.pad(np.asarray(samples, dtype=np.float32), n_fft // 2)
    if len(padded) < n_fft:
        padded = np.pad(padded, (0, n_fft - len(padded)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]  # (t, n_fft), not copied
    frames = frames[: 1 + len(samples) // hop]
    mels = np.empty((n_mels, len(frames)), dtype=np.float32)
    for first in range(0, len(frames), _FRAMES_AT_ONCE):
        spectrum = np.fft.rfft(frames[first : first + _FRAMES_AT_ONCE] * window, axis=1)
        power = spectrum.real**2 + spectrum.imag**2  # (t, n_fft // 2 + 1)
        mels[:, first : first + _FRAMES_AT_ONCE] = _filtered(power, filters).T
    return (10.0 * np.log10(np.maximum(mels, _FLOOR, dtype=np.float64))).astype(np.float32)


def _filtered(power: NDArray[np.floating], filters: NDArray[np.float32]) -> NDArray[np.floating]:
    """(t, bins) and (n_mels, bins) -> (t, n_mels), a few frames at a time.

    BLAS shares out larger products among threads of its own, which wait for each other where every core is decoding
    already: that took 40 ms for a window of five seconds in place of 1.
    """
    count = max(1, _SINGLE_THREADED // filters.size)
    padded = np.pad(power, ((0, -len(power) % count), (0, 0)))
    mels = np.matmul(padded.reshape(-1, count, power.shape[1]), filters.T)  # (t / count, count, n_mels)
    return np.asarray(mels.reshape(-1, len(filters))[: len(power)])


@functools.lru_cache(maxsize=16)
def mel_filters(
    rate: int, n_mels: int, n_fft: int, f_min: float, f_max: float, scale: Scale = "slaney"
) -> NDArray[np.float32]:
    """Triangular filters, evenly spaced on a mel scale: (n_mels, n_fft // 2 + 1) float32, not to be written to.

    Raises:
        ValueError: Not 0 <= f_min < f_max <= rate / 2.
    """
    if not 0 <= f_min < f_max <= rate / 2:
        raise ValueError(f"frequencies must rise from 0 to {rate / 2} Hz, not from {f_min} to {f_max}")
    ends = hz_to_mel(np.array([f_min, f_max]), scale)
    corners = mel_to_hz(np.linspace(ends[0], ends[1], n_mels + 2), scale)  # (n_mels + 2,)
    bins = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    widths = np.diff(corners)
    ramps = corners[:, None] - bins[None]  # (n_mels + 2, bins)
    filters = np.maximum(0.0, np.minimum(-ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]))
    if scale == "slaney":
        filters *= (2.0 / (corners[2:] - corners[:-2]))[:, None]
    out = filters.astype(np.float32)
    out.flags.writeable = False
    return out


def hz_to_mel(frequencies: NDArray[np.float64], scale: Scale = "slaney") -> NDArray[np.float64]:
    """Frequencies in Hz, of any shape -> mels."""
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + frequencies / 700.0)
    above = np.log(np.maximum(frequencies, _SLANEY_BREAK) / _SLANEY_BREAK) / _SLANEY_STEP
    return np.where(frequencies < _SLANEY_BREAK, frequencies / _SLANEY_HZ, _SLANEY_BREAK / _SLANEY_HZ + above)


def mel_to_hz(mels: NDArray[np.float64], scale: Scale = "slaney") -> NDArray[np.float64]:
    """Mels, of any shape -> frequencies in Hz."""
    if scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    knee = _SLANEY_BREAK / _SLANEY_HZ
    above = _SLANEY_BREAK * np.exp(_SLANEY_STEP * (np.maximum(mels, knee) - knee))
    return np.where(mels < knee, mels * _SLANEY_HZ, above)
