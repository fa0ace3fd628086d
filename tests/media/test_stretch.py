from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import MediaError
from mmsearch.media.audio import read_audio
from mmsearch.media.stretch import read_stretch
from tests.media.recordings import picture, tone, write_sound, write_video

RATE = 16_000


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a"])
@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 1000), (2250, 3250), (3990, 4120)])
def test_a_stretch_is_what_lies_there_in_the_whole_sound(name: str, start_ms: int, end_ms: int, tmp_path: Path) -> None:
    rate = 48_000 if name == "a.ogg" else RATE
    chirp = np.sin(2 * np.pi * 200 * np.cumsum(np.linspace(1, 3, 5 * rate)) / rate).astype(np.float32) / 2
    path = write_sound(tmp_path / name, chirp, rate=rate)
    (whole,) = read_audio(path, rate=RATE, window_ms=10**7, skip_silence=False)
    samples = read_stretch(path, start_ms, end_ms, rate=RATE)
    assert samples.dtype == np.float32
    assert samples.shape == ((end_ms - start_ms) * RATE // 1000,)
    first = start_ms * RATE // 1000
    # Where decoding begins, some formats fade in.
    off = np.abs(samples - whole.samples[first : first + len(samples)])[RATE // 20 :]
    assert off.max() < 0.05


def test_the_sound_of_a_video_is_read_too(tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(2 * RATE, np.float32), tone(1, rate=RATE), np.zeros(RATE, np.float32)])
    path = write_video(tmp_path / "a.mp4", [picture((9, 99, 9))] * 40, sound=(0.0, sound))
    assert np.abs(read_stretch(path, 2200, 2800)).max() == pytest.approx(0.5, abs=0.05)
    assert np.abs(read_stretch(path, 500, 1500)).max() < 0.02


def test_what_lies_behind_the_end_is_left_out(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(2, rate=RATE), rate=RATE)
    assert len(read_stretch(path, 1500, 9000)) == RATE // 2
    with pytest.raises(MediaError, match="no sound can be decoded"):
        read_stretch(path, 5000, 6000)


def test_a_file_without_sound_is_refused_with_its_name(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [picture((9, 99, 9))] * 5)
    with pytest.raises(MediaError, match="no sound in it") as raised:
        read_stretch(path, 0, 100)
    assert raised.value.path == path


@pytest.mark.parametrize(("end_ms", "rate"), [(100, 16_000), (50, 16_000), (500, 0)])
def test_what_makes_no_sense_is_refused_at_once(end_ms: int, rate: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        read_stretch(tmp_path / "a.wav", 100, end_ms, rate=rate)
