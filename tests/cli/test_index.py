from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import EncoderError
from mmsearch.storage.lock import WriterLock
from tests.cli.conftest import Invoke, noise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    noise(tmp_path / "photos", 8)
    return tmp_path / "photos"


@pytest.fixture
def index(invoke: Invoke, tmp_path: Path) -> Any:
    """Run ``mmsearch index`` into one library."""

    def run(*arguments: object, **options: Any) -> Any:
        return invoke("index", *arguments, "--library", tmp_path / "lib", "--model", "hashing", **options)

    return run


def test_the_summary_goes_to_stderr(index: Any, folder: Path) -> None:
    result = index(folder)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "8 new." in result.stderr
    assert re.search(r"\b8 (photos )?embedded in", result.stderr)
    assert "\x1b" not in result.stderr and "\r" not in result.stderr
    again = index(folder)
    assert (again.exit_code, again.stderr) == (0, "8 unchanged.\n")


def test_the_summary_can_be_had_as_json(index: Any, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"not a picture")
    row = json.loads(index(folder, "--json").stdout)
    assert (row["new"], row["embedded"], row["interrupted"]) == (8, 8, False)
    assert [Path(skipped["path"]).name for skipped in row["skipped"]] == ["broken.jpg"]


def test_skipped_files_are_listed_once_and_the_exit_code_stays_zero(index: Any, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"not a picture")
    (folder / "empty.png").touch()
    result = index(folder)
    assert result.exit_code == 0
    assert result.stderr.count("broken.jpg: ") == 1
    assert result.stderr.count("empty.png: ") == 1
    assert "8 new, 2 skipped." in result.stderr


def test_many_skipped_files_are_cut_short_and_the_rest_is_told_how_to_see(
    index: Any, invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    for number in range(25):
        (folder / f"broken{number:02}.jpg").write_bytes(b"not a picture %d" % number)
    result = index(folder)
    assert result.stderr.count("broken") == 20
    assert "and 5 more; to see all: mmsearch status --failures" in result.stderr
    assert len(invoke("status", "--failures", "--library", tmp_path / "lib").stdout.splitlines()) == 25


def test_files_are_ignored_hidden_and_retried_as_asked(index: Any, folder: Path) -> None:
    (folder / ".hidden.png").write_bytes((folder / "00.png").read_bytes() + b"\0")
    assert "6 new" in index(folder, "--ignore", "00.png", "--ignore", "*1.png").stderr
    assert "3 new, 6 unchanged." in index(folder, "--hidden").stderr
    (folder / "broken.jpg").write_bytes(b"not a picture")
    assert "1 skipped" in index(folder).stderr
    assert "1 skipped" in index(folder, "--retry-failed").stderr


def test_deleted_files_are_removed_and_those_of_a_missing_folder_kept_until_pruned(index: Any, folder: Path) -> None:
    index(folder)
    (folder / "00.png").unlink()
    assert "1 removed, 7 unchanged." in index(folder).stderr
    folder.rename(folder.with_name("away"))
    kept = index(folder)
    assert kept.exit_code == 0
    assert "7 kept." in kept.stderr
    assert "7 removed." in index(folder, "--prune").stderr


def test_a_path_that_is_not_there_is_wrong_usage_and_leaves_no_library_behind(index: Any, tmp_path: Path) -> None:
    result = index(tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"mmsearch: {tmp_path / 'nowhere'} does not exist.\n")
    assert not (tmp_path / "lib").exists()


def test_an_empty_folder_is_told(index: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = index(tmp_path / "empty")
    assert result.exit_code == 0
    assert f"nothing to index in {tmp_path / 'empty'}" in result.stderr


@pytest.mark.parametrize("option", ["--batch-size", "--threads"])
def test_sizes_below_one_are_wrong_usage(index: Any, folder: Path, tmp_path: Path, option: str) -> None:
    result = index(folder, option, 0)
    assert result.exit_code == 2
    assert f"{option} must be at least 1, not 0." in result.stderr
    assert not (tmp_path / "lib").exists()


def test_a_model_that_does_not_exist_is_wrong_usage_and_leaves_no_library_behind(
    invoke: Invoke, folder: Path, tmp_path: Path
) -> None:
    result = invoke("index", folder, "--library", tmp_path / "lib", "--model", "no-such-model")
    assert result.exit_code == 2
    assert "no-such-model" in result.stderr and "mmsearch models list" in result.stderr
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize("models", [("--model", "hashing,no-such"), ("--model", "hashing", "--model", "no-such")])
def test_several_models_are_given_one_by_one_or_with_commas(
    invoke: Invoke, folder: Path, tmp_path: Path, models: tuple[str, ...]
) -> None:
    result = invoke("index", folder, "--library", tmp_path / "lib", *models)
    assert result.exit_code == 2
    assert "no-such" in result.stderr and "hashing,no-such" not in result.stderr
    assert not (tmp_path / "lib").exists()


def test_a_model_that_is_named_twice_is_one(invoke: Invoke, folder: Path, tmp_path: Path) -> None:
    arguments = ("index", folder, "--library", tmp_path / "lib", "--model", "hashing, hashing")
    assert invoke(*arguments).exit_code == 0
    assert json.loads(invoke("status", "--library", tmp_path / "lib", "--json").stdout)["encoders"] == [
        {"id": "hashing", "dim": 64}
    ]


@pytest.mark.parametrize("name", ["", "mini,", " "])
def test_a_model_without_a_name_is_wrong_usage(invoke: Invoke, folder: Path, tmp_path: Path, name: str) -> None:
    result = invoke("index", folder, "--library", tmp_path / "lib", "--model", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("mmsearch: --model needs a name.\n")


def test_a_library_of_another_model_is_not_touched(invoke: Invoke, index: Any, folder: Path, tmp_path: Path) -> None:
    index(folder)
    result = invoke("index", folder, "--library", tmp_path / "lib", "--model", "mini")
    assert result.exit_code == 1
    assert "hashing" in result.stderr and "mini" in result.stderr


def test_a_second_writer_is_told_who_holds_the_lock(index: Any, folder: Path, tmp_path: Path) -> None:
    index(folder)
    with WriterLock(tmp_path / "lib", "mmsearch index"):
        result = index(folder)
    assert result.exit_code == 1
    assert str(os.getpid()) in result.stderr and "mmsearch index" in result.stderr


def test_ctrl_c_saves_what_is_done_and_says_how_to_go_on(
    index: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    encode = HashingEncoder.encode_images

    def interrupted(self: HashingEncoder, images: Sequence[Any]) -> np.ndarray:
        embedded.append(len(images))
        if len(embedded) == 3:  # the first call tries the model out on a blank picture
            os.kill(os.getpid(), signal.SIGINT)
        return encode(self, images)

    monkeypatch.setattr(HashingEncoder, "encode_images", interrupted)
    result = index(folder, "--batch-size", 2, "--threads", 1)
    assert result.exit_code == 130
    saved = sum(embedded[1:])
    assert saved < 8
    assert result.stderr.endswith(f"Saved {saved} files. Run the same command again to go on.\n")
    monkeypatch.undo()


def test_a_failing_model_ends_the_run_with_code_1_and_keeps_what_is_done(
    index: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = HashingEncoder.encode_images
    calls: list[int] = []

    def failing(self: HashingEncoder, images: Sequence[Any]) -> np.ndarray:
        calls.append(len(images))
        if len(calls) > 3:  # the first call tries the model out on a blank picture
            raise EncoderError("The model failed.")
        return encode(self, images)

    with monkeypatch.context() as patched:
        patched.setattr(HashingEncoder, "encode_images", failing)
        result = index(folder, "--batch-size", 2)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "mmsearch: The model failed.\n" in result.stderr
    assert "4 new, 4 unchanged." in index(folder).stderr
