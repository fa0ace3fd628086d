"""``--tokens`` of ``mmsearch index`` and ``mmsearch rebuild``, and what ``mmsearch status`` says of tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmsearch.engine import opened
from tests.cli.conftest import Invoke, noise
from tests.indexer.projecting import ProjectingReranker


@pytest.fixture(autouse=True)
def reranker(monkeypatch: pytest.MonkeyPatch) -> ProjectingReranker:
    """The reranker of every encoder."""
    found = ProjectingReranker()
    monkeypatch.setattr(opened, "load_reranker", lambda name, encoder, library=None: found)
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    noise(tmp_path / "pictures", 12)
    return tmp_path / "pictures"


def tokens_of(invoke: Invoke, library: Path) -> list[dict]:
    return json.loads(invoke("status", "--library", library, "--json").stdout)["tokens"]


def test_index_keeps_tokens_and_status_tells_of_them(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    result = invoke("index", pictures, "--library", tmp_path / "lib", "--model", "hashing", "--json")
    assert result.exit_code == 0 and "rebuild" not in result.stderr
    assert json.loads(result.stdout)["stage_seconds"]["tokens"] >= 0
    (row,) = tokens_of(invoke, tmp_path / "lib")
    assert row.pop("size_bytes") > 12 * 128
    assert row == {
        "encoder": "hashing",
        "modality": "image",
        "reranker": "projecting@0",
        "rows": 12,
        "lacking": 0,
    }
    text = invoke("status", "--library", tmp_path / "lib").stdout
    assert "Tokens    photos, projecting@0: 12 rows, " in text and "without" not in text


def test_without_tokens_there_are_none_until_they_are_rebuilt(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    library = tmp_path / "lib"
    invoke("index", pictures, "--library", library, "--model", "hashing", "--no-tokens")
    assert not (library / "tokens").exists()
    text = invoke("status", "--library", library).stdout
    assert "Tokens    photos, none yet: 0 rows, 0 B, 12 photos without; to make them: mmsearch rebuild --tokens" in text
    (pictures / "03.png").unlink()
    result = invoke("rebuild", "--tokens", "--library", library)
    assert result.exit_code == 0 and result.stdout == ""
    assert "Tokens: made of 11 pictures in " in result.stderr and "1 file is not there." in result.stderr
    assert "Index" not in result.stderr
    (row,) = tokens_of(invoke, library)
    assert (row["rows"], row["lacking"]) == (11, 1)
    assert "1 photo without" in invoke("status", "--library", library).stdout


def test_a_rebuild_for_programs(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    invoke("index", pictures, "--library", tmp_path / "lib", "--model", "hashing")
    result = invoke("rebuild", "--tokens", "--index", "flat", "--library", tmp_path / "lib", "--json")
    index, tokens = map(json.loads, result.stdout.splitlines())
    assert index["kind"] == "flat"
    assert tokens.pop("elapsed_s") >= 0
    assert tokens == {
        "tokens_made": 12,
        "files_missing": 0,
        "files_changed": 0,
        "skipped": [],
        "interrupted": False,
    }


def test_tokens_for_another_reranker_count_as_none(
    invoke: Invoke, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("index", pictures, "--library", tmp_path / "lib", "--model", "hashing")
    monkeypatch.setattr(opened, "load_reranker", lambda name, encoder, library=None: ProjectingReranker(1))
    (row,) = tokens_of(invoke, tmp_path / "lib")
    assert (row["reranker"], row["rows"], row["lacking"]) == ("projecting@0", 12, 12)


def test_a_model_without_a_reranker_has_no_tokens(
    invoke: Invoke, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened, "load_reranker", lambda name, encoder, library=None: None)
    assert tokens_of(invoke, library) == []
    shutil.copytree(library, tmp_path / "lib")
    result = invoke("rebuild", "--tokens", "--library", tmp_path / "lib")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("mmsearch: There are no tokens to make for the model hashing")


def test_the_tokens_of_a_library_that_is_in_use_are_not_rebuilt(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    from mmsearch.storage.lock import WriterLock

    invoke("index", pictures, "--library", tmp_path / "lib", "--model", "hashing")
    with WriterLock(tmp_path / "lib", "mmsearch index"):
        result = invoke("rebuild", "--tokens", "--library", tmp_path / "lib")
    assert result.exit_code == 1 and "has been writing" in result.stderr
