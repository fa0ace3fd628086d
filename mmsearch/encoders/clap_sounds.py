"""A window of sound in, the log-mel spectrogram that CLAP's audio tower reads out; NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mmsearch.media.mel import log_mel
from mmsearch.types import SoundFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SoundTransform"]

_LOUDEST = 100.0  # 40 dB above full scale, where no sound is


@dataclass(frozen=True, slots=True)
class SoundTransform:
    """What transformers' ``ClapFeatureExtractor`` does to sounds that are no longer than a window, and the same always.

    It differs from other log-mel spectrograms in that the sound is mirrored beyond both ends, and short sounds are
    repeated. What it does to longer ones is left to chance there; here windows are cut before, and what is beyond a
    window is dropped.

    Attributes:
        rate: Samples a second, Hz.
        seconds: Length of a window.
        n_mels: Number of mel filters.
        n_fft: Samples in a frame.
        hop: Samples from one frame to the next.
        f_min, f_max: Where the filters begin and end, Hz.
        scale: The mel scale: ``htk`` for models that were trained to fuse crops, ``slaney`` for the others.
        padding: How short sounds fill a window: ``repeatpad`` repeats whole and adds silence, ``repeat`` repeats to
            the end, ``pad`` adds silence.
    """

    rate: int
    seconds: float
    n_mels: int
    n_fft: int
    hop: int
    f_min: float
    f_max: float
    scale: Literal["htk", "slaney"]
    padding: Literal["repeatpad", "repeat", "pad"]

    @classmethod
    def from_extractor(cls, values: Mapping[str, Any]) -> SoundTransform:
        """Read the settings of a ``ClapFeatureExtractor``, as its `to_dict` gives them.

        Raises:
            ValueError: They make no sense.
        """
        padding = values["padding"]
        transform = cls(
            rate=int(values["sampling_rate"]),
            seconds=float(values["max_length_s"]),
            n_mels=int(values["feature_size"]),
            n_fft=int(values["fft_window_size"]),
            hop=int(values["hop_length"]),
            f_min=float(values["frequency_min"]),
            f_max=float(values["frequency_max"]),
            scale="htk" if values["truncation"] == "fusion" else "slaney",
            padding=padding if padding in ("repeatpad", "repeat") else "pad",
        )
        transform(np.zeros(1, np.float32))  # or sizes that do not fit together would be found by a thread that decodes
        return transform

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> SoundTransform:
        """What `to_config` gave."""
        return cls(**values)

    def to_config(self) -> dict[str, Any]:
        """As values of JSON."""
        return asdict(self)

    @property
    def format(self) -> SoundFormat:
        """How a sound is to be cut: windows that overlap by half."""
        window_ms = round(self.seconds * 1000)
        return SoundFormat(self.rate, window_ms, window_ms // 2)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) samples -> (frames, n_mels) float32 decibels; safe to call from many threads."""
        window = self._filled(samples)
        half = self.n_fft // 2
        # `log_mel` centres frames on multiples of the hop: so many before the beginning are made, and dropped.
        ahead = -(-half // self.hop)
        mirrored = np.pad(window, (half, half), mode="reflect")
        padded = np.pad(mirrored, (ahead * self.hop - half, 0))
        mels = log_mel(
            padded,
            self.rate,
            n_mels=self.n_mels,
            n_fft=self.n_fft,
            hop=self.hop,
            f_min=self.f_min,
            f_max=self.f_max,
            scale=self.scale,
        )
        frames = 1 + len(window) // self.hop
        return np.ascontiguousarray(mels[:, ahead : ahead + frames].T)

    def _filled(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) -> (rate * seconds,)."""
        length = round(self.rate * self.seconds)
        # A damaged file of floats may hold anything: what is no number is silence.
        window = np.clip(np.nan_to_num(np.asarray(samples[:length], np.float32)), -_LOUDEST, _LOUDEST)
        if 0 < len(window) < length and self.padding != "pad":
            times = length // len(window)
            window = np.tile(window, times + 1)[:length] if self.padding == "repeat" else np.tile(window, times)
        return np.pad(window, (0, length - len(window)))
