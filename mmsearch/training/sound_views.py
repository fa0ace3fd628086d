"""Spectrograms of sounds go in, the ways in which training hears them come out.

Everything works on the power in mel bands, where sounds that are heard together add up: a mixture needs no samples.
All chance comes from the generator that is handed in, so a run that is taken up again hears the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.mini_sound import BANDS, FRAMES, SILENCE_DB, decibels, levelled

__all__ = ["SPEEDS", "Mixture", "SoundChanges", "mixed_views", "powers", "whole_view"]

Powers = NDArray[np.float32]

SPEEDS = (1.0, 0.86, 0.93, 1.07, 1.16)
"""How fast a sound is played for each of its spectrograms, the first as it is."""

_FLOOR = 10 ** (SILENCE_DB / 10)
_PLACES = np.linspace(0.0, 1.0, BANDS, dtype=np.float32)
_WAVES = 6  # of the curves that stand for other microphones and rooms


@dataclass(frozen=True, slots=True)
class SoundChanges:
    """How far what training hears differs from the sounds.

    Attributes:
        played: Probability that a sound is played at its own speed; the other speeds share the rest.
        cut: Probability that a sound of a whole window is cut short, as short sounds are: silence follows.
        repeated: Probability that a short sound comes several times.
        moved: Probability that a short sound does not begin at once.
        tuned_db: How much louder and softer bands become, as by other microphones.
        mixed: Probability that a second sound is heard as well (Zhang et al. 2018, arXiv 1710.09412; Tokozume et al.
            2018, arXiv 1711.10282).
        noisy: Probability of noise in the background, 3 to 40 dB below.
        muffled: Probability that there is nothing above some frequency.
        masked: Stretches of bands and of time that are blanked (SpecAugment; Park et al. 2019, arXiv 1904.08779).
    """

    played: float = 0.4
    cut: float = 0.25
    repeated: float = 0.3
    moved: float = 0.5
    tuned_db: float = 3.0
    mixed: float = 0.7
    noisy: float = 0.4
    muffled: float = 0.15
    masked: int = 2


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What a step hears.

    Attributes:
        heard: (b, bands, frames) float32 as the network reads it.
        partners: (b,) for each the place of the sound that is mixed in, itself where there is none.
        shares: (b,) how much of the first sound's meaning it has, one half at least; the partner has the rest.
    """

    heard: NDArray[np.float32]
    partners: NDArray[np.int64]
    shares: NDArray[np.float32]


def powers(samples: NDArray[np.float32], speed: float) -> Powers:
    """Samples -> (bands, frames) power of the sound, played at some speed; pitch changes with it."""
    if speed != 1.0:
        places = np.arange(0, max(1, len(samples) - 1), speed)
        samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return np.asarray(10 ** (decibels(samples) / 10), np.float32)


def whole_view(power: Powers) -> NDArray[np.float32]:
    """The sound as it is, its first window: what the network reads of it where it is used."""
    window = np.full((BANDS, FRAMES), _FLOOR, np.float32)
    window[:, : power.shape[1]] = power[:, :FRAMES]
    return levelled(_decibels(window))


def mixed_views(sounds: Sequence[Sequence[Powers]], rng: np.random.Generator, changes: SoundChanges) -> Mixture:
    """Make views of sounds and mix some of them with each other.

    Args:
        sounds: For each of b sounds its powers at all `SPEEDS`.
        rng: Where chance comes from.
        changes: How far they differ from the sounds.
    """
    count = len(sounds)
    chances = [changes.played, *[(1 - changes.played) / (len(SPEEDS) - 1)] * (len(SPEEDS) - 1)]
    power = np.stack([_placed(own[rng.choice(len(SPEEDS), p=chances)], rng, changes) for own in sounds])
    power /= np.maximum(power.mean((1, 2), keepdims=True), 1e-12)
    power *= _tuning(count, rng, changes.tuned_db)[:, :, None]
    partners = rng.permutation(count)
    shares = rng.beta(1, 1, count).astype(np.float32)
    shares = np.where(rng.random(count) < changes.mixed, np.maximum(shares, 1 - shares), 1).astype(np.float32)
    partners = np.where(shares < 1, partners, np.arange(count))
    loud = (shares**2 / (shares**2 + (1 - shares) ** 2))[:, None, None]  # shares are of amplitudes
    power = power * loud + power[partners] * (1 - loud)
    noise = _noise(count, rng) * (rng.random(count) < changes.noisy)[:, None, None]
    heard = np.stack([levelled(_decibels(one)) for one in power + noise.astype(np.float32)])
    for one in heard:
        _blank(one, rng, changes)
    return Mixture(heard, partners.astype(np.int64), shares)


def _decibels(power: Powers) -> NDArray[np.float32]:
    return np.asarray(10 * np.log10(np.maximum(power, _FLOOR)), np.float32)


def _placed(power: Powers, rng: np.random.Generator, changes: SoundChanges) -> Powers:
    """(bands, any) -> (bands, FRAMES): a piece of a long sound, a short one somewhere in the window."""
    window = np.zeros((BANDS, FRAMES), np.float32)
    length = power.shape[1]
    if length >= FRAMES:
        first = int(rng.integers(0, length - FRAMES + 1))
        window[:] = np.roll(power[:, first : first + FRAMES], int(rng.integers(0, FRAMES)), axis=1)
        if rng.random() < changes.cut:
            window[:, int(rng.integers(40, FRAMES)) :] = 0
        return window
    gap = FRAMES
    if rng.random() < changes.repeated:
        gap = length + int(rng.integers(0, length + 1))
    at = int(rng.integers(0, FRAMES - length + 1)) if rng.random() < changes.moved else 0
    for first in range(at, FRAMES, gap):
        window[:, first : first + length] = power[:, : FRAMES - first]
    return window


def _tuning(count: int, rng: np.random.Generator, loudness_db: float) -> NDArray[np.float32]:
    """(count, bands) factors of smooth random curves over the bands."""
    heights, phases = rng.normal(size=(count, _WAVES)), rng.uniform(0, 2 * np.pi, (count, _WAVES))
    curves = np.zeros((count, BANDS))
    for wave in range(_WAVES):
        bent = np.cos(0.7 * np.pi * (wave + 1) * _PLACES[None] + phases[:, wave, None])
        curves += heights[:, wave, None] * bent / (wave + 1) ** 0.5
    return np.asarray(10 ** (loudness_db * curves / 10), np.float32)


def _noise(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(count, bands, frames) noise of mean power below 1, louder in low bands or evenly loud."""
    level = 10 ** (-rng.uniform(3, 40, count) / 10)
    tilted = 10 ** (rng.uniform(-25, 5, count)[:, None] * _PLACES[None] / 10)
    tilted /= tilted.mean(1, keepdims=True)
    return np.asarray((level[:, None] * tilted)[:, :, None] * rng.gamma(4, 0.25, (count, BANDS, FRAMES)))


def _blank(heard: NDArray[np.float32], rng: np.random.Generator, changes: SoundChanges) -> None:
    """Blank a spectrogram's highest bands and some stretches, in place."""
    if rng.random() < changes.muffled:
        heard[int(rng.integers(BANDS * 7 // 16, BANDS - 4)) :] = heard.min()
    for _ in range(changes.masked):
        bands, frames = int(rng.integers(0, 12)), int(rng.integers(0, 40))
        first = int(rng.integers(0, BANDS - bands))
        heard[first : first + bands] = heard.min() if rng.random() < 0.5 else heard.mean()
        first = int(rng.integers(0, FRAMES - frames))
        heard[:, first : first + frames] = heard.min() if rng.random() < 0.5 else heard.mean()
