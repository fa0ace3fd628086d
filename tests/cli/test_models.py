from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_built_in_model_is_listed(invoke: Invoke) -> None:
    result = invoke("models", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert any(line.split()[:2] == ["mini", "built-in"] for line in result.stdout.splitlines())
    assert "hashing" not in result.stdout


def test_models_are_listed_as_json_lines(invoke: Invoke) -> None:
    rows = [json.loads(line) for line in invoke("models", "list", "--json").stdout.splitlines()]
    assert all(list(row) == ["id", "state", "size_bytes", "dim", "note"] for row in rows)
    assert {row["state"] for row in rows} <= {"built-in", "installed", "available"}
    offline = [json.loads(line) for line in invoke("models", "list", "--json", "--offline").stdout.splitlines()]
    assert offline == [row for row in rows if row["state"] != "available"]


def test_the_path_of_a_model_is_printed_alone(invoke: Invoke) -> None:
    text = invoke("models", "path", "mini").stdout
    assert Path(text.rstrip("\n")).exists()
    assert json.loads(invoke("models", "path", "mini", "--json").stdout) == {"id": "mini", "path": text.rstrip("\n")}


def test_pulling_the_built_in_model_needs_nothing(invoke: Invoke) -> None:
    result = invoke("models", "pull", "mini", "--offline")
    assert result.exit_code == 0
    assert Path(result.stdout.rstrip("\n")).exists()


@pytest.mark.parametrize("command", ["pull", "path", "remove"])
def test_a_model_that_does_not_exist_is_wrong_usage(invoke: Invoke, command: str) -> None:
    result = invoke("models", command, "no-such-model")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no-such-model" in result.stderr


def test_the_built_in_model_cannot_be_removed(invoke: Invoke) -> None:
    result = invoke("models", "remove", "mini")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mini" in result.stderr


def test_a_model_that_is_not_here_cannot_be_pulled_offline(invoke: Invoke) -> None:
    result = invoke("models", "pull", "open_clip/ViT-B-32/laion2b_s34b_b79k", "--offline")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("mmsearch: ") or "\nmmsearch: " in result.stderr
    assert "Unexpected" not in result.stderr
