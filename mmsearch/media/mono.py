"""Decoded audio frames of any rate and layout -> mono float32 samples at one rate; libav's resampler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

__all__ = ["BATCH_SAMPLES", "MAX_RATE", "MIN_RATE", "MonoResampler", "mono_samples"]

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates in Hz that are believed: a rate of 1 Hz in a header would turn a small file into days of sound."""

BATCH_SAMPLES = 4096
"""Samples that are resampled at once: packets hold as little as 20 ms, and each call has its price."""

_DEPTHS = {"u1": (128.0, 128.0), "i2": (0.0, 32768.0), "i4": (0.0, 2147483648.0), "i8": (0.0, 9223372036854775808.0)}
_NARROW = frozenset({"u1", "i2", "f4"})


class MonoResampler:
    """Mixes and resamples one stretch of sound, frame after frame.

    Args:
        rate: Sample rate that comes out, in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._source_rate = 0
        self._resampler: Any = None
        self._waiting: list[NDArray[np.float32]] = []
        self._waiting_samples = 0

    def push(self, frame: AudioFrame) -> NDArray[np.float32]:
        """Take a frame in; give back (n,) samples, none mostly: they come `BATCH_SAMPLES` or more at a time.

        Raises:
            MediaError: A sample rate that no sound has.
        """
        rate = frame.sample_rate
        if not MIN_RATE <= rate <= MAX_RATE:
            raise MediaError(None, f"sample rate of {rate} Hz")
        out = []
        if rate != self._source_rate:  # also in the middle: chained Ogg files change it
            out.append(self.flush())
            self._source_rate = rate
            self._resampler = self._make() if rate != self._rate else None
        self._waiting.append(mono_samples(frame))
        self._waiting_samples += frame.samples
        if self._waiting_samples >= BATCH_SAMPLES:
            out.append(self._resampled())
        return _joined(out)

    def flush(self) -> NDArray[np.float32]:
        """Give back everything that is still held."""
        out = [self._resampled()]
        if self._resampler is not None:
            out += [frame.to_ndarray()[0] for frame in self._resampler.resample(None)]
        self._resampler, self._source_rate = None, 0
        return _joined(out)

    def _make(self) -> Any:
        import av

        return av.AudioResampler(format="fltp", layout="mono", rate=self._rate)

    def _resampled(self) -> NDArray[np.float32]:
        import av

        mono = _joined(self._waiting)
        self._waiting, self._waiting_samples = [], 0
        if self._resampler is None or not mono.size:
            return mono
        frame = av.AudioFrame.from_ndarray(mono[None], format="fltp", layout="mono")
        frame.sample_rate = self._source_rate
        return _joined([piece.to_ndarray()[0] for piece in self._resampler.resample(frame)])


def _joined(pieces: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces, dtype=np.float32) if pieces else np.empty(0, dtype=np.float32)


def mono_samples(frame: AudioFrame) -> NDArray[np.float32]:
    """The mean of all channels, (n,) float32, full scale at -1 and 1.

    A plain mean and not libav's downmix, which knows named layouts alone and leaves out the subwoofer; recorders with
    eight microphones have no layout. Values that are not numbers become silence, wild ones are clipped.
    """
    values: NDArray[Any] = frame.to_ndarray()  # (channels, n) planar, (1, n * channels) packed
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    depth = _DEPTHS.get(values.dtype.str[1:])
    mono: NDArray[Any] = values.mean(axis=0, dtype=np.float32 if values.dtype.str[1:] in _NARROW else np.float64)
    if depth is not None:
        return np.asarray((mono - depth[0]) / depth[1], dtype=np.float32)
    return np.asarray(np.nan_to_num(mono, nan=0.0, posinf=0.0, neginf=0.0).clip(-4.0, 4.0), dtype=np.float32)
