"""``mmsearch status`` and ``mmsearch rebuild``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


def test_status_tells_what_a_library_holds(invoke: Invoke, library: Path, photos: Path) -> None:
    result = invoke("status", "--library", library)
    assert (result.exit_code, result.stderr) == (0, "")
    for fact in ("Items     12 photos", "Segments  12", "hashing (64 dimensions)", "flat: 12 vectors",
                 f"{photos}: 12 items", "1 file; to list them"):  # fmt: skip
        assert fact in result.stdout


def test_status_is_one_json_object(invoke: Invoke, library: Path, photos: Path) -> None:
    (line,) = invoke("status", "--library", library, "--json").stdout.splitlines()
    row = json.loads(line)
    assert row["items"] == {"image": 12}
    assert (row["segments"], row["failures"]) == (12, 1)
    assert row["encoders"] == [{"id": "hashing", "dim": 64}]
    assert row["indexes"][0]["kind"] == "flat" and row["indexes"][0]["pending"] == 0
    assert row["roots"] == [{"path": str(photos), "items": 12, "present": True}]
    assert row["catalog_bytes"] > 0
    assert "failed" not in row


def test_status_lists_the_files_that_could_not_be_read(invoke: Invoke, library: Path, photos: Path) -> None:
    text = invoke("status", "--library", library, "--failures").stdout
    assert text.startswith(f"{photos / 'broken.jpg'}: ")
    row = json.loads(invoke("status", "--library", library, "--failures", "--json").stdout)
    assert [Path(failed["path"]).name for failed in row["failed"]] == ["broken.jpg"]


def test_status_of_no_library_is_an_error(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("status", "--library", tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_file_that_is_no_catalog_is_told(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite3").write_bytes(b"this is not SQLite" * 100)
    result = invoke("status", "--library", tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("mmsearch: ") and "Unexpected" not in result.stderr


@pytest.mark.parametrize("kind", ["auto", "flat"])
def test_rebuild_makes_the_index_anew(invoke: Invoke, library: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "lib"
    shutil.copytree(library, copy)
    before = invoke("query", "x", "--library", copy, "--json").stdout
    shutil.rmtree(copy / "vectors")
    result = invoke("rebuild", "--library", copy, "--index", kind, "--json")
    assert result.exit_code == 0
    row = json.loads(result.stdout)
    assert (row["kind"], row["vectors"], row["pending"]) == ("flat", 12, 0)
    assert result.stderr.startswith("Index: photos, flat: 12 vectors")
    assert invoke("query", "x", "--library", copy, "--json").stdout == before


def test_a_kind_of_index_that_does_not_exist_is_wrong_usage(invoke: Invoke, library: Path) -> None:
    result = invoke("rebuild", "--library", library, "--index", "tree")
    assert result.exit_code == 2
    assert "auto, flat, ivf, hnsw, pq" in result.stderr


def test_the_library_is_found_from_the_working_directory_and_the_environment(
    invoke: Invoke, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    shutil.copytree(library, tmp_path / "photos" / ".mmsearch")
    monkeypatch.chdir(tmp_path / "photos" / "deep")
    assert str(tmp_path / "photos" / ".mmsearch") in invoke("status").stdout
    assert str(library) in invoke("status", env={"MMSEARCH_LIBRARY": str(library)}).stdout
