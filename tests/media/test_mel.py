from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

from mmsearch.media.mel import hz_to_mel, log_mel, mel_filters, mel_to_hz


def _power(samples: np.ndarray, middle: int, n_fft: int) -> list[float]:
    """The truth: the power spectrum of one frame, by the sums of the definition."""
    frame = []
    for at in range(n_fft):
        place = middle - n_fft // 2 + at
        value = float(samples[place]) if 0 <= place < len(samples) else 0.0
        frame.append(value * (0.5 - 0.5 * math.cos(2 * math.pi * at / n_fft)))
    return [
        abs(sum(value * cmath.exp(-2j * math.pi * k * at / n_fft) for at, value in enumerate(frame))) ** 2
        for k in range(n_fft // 2 + 1)
    ]


def _triangle(frequency: float, low: float, peak: float, high: float) -> float:
    if low < frequency <= peak:
        return (frequency - low) / (peak - low)
    return (high - frequency) / (high - peak) if peak < frequency < high else 0.0


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_a_spectrogram_agrees_with_the_sums_of_its_definition(scale: str) -> None:
    rate, n_fft, hop, n_mels = 4000, 64, 20, 6
    samples = np.random.default_rng(0).normal(0, 0.3, 130).astype(np.float32)
    got = log_mel(samples, rate, n_mels=n_mels, n_fft=n_fft, hop=hop, f_min=50, f_max=1800, scale=scale)  # type: ignore[arg-type]
    ends = hz_to_mel(np.array([50.0, 1800.0]), scale)  # type: ignore[arg-type]
    corners = [
        float(mel_to_hz(np.array(ends[0] + (ends[1] - ends[0]) * at / (n_mels + 1)), scale))  # type: ignore[arg-type]
        for at in range(n_mels + 2)
    ]
    assert got.shape == (n_mels, 1 + 130 // hop)
    assert got.dtype == np.float32
    for frame in range(got.shape[1]):
        power = _power(samples, frame * hop, n_fft)
        for mel in range(n_mels):
            low, peak, high = corners[mel : mel + 3]
            total = sum(_triangle(k * rate / n_fft, low, peak, high) * value for k, value in enumerate(power))
            total *= 2 / (high - low) if scale == "slaney" else 1
            assert got[mel, frame] == pytest.approx(10 * math.log10(max(1e-10, total)), abs=2e-3)


def test_the_mel_scales_have_their_published_points() -> None:
    assert hz_to_mel(np.array([0.0, 1000.0]), "htk") == pytest.approx([0.0, 1000.0], abs=0.1)
    assert hz_to_mel(np.array([0.0, 200.0, 1000.0, 6400.0]), "slaney") == pytest.approx([0.0, 3.0, 15.0, 42.0])
    for scale in ("htk", "slaney"):
        frequencies = np.linspace(0, 20_000, 50)
        assert mel_to_hz(hz_to_mel(frequencies, scale), scale) == pytest.approx(frequencies, abs=1e-6)  # type: ignore[arg-type]


def test_a_tone_is_brightest_in_its_own_band() -> None:
    time = np.arange(16_000) / 16_000
    corners = mel_to_hz(np.linspace(0, float(hz_to_mel(np.array(8000.0))), 66))
    for band in (10, 30, 50):
        spectrogram = log_mel(np.sin(2 * np.pi * corners[band + 1] * time).astype(np.float32), 16_000)
        assert spectrogram.shape == (64, 101)
        assert (spectrogram[:, 10:-10].argmax(axis=0) == band).all()


def test_silence_and_an_empty_sound_have_the_floor() -> None:
    assert (log_mel(np.zeros(1000, dtype=np.float32), 16_000) == -100).all()
    assert log_mel(np.zeros(0, dtype=np.float32), 16_000).shape == (64, 1)


def test_filters_overlap_so_that_nothing_between_them_is_lost() -> None:
    filters = mel_filters(16_000, 20, 2048, 0.0, 8000.0, "htk")
    middle = filters.argmax(axis=1)
    assert filters.sum(axis=0)[middle[0] + 1 : middle[-1]] == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="read-only"):
        filters[0, 0] = 1


@pytest.mark.parametrize("wrong", [{"f_min": 9000.0}, {"f_max": 8001.0}, {"hop": 0}, {"n_mels": 0}])
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"positive|frequencies"):
        log_mel(np.zeros(100, dtype=np.float32), 16_000, **wrong)  # type: ignore[arg-type]


def test_samples_of_two_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="one axis"):
        log_mel(np.zeros((2, 100), dtype=np.float32), 16_000)
