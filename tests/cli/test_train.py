"""``mmsearch train``: what it refuses, what it says, and that a kill loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.encoders.mini import MiniEncoder
from tests.cli.conftest import Invoke, Process, process_environment

SAMPLES = Path(__file__).parents[2] / "data/samples"
complete = all(find_spec(name) for name in ("torch", "timm", "matplotlib", "onnx"))
needs_training = pytest.mark.skipif(not complete, reason="needs the full installation and mmsearch[train]")


def test_help_has_a_worked_example(invoke: Invoke) -> None:
    result = invoke("train", "--help")
    assert result.exit_code == 0
    assert "mmsearch train dual-encoder captions.csv --images ./photos --out ./my-model" in result.output
    assert "mmsearch index ./photos" in result.output
    assert "--lock" in invoke("train", "dual-encoder", "--help").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backbone", "x.pth"], "both --backbone and --sentences"),
        (["--backbone", "x.pth", "--sentences", "y", "--model", "open_clip/a/b"], "not of --model"),
        (["--lock", "sound"], "no lock 'sound'"),
        (["--lock", "image"], "for open_clip models"),
        (["--loss", "best"], "no loss 'best'"),
        (["--rate", "quick"], "is not a number"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(
    invoke: Invoke, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = invoke("train", "dual-encoder", SAMPLES / "captions.csv", "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(complete, reason="everything is installed")
def test_missing_packages_are_named(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("train", "dual-encoder", SAMPLES / "captions.csv", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "pip install" in result.stderr


@pytest.mark.full
@needs_training
def test_captions_that_are_not_there_are_told(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("train", "dual-encoder", tmp_path / "none.csv", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "none.csv" in result.stderr


def arguments(out: Path, *more: str) -> list[str]:
    given = ["train", "dual-encoder", str(SAMPLES / "captions.csv"), "--images", str(SAMPLES), "--out", str(out)]
    return [*given, "--epochs", "3", "--batch", "8", "--views", "2", *more]


@pytest.mark.full
@needs_training
def test_a_training_ends_with_its_figures_and_the_command_that_uses_it(process: Process, tmp_path: Path) -> None:
    result = process(*arguments(tmp_path / "out", "--json"))
    assert result.returncode == 0, result.stderr.decode()
    report = json.loads(result.stdout)
    assert set(report["trained"]) == {"text_to_image", "image_to_text"}
    assert f"--model {report['model']}" in result.stderr.decode()
    again = process(*arguments(tmp_path / "out"))
    assert "text to image, before" in again.stdout.decode()
    library = tmp_path / "library"
    indexed = process("index", SAMPLES, "--library", library, "--model", tmp_path / "out/model")
    assert indexed.returncode == 0, indexed.stderr.decode()
    found = process("query", "a cat", "--library", library, "--json", "-k", "1")
    assert json.loads(found.stdout)["modality"] == "image"


@pytest.mark.full
@needs_training
def test_a_training_that_is_killed_goes_on_to_the_same_weights(process: Process, tmp_path: Path) -> None:
    assert process(*arguments(tmp_path / "whole")).returncode == 0
    command = [sys.executable, "-c", "from mmsearch.cli import main; main()", *arguments(tmp_path / "killed")]
    running = subprocess.Popen(command, env=process_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    from mmsearch.training.metrics import Metrics

    metrics = tmp_path / "killed/metrics.jsonl"
    deadline = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and '"dev"' in metrics.read_text():
            break
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/model").exists()
    assert process(*arguments(tmp_path / "killed")).returncode == 0
    # On a busy machine the libraries below may share work out otherwise and differ in the last bits.
    whole, killed = (MiniEncoder(models=tmp_path / run / "model") for run in ("whole", "killed"))
    photos = [whole.prepare_image(Image.open(path).convert("RGB")) for path in sorted(SAMPLES.glob("*.jpg"))[:6]]
    assert (whole.encode_images(photos) * killed.encode_images(photos)).sum(1).min() > 0.9999
    texts = ["a cat", "two giraffes among the trees", "espresso"]
    assert (whole.encode_texts(texts) * killed.encode_texts(texts)).sum(1).min() > 0.9999
    steps = [
        [line["step"] for line in Metrics(tmp_path / run / "metrics.jsonl").lines()] for run in ("whole", "killed")
    ]
    assert steps[0] == steps[1]
