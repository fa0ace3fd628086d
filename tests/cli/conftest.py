"""A small library, and two ways to run the command line over it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from mmsearch.cli.app import app

# The hashing encoder knows no words, so hits of word queries are arbitrary; these tests look at the form alone.
ENVIRONMENT = {"MMSEARCH_TEST_ENCODERS": "1", "NO_COLOR": "1", "TERM": "dumb"}
ODD_NAME = b"odd \xff\n\x1b[31m name.png"

Invoke = Callable[..., Result]
Process = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command inside this process."""
    for name in ("MMSEARCH_LIBRARY", "MMSEARCH_DEBUG", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, stdin: bytes | None = None, env: dict[str, str] | None = None) -> Result:
        return CliRunner(env=ENVIRONMENT | (env or {})).invoke(app, [str(part) for part in arguments], input=stdin)

    return run


def process_environment(**others: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MMSEARCH_")}
    return kept | ENVIRONMENT | others


@pytest.fixture
def process() -> Process:
    """Run a command in a process of its own, as a shell would."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = [
            sys.executable,
            "-c",
            "from mmsearch.cli import main; main()",
            *map(os.fsencode, map(str, arguments)),
        ]
        options.setdefault("env", process_environment())
        return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)

    return run


def noise(folder: Path, count: int) -> None:
    """Pictures that have nothing to do with each other."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST).save(folder / f"{number:02}.png")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, one of them with a name that no terminal should see, and one file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    noise(folder, 11)
    Image.new("RGB", (32, 32), "teal").save(folder / os.fsdecode(ODD_NAME), "PNG")
    (folder / "broken.jpg").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A library of the pictures; tests only read it."""
    folder = tmp_path_factory.mktemp("library") / "lib"
    result = CliRunner(env=ENVIRONMENT).invoke(
        app, ["index", str(photos), "--library", str(folder), "--model", "hashing"]
    )
    assert result.exit_code == 0, result.stderr
    return folder
