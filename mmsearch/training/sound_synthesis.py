"""A seed goes in; hiss, beeps, tunes and voices without words come out, so that training hears what it has no data of.

A network that has heard dogs, rain and clocks alone takes everything for one of them. These sounds are no match for
real music or speech; they are there to be told apart from the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["make_sounds"]

_RATE = 16_000
_SECONDS = 5
_PEAK = 0.5
_SCALE = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])  # semitones of a major scale
_SYLLABLE_S = 0.09
_HARMONICS = 9

Samples = NDArray[np.float64]


def make_sounds(count: int, seed: int) -> list[tuple[str, NDArray[np.float32]]]:
    """Make sounds of five seconds at 16 kHz.

    Args:
        count: Of each of the four kinds.
        seed: Of everything random.

    Returns:
        Names, as in `mmsearch.training.sound_phrases.SYNTHETIC`, and samples.
    """
    rng = np.random.default_rng((seed, 41))
    made = []
    for _ in range(count):
        for name, make in (("noise", _noise), ("electronic tone", _tone), ("music", _music), ("voice", _voice)):
            samples = make(rng)
            made.append((name, (_PEAK * samples / max(1e-9, float(np.abs(samples).max()))).astype(np.float32)))
    return made


def _noise(rng: np.random.Generator) -> Samples:
    """Gaussian noise whose power falls with the frequency, or hardly rises."""
    frequencies = np.fft.rfftfreq(_RATE * _SECONDS, 1 / _RATE)
    spectrum = rng.normal(size=len(frequencies)) + 1j * rng.normal(size=len(frequencies))
    return np.asarray(np.fft.irfft(spectrum * np.maximum(frequencies, 30) ** (rng.uniform(-2, 0.5) / 2)))


def _tone(rng: np.random.Generator) -> Samples:
    """A sine, a square wave, beeps, or a tone that glides."""
    t = np.arange(_RATE * _SECONDS) / _RATE
    frequency = float(np.exp(rng.uniform(np.log(150), np.log(5000))))
    kind = int(rng.integers(4))
    if kind == 3:
        glide = np.linspace(frequency, frequency * rng.uniform(0.5, 2), len(t))
        return np.asarray(np.sin(2 * np.pi * np.cumsum(glide) / _RATE))
    wave = np.sin(2 * np.pi * frequency * t)
    if kind == 1:
        return np.sign(wave)
    period = rng.uniform(0.15, 1)
    return wave * ((t % period) < period * rng.uniform(0.3, 0.7)) if kind == 2 else wave


def _music(rng: np.random.Generator) -> Samples:
    """Notes and chords of a major key that ring out, in some beat."""
    samples = np.zeros(_RATE * _SECONDS)
    root, beat = rng.uniform(110, 330), rng.uniform(0.18, 0.6)
    dark, ring = rng.uniform(0.8, 2.2), rng.uniform(0.15, 1.2)
    at = 0.0
    while at < _SECONDS:
        for _ in range(int(rng.integers(1, 4))):
            pitch = root * 2 ** (rng.choice(_SCALE) / 12) * (2 if rng.random() < 0.3 else 1)
            first = int(at * _RATE)
            t = np.arange(min(int(beat * rng.choice([1, 2, 4]) * _RATE), len(samples) - first)) / _RATE
            harmonics = [k for k in range(1, _HARMONICS) if pitch * k < 7500]
            wave = np.sum([np.sin(2 * np.pi * pitch * k * t) / k**dark for k in harmonics], axis=0)
            samples[first : first + len(t)] += rng.uniform(0.4, 1) * wave * np.minimum(t / 0.01, 1) * np.exp(-t / ring)
        at += beat * rng.choice([0.5, 1, 1, 2])
    return samples


def _voice(rng: np.random.Generator) -> Samples:
    """Pulses of a voice box through three resonances that change twice a syllable or so."""
    t = np.arange(_RATE * _SECONDS) / _RATE
    melody = 1 + 0.12 * np.interp(t, np.linspace(0, _SECONDS, 12), rng.normal(size=12))
    source = np.cumsum(rng.uniform(90, 240) * melody) / _RATE % 1 - 0.5
    samples = np.zeros(len(t))
    length = int(2 * _SYLLABLE_S * _RATE)
    for first in range(0, len(t), length):
        piece = source[first : first + length]
        frequencies = np.fft.rfftfreq(len(piece), 1 / _RATE)
        resonances = (
            (rng.uniform(250, 850), 110, 1.0),
            (rng.uniform(850, 2400), 150, 0.6),
            (rng.uniform(2300, 3200), 220, 0.3),
        )
        gain = np.sum([a * np.exp(-(((frequencies - c) / b) ** 2)) for c, b, a in resonances], axis=0)
        samples[first : first + length] = np.fft.irfft(np.fft.rfft(piece) * gain, len(piece))
    places = np.arange(0, _SECONDS + _SYLLABLE_S, _SYLLABLE_S)
    return samples * np.clip(np.interp(t, places, rng.normal(0.3, 0.6, len(places))), 0, 1)
