"""Folders of sounds are measured as folders of pictures are."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders.absent import NoSounds
from mmsearch.encoders.mini import MiniEncoder
from mmsearch.errors import EncoderError, UsageError
from mmsearch.evaluation import SOUND_PROMPTS, evaluate_classes, read_classes
from tests.evaluation.conftest import ColourEncoder

RATE = 8000
PITCHES = {"low_note": 200.0, "middle_note": 900.0, "high_note": 3000.0}


class NoteEncoder(ColourEncoder):
    """Knows three notes by their names, and hears them."""

    id = "notes"

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        named = [next(hertz for name, hertz in PITCHES.items() if name.replace("_", " ") in text) for text in texts]
        return self.encode_sounds([self.prepare_sound(note(hertz, 1)) for hertz in named])


class DeafEncoder(NoSounds, ColourEncoder):
    """Sees colours and hears nothing."""


def note(hertz: float, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with three sounds of one to three seconds for each note."""
    for name, hertz in PITCHES.items():
        (tmp_path / name).mkdir()
        for number in range(1, 4):
            with wave.open(str(tmp_path / name / f"{number}-{name}.wav"), "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes((32000 * note(hertz, number)).astype(np.int16).tobytes())
    return tmp_path


def test_sounds_are_recognised_by_the_names_of_their_classes(notes: Path) -> None:
    report = evaluate_classes(NoteEncoder(), read_classes(notes))
    assert report.what == "sounds"
    figures = report.to_dict()
    assert (figures["classes"], figures["items"], figures["accuracy"]) == (3, 9, 1.0)
    assert figures["prompts"] == list(SOUND_PROMPTS)


def test_the_embedding_of_a_sound_is_the_mean_of_its_windows(notes: Path) -> None:
    encoder = NoteEncoder()
    report = evaluate_classes(encoder, read_classes(notes))
    form = encoder.sound
    samples = note(PITCHES["high_note"], 3)
    hop, window = RATE * form.hop_ms // 1000, RATE * form.window_ms // 1000
    windows = [samples[at : at + window] for at in range(0, len(samples) - window + 1, hop)]
    mean = encoder.encode_sounds([encoder.prepare_sound(one) for one in windows]).mean(0)
    place = [path.name for path in report.embedded.items].index("3-high_note.wav")
    cosine = report.embedded.item_embeddings[place] @ (mean / np.linalg.norm(mean))
    assert cosine == pytest.approx(1, abs=1e-3)


def test_patterns_choose_the_files_that_are_measured(notes: Path) -> None:
    assert len(read_classes(notes, ["1-*"]).items) == 3
    assert len(read_classes(notes, ["1-*", "2-*"]).items) == 6
    with pytest.raises(UsageError, match=r"named 7-\*"):
        read_classes(notes, ["7-*"])


def test_folders_with_pictures_and_sounds_are_measured_by_their_pictures(notes: Path) -> None:
    for name in PITCHES:
        Image.new("RGB", (8, 8)).save(notes / name / "cover.png")
    assert {path.name for path in read_classes(notes).items} == {"cover.png"}


def test_silent_and_broken_sounds_are_left_out_and_named(notes: Path) -> None:
    with wave.open(str(notes / "low_note" / "silent.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(2 * RATE))
    (notes / "low_note" / "broken.wav").write_bytes(b"RIFF....")
    report = evaluate_classes(NoteEncoder(), read_classes(notes))
    assert report.items == 9
    assert {failure.path.name: failure.reason for failure in report.skipped}["silent.wav"] == "silent throughout"
    assert len(report.skipped) == 2


def test_a_model_that_does_not_hear_is_an_error(notes: Path) -> None:
    with pytest.raises(EncoderError, match="does not take sounds"):
        evaluate_classes(DeafEncoder(), read_classes(notes))


def test_the_built_in_model_knows_what_it_learned(shared_data: Path) -> None:
    report = evaluate_classes(MiniEncoder(), read_classes(shared_data / "esc10", ["1-*"]))
    assert (report.classes, report.items) == (10, 80)
    assert report.metrics.accuracy > 0.9  # these sounds are among those that it learned from
