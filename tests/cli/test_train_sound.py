"""``mmsearch train sound``: what it refuses, and a model that hears at its end."""

from __future__ import annotations

import json
import wave
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Invoke
from tests.encoders import own_mini

complete = all(find_spec(name) for name in ("torch", "timm", "matplotlib", "onnx"))
needs_training = pytest.mark.skipif(not complete, reason="needs the full installation and mmsearch[train]")


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Two classes of three sounds."""
    noise = np.random.default_rng(0)
    for name in ("dog", "beach"):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for number in range(3):
            t = np.arange(4000) / 8000
            samples = np.sin(2 * np.pi * (500 + 90 * number) * t) if name == "dog" else noise.uniform(-1, 1, 4000)
            with wave.open(str(tmp_path / "sounds" / name / f"{number}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes((20000 * samples).astype(np.int16).tobytes())
    return tmp_path / "sounds"


def test_help_has_examples_and_names_every_option(invoke: Invoke) -> None:
    result = invoke("train", "sound", "--help")
    assert result.exit_code == 0
    assert "mmsearch train sound ./esc10 --hold-out '4-*'" in result.output
    for option in ("--captions", "--photos", "--phrases", "--hold-out", "--model", "--epochs", "--seed"):
        assert option in result.output


@needs_training
@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "open_clip/ViT-B-32/openai"], "Only models in the built-in format"),
        (["--model", "./nowhere"], "lacks mini_image.onnx"),
        (["--captions", "./nowhere.csv"], "Cannot read nowhere.csv"),
        (["--hold-out", "9-*"], "No sound has a name that fits 9-*"),
        (["--phrases", "./nowhere.csv"], "Cannot read nowhere.csv"),
        (["--hold-out", "*"], "too few readable sounds"),
    ],
)
def test_what_cannot_work_is_refused(
    invoke: Invoke, sounds: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = invoke("train", "sound", sounds, "--out", tmp_path / "out", *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.stderr
    assert not (tmp_path / "out" / "model").exists()


@needs_training
@pytest.mark.full
def test_a_training_ends_with_a_model_that_hears(invoke: Invoke, sounds: Path, tmp_path: Path) -> None:
    base = own_mini.save(tmp_path / "base")
    arguments = ["--model", base, "--hold-out", "2.*", "--epochs", "1", "--json"]
    result = invoke("train", "sound", sounds, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["sounds"], report["held_out"]) == (4, 2)
    assert set(report["figures"]) == {"text_to_sound", "sound_to_text"}
    assert "mmsearch index ./sounds" in result.stderr
    measured = invoke("eval", "--classes", sounds, "--only", "2.*", "--model", report["model"], "--json")
    assert json.loads(measured.stdout)["items"] == 2
    again = invoke("train", "sound", sounds, "--out", tmp_path / "out", *arguments[:-1])
    assert "learned from 4 sounds" in again.stdout
    assert "mean average precision" in again.stdout
