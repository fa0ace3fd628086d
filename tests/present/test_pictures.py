from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.present.pictures import picture_of
from mmsearch.present.spectrogram import RATE, SIZE, spectrogram
from mmsearch.types import Hit, Modality
from tests.media.recordings import BLACK, BLUE, GREEN, RED, shots, tone, write_sound, write_video
from tests.present.samples import AUDIO, TEXT, VIDEO, hit


def colour(found: Hit) -> np.ndarray:
    shown = picture_of(found, 48)
    assert shown is not None
    return np.asarray(shown[0], dtype=float).mean(axis=(0, 1))


def brightness(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float).sum(axis=2)


def test_a_photo_is_its_own_picture_however_it_was_found(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300), RED).save(tmp_path / "a.png")
    assert np.abs(colour(hit(tmp_path / "a.png", matched=TEXT, text="red")) - RED).max() < 2


@pytest.mark.parametrize("matched", [VIDEO, AUDIO, TEXT])
def test_a_hit_in_a_video_is_the_frame_at_its_time(matched: Modality, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", shots((RED, 2), (GREEN, 2), (BLUE, 2)))
    for start_ms, shown in ((0, RED), (2500, GREEN), (5000, BLUE)):
        found = hit(path, modality=VIDEO, matched=matched, start_ms=start_ms, end_ms=start_ms + 900)
        assert np.abs(colour(found) - shown).max() < 12
    shown = picture_of(hit(path, modality=VIDEO, start_ms=0), 24)
    assert shown is not None and shown[0].size == (32, 24)
    assert (shown[1].width, shown[1].height, shown[1].duration_ms) == (64, 48, 6000)


def test_a_video_that_was_found_as_a_whole_does_not_show_its_black_beginning(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", shots((BLACK, 0.5), (GREEN, 9.5)))
    assert np.abs(colour(hit(path, modality=VIDEO, matched=TEXT, text="green")) - GREEN).max() < 12


def test_a_hit_in_a_sound_is_drawn_from_its_window(tmp_path: Path) -> None:
    samples = np.concatenate([tone(4, rate=RATE, hertz=300), tone(4, rate=RATE, hertz=5000)])
    path = write_sound(tmp_path / "a.wav", samples, rate=RATE)
    pictures = []
    for start_ms in (0, 4000):
        found = picture_of(hit(path, modality=AUDIO, matched=AUDIO, start_ms=start_ms, end_ms=start_ms + 4000), 100)
        assert found is not None and found[0].size == SIZE and found[1].duration_ms == 8000
        pictures.append(brightness(found[0])[:, 60:-60].mean(axis=1).argmax())
    low, high = pictures
    assert high < SIZE[1] / 2 < low  # rows count from above


def test_a_sound_without_a_known_place_and_a_video_without_pictures_are_drawn_too(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.m4a", tone(2, rate=48_000), rate=48_000)
    assert picture_of(hit(path, modality=AUDIO), 100) is not None
    assert picture_of(hit(path, modality=VIDEO, matched=AUDIO, start_ms=0, end_ms=2000), 100) is not None
    assert picture_of(hit(path, modality=VIDEO, matched=VIDEO, start_ms=0), 100) is None


def test_a_text_has_no_picture_and_what_cannot_be_read_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    assert picture_of(hit(tmp_path / "a.txt", modality=TEXT, text="words"), 100) is None
    for modality in (Modality.IMAGE, VIDEO, AUDIO):
        assert picture_of(hit(tmp_path / "a.txt", modality=modality), 100) is None
        assert picture_of(hit(tmp_path / "missing", modality=modality), 100) is None
        assert picture_of(hit(None, modality=modality), 100) is None


def test_in_a_drawn_sound_time_goes_to_the_right_and_silence_is_black() -> None:
    silence = np.zeros(RATE, np.float32)
    late = brightness(spectrogram(np.concatenate([silence, tone(1, rate=RATE)])))
    assert late[:, : SIZE[0] // 2 - 12].max() < 60 < late[:, SIZE[0] // 2 + 12 :].max()
    assert brightness(spectrogram(silence)).max() < 60


@pytest.mark.parametrize("count", [1, 100, 30 * RATE])
def test_a_sound_of_any_length_can_be_drawn(count: int) -> None:
    noise = np.random.default_rng(count).normal(0, 0.1, count).astype(np.float32)
    image = spectrogram(noise)
    assert (image.size, image.mode) == (SIZE, "RGB")
    assert brightness(image).max() > 300
