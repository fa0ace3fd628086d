"""``--rerank``, ``--shortlist`` and ``--reranker`` of ``mmsearch index``, ``query`` and ``eval``."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.encoders.mini import MiniEncoder
from tests.cli.conftest import ENVIRONMENT, Invoke, noise
from tests.rerank.random_reranker import Measures, save_reranker

FIELDS = [
    "rank",
    "path",
    "modality",
    "score",
    "relevance",
    "stage",
    "start_ms",
    "end_ms",
    "text",
    "item_id",
    "segment_id",
    "start_char",
    "end_char",
    "page",
    "matched",
    "retrieval_score",
    "others",
    "key",
    "metadata",
    "duplicates",
    "group",
]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reranker(tmp_path_factory.mktemp("reranker") / "reranker.safetensors")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "pictures"
    noise(folder, 12)
    return folder


@pytest.fixture(scope="module")
def reranked(tmp_path_factory: pytest.TempPathFactory, pictures: Path, reranker: Path) -> Path:
    """A library that was given a reranker."""
    library = tmp_path_factory.mktemp("library") / "lib"
    command = ["index", pictures, "--library", library, "--model", "hashing", "--reranker", reranker]
    result = CliRunner(env=ENVIRONMENT).invoke(app, [str(part) for part in command])
    assert result.exit_code == 0, result.stderr
    return library


def rows(invoke: Invoke, library: Path, *arguments: object) -> list[dict[str, Any]]:
    result = invoke("query", "a dog", "--all", "--library", library, "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_library_with_a_reranker_reads_its_best_hits_again_by_itself(invoke: Invoke, reranked: Path) -> None:
    found, plain = rows(invoke, reranked, "-k", 12), rows(invoke, reranked, "-k", 12, "--no-rerank")
    assert all(list(row) == FIELDS for row in (*found, *plain))
    assert {row["stage"] for row in found} == {"rerank"} and {row["stage"] for row in plain} == {"vector"}
    assert {row["path"]: row["retrieval_score"] for row in found} == {row["path"]: row["score"] for row in plain}
    assert [row["path"] for row in found] != [row["path"] for row in plain]
    assert rows(invoke, reranked, "-k", 12, "--rerank") == found
    table = invoke("query", "a dog", "--all", "--library", reranked, "--no-preview").stdout
    assert Path(found[0]["path"]).name in table.splitlines()[0]


def test_the_shortlist_can_be_chosen(invoke: Invoke, reranked: Path) -> None:
    found = rows(invoke, reranked, "-k", 6, "--shortlist", 4)
    assert [row["stage"] for row in found] == ["rerank"] * 4 + ["vector"] * 2
    result = invoke("query", "a dog", "--library", reranked, "--shortlist", 0)
    assert result.exit_code == 2 and "--shortlist must be at least 1, not 0." in result.stderr


def test_a_reranker_can_be_named_for_one_query(invoke: Invoke, reranked: Path, reranker: Path, tmp_path: Path) -> None:
    assert rows(invoke, reranked, "--reranker", reranker) == rows(invoke, reranked)
    other = save_reranker(tmp_path / "other.safetensors", seed=1)
    result = invoke("query", "a dog", "--library", reranked, "--reranker", other)
    assert result.exit_code == 2 and "no tokens for the reranker" in result.stderr
    assert "mmsearch rebuild --tokens" in result.stderr
    result = invoke("query", "a dog", "--library", reranked, "--reranker", other, "--no-rerank")
    assert result.exit_code == 2 and "--no-rerank does without" in result.stderr
    result = invoke("query", "a dog", "--library", reranked, "--reranker", tmp_path / "none")
    assert result.exit_code == 1 and "none cannot be read" in result.stderr
    foreign = save_reranker(tmp_path / "foreign.safetensors", Measures(encoder="mini"))
    result = invoke("query", "a dog", "--library", reranked, "--reranker", foreign)
    assert result.exit_code == 2 and "reads what mini finds, not what hashing does" in result.stderr


def test_asking_for_a_reranker_where_there_is_none_is_wrong_usage(invoke: Invoke, library: Path) -> None:
    result = invoke("query", "a dog", "--library", library, "--rerank")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no reranker for the model hashing" in result.stderr and "mmsearch train reranker" in result.stderr


def test_another_reranker_can_be_given_to_a_library(invoke: Invoke, pictures: Path, tmp_path: Path) -> None:
    library, options = tmp_path / "lib", ["--library", tmp_path / "lib"]
    files = [save_reranker(tmp_path / f"{seed}.safetensors", seed=seed) for seed in (3, 4)]
    assert invoke("index", pictures, "--model", "hashing", "--reranker", files[0], *options).exit_code == 0
    first = rows(invoke, library)
    assert invoke("index", pictures, "--reranker", files[1], *options).exit_code == 0
    assert {row["stage"] for row in rows(invoke, library)} == {"vector"}  # the tokens are those of the first
    assert "12 photos without" in invoke("status", *options).stdout
    assert invoke("rebuild", "--tokens", *options).exit_code == 0
    second = rows(invoke, library, "--rerank")
    assert {row["stage"] for row in second} == {"rerank"} and second != first


def test_a_reranker_that_cannot_be_read_is_told_when_a_library_is_made(
    invoke: Invoke, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad").write_bytes(b"nothing of the kind")
    result = invoke(
        "index", pictures, "--library", tmp_path / "l", "--model", "hashing", "--reranker", tmp_path / "bad"
    )
    assert result.exit_code == 1 and "cannot be read" in result.stderr
    assert invoke("index", pictures, "--library", tmp_path / "l", "--model", "hashing").exit_code == 0


def test_the_built_in_model_reads_its_hits_again_without_torch(invoke: Invoke, samples: Path, tmp_path: Path) -> None:
    patches = MiniEncoder().patches
    assert patches is not None
    grid = (patches.rows, patches.columns)
    measures = Measures("mini", patches.width, grid, (4, 4), depths=(0, 2), embedding=MiniEncoder().dim)
    file, library = save_reranker(tmp_path / "mini.safetensors", measures), tmp_path / "lib"
    photos = [samples / name for name in ("cat.jpg", "bee.jpg", "coffee.jpg")]
    assert invoke("index", *photos, "--library", library, "--reranker", file).exit_code == 0
    probe = (
        "import sys\nfrom mmsearch.cli.query import app\n"
        f"sys.argv = ['mmsearch', 'a cat', '--library', {str(library)!r}]\n"
        "sys.argv += ['--json', '--rerank', '--all', '--no-words']\n"
        "try:\n    app()\nfinally:\n    print('torch' in sys.modules, 'onnxruntime' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.splitlines()[-1] == "False False", done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 3 and "rerank" in {row["stage"] for row in found}


# --- eval


@pytest.fixture
def captions(pictures: Path, tmp_path: Path) -> list[object]:
    with (tmp_path / "captions.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["image", "caption"])
        writer.writerows([f"{number:02}.png", f"a dog {number}"] for number in range(12))
    return ["eval", tmp_path / "captions.csv", "--images", pictures, "--model", "hashing"]


def test_eval_measures_the_reranker_beside_the_model(invoke: Invoke, captions: list[object], reranker: Path) -> None:
    result = invoke(*captions, "--reranker", reranker, "--shortlist", 5, "--json")
    assert result.exit_code == 0, result.stderr
    row = json.loads(result.stdout)
    assert list(row) == ["model", "images", "captions", "text_to_image", "image_to_text", "reranked"]
    assert list(row["reranked"]) == ["reranker", "shortlist", "text_to_image", "image_to_text"]
    assert row["reranked"]["reranker"].startswith("hashing-reranker@") and row["reranked"]["shortlist"] == 5
    assert list(row["reranked"]["image_to_text"]) == list(row["image_to_text"])
    assert json.loads(invoke(*captions, "--json").stdout)["text_to_image"] == row["text_to_image"]
    table = invoke(*captions, "--reranker", reranker, "--shortlist", 5).stdout.splitlines()
    assert [line.split("  ")[0] for line in table].count("recall@1") == 2
    assert any(line.startswith("best 5 reranked") for line in table)


def test_eval_refuses_what_does_not_go_together(
    invoke: Invoke, captions: list[object], reranker: Path, tmp_path: Path
) -> None:
    for arguments in (["--rerank"], ["--reranker", reranker]):
        result = invoke("eval", "--classes", tmp_path, "--model", "hashing", *arguments)
        assert result.exit_code == 2 and "--rerank belongs to captions" in result.stderr
    result = invoke(*captions, "--reranker", reranker, "--shortlist", 0)
    assert result.exit_code == 2 and "--shortlist must be at least 1" in result.stderr
    foreign = save_reranker(tmp_path / "foreign.safetensors", Measures(encoder="mini"))
    result = invoke(*captions, "--reranker", foreign)
    assert result.exit_code == 2 and "reads what mini finds" in result.stderr
    result = invoke(*captions, "--reranker", tmp_path / "none")
    assert result.exit_code == 1 and "cannot be read" in result.stderr
