"""``mmsearch train reranker``: what it refuses, what it makes, and that a kill loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mmsearch.encoders.mini_text import read_safetensors
from mmsearch.training.metrics import Metrics
from tests.cli.conftest import Invoke, process_environment
from tests.training.halves import write_data

complete = all(find_spec(name) for name in ("torch", "timm", "matplotlib", "onnx"))
needs_training = pytest.mark.skipif(not complete, reason="needs the full installation and mmsearch[train]")
OPTIONS = """
--model hashing --epochs 3 --batch 16 --rate 0.01 --views 2 --distorted 4 --side 4 --dim 16 --depths 2 --precision fp32
"""


def test_help_has_a_worked_example(invoke: Invoke) -> None:
    text = invoke("train", "reranker", "--help").output
    assert "mmsearch train reranker captions.csv --images ./photos --out ./my-reranker" in text
    for option in ("--hard", "--distorted", "--side", "--dim", "--layers", "--no-gate", "--depths", "--sentences"):
        assert option in text
    assert "mmsearch train reranker" in invoke("train", "--help").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, not 0."),
        (["--batch", "1"], "--batch must be at least 2"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--rate", "nan"], "--rate must be above 0"),
        (["--rate", "quick"], "is not a number"),
        (["--views", "0"], "--views must be at least 1"),
        (["--caption-views", "0"], "--caption-views must be at least 1"),
        (["--hard", "1"], "--hard is a share"),
        (["--hard", "-0.1"], "--hard is a share"),
        (["--distorted", "-1"], "--distorted must be at least 0"),
        (["--side", "0"], "--side must be at least 1"),
        (["--dim", "0"], "--dim must be at least 2"),
        (["--dim", "33"], "--dim must be even"),
        (["--layers", "-1"], "--layers must be at least 0"),
        (["--depths", "two"], "--depths takes numbers from 0 to 6"),
        (["--depths", "0,7"], "--depths takes numbers from 0 to 6"),
        (["--depths", ""], "--depths takes numbers from 0 to 6"),
        (["--seed", "-1"], "--seed must be at least 0"),
    ],
)
def test_what_cannot_work_is_refused_at_once(invoke: Invoke, tmp_path: Path, arguments: list[str], words: str) -> None:
    result = invoke("train", "reranker", tmp_path / "nowhere.csv", "--out", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr and "nowhere" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(complete, reason="everything is installed")
def test_missing_packages_are_named(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("train", "reranker", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "pip install" in result.stderr


@needs_training
@pytest.mark.full
def test_what_is_not_there_is_told(invoke: Invoke, tmp_path: Path) -> None:
    train, dev = write_data(tmp_path, 4, 2)
    out = ["--out", tmp_path / "out", "--model", "hashing"]
    result = invoke("train", "reranker", tmp_path / "none.csv", *out)
    assert result.exit_code == 2 and "none.csv" in result.stderr
    result = invoke("train", "reranker", train, "--dev", dev, "--sentences", tmp_path / "none.txt", *out)
    assert result.exit_code == 2 and "none.txt cannot be read as text" in result.stderr
    result = invoke("train", "reranker", train, "--out", tmp_path / "out", "--model", "nothing")
    assert result.exit_code in (1, 2) and "nothing" in result.stderr
    assert not (tmp_path / "out").exists()


@needs_training
@pytest.mark.full
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_training_that_is_killed_goes_on_to_the_same_weights_and_its_reranker_can_be_used(
    invoke: Invoke, tmp_path: Path
) -> None:
    train, dev = write_data(tmp_path, 48, 12)
    (tmp_path / "asked.txt").write_text("a red door\n\nsomething blue\n", encoding="utf-8")
    given = ["train", "reranker", str(train), "--dev", str(dev), "--sentences", str(tmp_path / "asked.txt")]
    given += OPTIONS.split()
    command = [sys.executable, "-c", "from mmsearch.cli import main; main()", *given, "--out", str(tmp_path / "killed")]
    running = subprocess.Popen(command, env=process_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics, deadline = tmp_path / "killed/metrics.jsonl", time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        if metrics.exists() and '"dev"' in metrics.read_text():
            break
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/reranker.safetensors").exists()

    results = [invoke(*given, "--out", tmp_path / run, *more) for run, more in (("whole", ["--json"]), ("killed", []))]
    assert [result.exit_code for result in results] == [0, 0], results[0].stderr + results[1].stderr
    files = [tmp_path / run / "reranker.safetensors" for run in ("whole", "killed")]
    whole, killed = (read_safetensors(file)[0] for file in files)
    assert whole.keys() == killed.keys()
    # Sums of another order in a busy process may turn the sign of a gradient that is almost nothing, here and there.
    apart = {name: np.abs(whole[name].astype(np.float32) - killed[name]).mean() for name in whole if name != "bank"}
    assert max(apart.values()) < 1e-3, apart
    steps = [
        [line["step"] for line in Metrics(tmp_path / run / "metrics.jsonl").lines()] for run in ("whole", "killed")
    ]
    assert steps[0] == steps[1] and max(steps[0]) == 9

    report = json.loads(results[0].stdout)
    assert report == json.loads((tmp_path / "whole/report.json").read_text())
    assert (report["photos"], report["captions"], report["token_bytes"]) == (48, 96, 256)
    assert (tmp_path / "whole/training.png").stat().st_size > 10_000
    table = results[1].stdout
    assert "learned from 48 pictures, 96 captions" in table and "256 bytes of tokens a picture" in table
    assert "text to image, not reranked" in table and "image to text, by words and tokens alone" in table
    assert f"mmsearch index ./photos --model hashing --reranker {files[1]}" in results[1].stderr

    library = tmp_path / "library"
    index = invoke("index", dev, "--library", library, "--model", "hashing", "--no-captions", "--reranker", files[0])
    assert index.exit_code == 0, index.stderr
    query = invoke("query", "a red wall beside a blue wall", "--library", library, "--rerank", "--no-words", "--json")
    assert {json.loads(line)["stage"] for line in query.stdout.splitlines()} == {"rerank"}
