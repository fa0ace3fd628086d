"""Spectrograms for CLAP: what transformers' feature extractor gives, made without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmsearch.encoders.clap_sounds import SoundTransform
from mmsearch.types import SoundFormat
from tests.encoders.tiny_clap import noise

SETTINGS = {
    "sampling_rate": 48_000,
    "max_length_s": 10,
    "feature_size": 64,
    "fft_window_size": 1024,
    "hop_length": 480,
    "frequency_min": 0,
    "frequency_max": 14_000,
    "truncation": "rand_trunc",
    "padding": "repeatpad",
}
SMALL = SoundTransform(
    rate=8000, seconds=1, n_mels=16, n_fft=256, hop=80, f_min=0, f_max=4000, scale="slaney", padding="repeatpad"
)


def extracted(samples: Any, **options: Any) -> Any:
    """What transformers makes of it: (channels, frames, mels)."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    extractor = transformers.ClapFeatureExtractor(**options)
    values = extractor(samples, sampling_rate=extractor.sampling_rate)
    return np.asarray(values["input_features"][0]), extractor.to_dict()


@pytest.mark.full
@pytest.mark.parametrize("truncation", ["rand_trunc", "fusion"])
@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
@pytest.mark.parametrize("seconds", [10.0, 3.3, 7.0, 0.004])
def test_it_gives_what_transformers_gives(truncation: str, padding: str, seconds: float) -> None:
    samples = noise(1, seconds)
    expected, values = extracted(samples, truncation=truncation, padding=padding)
    mels = SoundTransform.from_extractor(values)(samples)
    assert expected.shape == (4 if truncation == "fusion" else 1, 1001, 64)
    for channel in expected:  # the four of a model that fuses crops are the same for a sound of one window
        assert np.abs(mels - channel).max() < 0.01  # decibels
    assert mels.dtype == np.float32


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [
        {"sampling_rate": 16_000, "max_length_s": 5, "fft_window_size": 400, "hop_length": 160, "frequency_max": 8000},
        {"hop_length": 512, "fft_window_size": 1024},
        {"hop_length": 2048, "feature_size": 32, "frequency_min": 50},
    ],
)
def test_other_settings_are_followed(options: dict[str, Any]) -> None:
    samples = noise(2, options.get("max_length_s", 10), options.get("sampling_rate", 48_000))
    expected, values = extracted(samples, truncation="rand_trunc", **options)
    np.testing.assert_allclose(SoundTransform.from_extractor(values)(samples), expected[0], atol=0.02)


def test_of_a_sound_longer_than_a_window_the_beginning_is_taken_always() -> None:
    transform = SoundTransform.from_extractor(SETTINGS)
    samples = noise(0, 12)
    np.testing.assert_array_equal(transform(samples), transform(samples[:480_000]))


def test_windows_are_those_it_was_trained_on_and_overlap_by_half() -> None:
    assert SoundTransform.from_extractor(SETTINGS).format == SoundFormat(48_000, 10_000, 5_000)


def test_it_is_the_same_after_it_was_written_down() -> None:
    transform = SoundTransform.from_extractor(SETTINGS)
    assert SoundTransform.from_config(transform.to_config()) == transform


@pytest.mark.parametrize("change", [{"frequency_max": 96_000}, {"hop_length": 0}, {"feature_size": -1}])
def test_settings_that_make_no_sense_are_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)):
        SoundTransform.from_extractor({**SETTINGS, **change})


@given(samples=hnp.arrays(np.float32, st.integers(0, 9000), elements=st.floats(width=32)))
@settings(max_examples=60, deadline=None)
def test_any_samples_give_numbers_of_one_shape(samples: Any) -> None:
    mels = SMALL(samples)
    assert mels.shape == (101, 16)
    assert np.isfinite(mels).all()
