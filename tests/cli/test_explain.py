"""``mmsearch explain``."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Invoke, Process, process_environment
from tests.rerank.random_reranker import Measures, save_reranker

MEASURES = Measures("mini", 328, (9, 9), (5, 5), embedding=256)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reranker(tmp_path_factory.mktemp("reranker") / "tiny.safetensors", MEASURES)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a library, and a user without one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def cat(samples: Path) -> Path:
    return Path(shutil.copy(samples / "cat.jpg", "cat.jpg"))


def test_a_figure_is_drawn_and_the_words_are_told_without_a_library(invoke: Invoke, cat: Path, reranker: Path) -> None:
    result = invoke("explain", "a sleeping cat", cat, "-o", "why.png", "--reranker", reranker)
    assert result.exit_code == 0, result.stderr
    verdict, heading, *words = result.stdout.splitlines()
    assert "likely to match" in verdict and "by the dual encoder alone (similarity 0." in verdict
    assert heading.split() == ["word", "counts", "peak"]
    assert [line.split()[0] for line in words] == ["sleeping", "cat"]
    assert result.stderr == "The figure is in why.png\n"
    with Image.open("why.png") as figure:
        assert figure.format == "PNG" and figure.width > 1500


def test_json_has_words_weights_maps_and_the_verdict(invoke: Invoke, cat: Path, reranker: Path) -> None:
    result = invoke("explain", "a sleeping cat", cat, "--json", "--reranker", reranker)
    assert (result.exit_code, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    found = json.loads(line)
    assert list(found) == ["image", "query", "encoder", "reranker", "words", "weights", "maps", "view", "verdict"]
    assert found["image"] == str(cat.absolute()) and found["query"] == "a sleeping cat"
    assert found["words"] == ["sleeping", "cat"] and sum(found["weights"]) == pytest.approx(1, abs=1e-4)
    maps = np.array(found["maps"])
    assert maps.shape == (2, *MEASURES.wanted)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1, atol=1e-3)
    assert all(0 <= found["verdict"][name] <= 1 for name in ("relevance", "retrieval_relevance"))
    assert list(Path().iterdir()) == [cat]


def test_json_and_the_figure_come_together(invoke: Invoke, cat: Path, reranker: Path) -> None:
    result = invoke("explain", "cat", cat, "--json", "--output", "why.webp", "--reranker", reranker)
    assert json.loads(result.stdout)["words"] == ["cat"]
    assert Path("why.webp").is_file()


def test_words_need_no_quotation_marks_and_can_come_from_standard_input(
    invoke: Invoke, cat: Path, reranker: Path
) -> None:
    quoted = invoke("explain", "two small cats", cat, "--json", "--reranker", reranker)
    assert invoke("explain", "two", "small", "cats", cat, "--json", "--reranker", reranker).stdout == quoted.stdout
    piped = invoke("explain", "-", cat, "--json", "--reranker", reranker, stdin=b"two small cats\n")
    assert piped.stdout == quoted.stdout


def test_without_a_place_for_the_figure_the_mending_command_is_told(invoke: Invoke, reranker: Path, cat: Path) -> None:
    spaced = cat.rename("my cat.jpg")
    result = invoke("explain", "a cat", spaced, "--reranker", reranker)
    assert (result.exit_code, result.stdout) == (2, "")
    sentence, hint = result.stderr.splitlines()
    assert sentence == "mmsearch: It was not said where the figure is to be written."
    assert hint == "For example: mmsearch explain 'a cat' 'my cat.jpg' -o why.png"
    mended = invoke(*shlex.split(hint.removeprefix("For example: mmsearch ")), "--reranker", reranker)
    assert mended.exit_code == 0, mended.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        ([], "Missing argument 'QUERY IMAGE'.", "mmsearch explain --help"),
        (["cat.jpg"], "Give both the words and a picture.", "mmsearch explain"),
        (["", "cat.jpg"], "The query is empty.", "For example"),
        (["the", "cat.jpg"], "No word of 'the' is looked for by itself.", "mmsearch explain"),
        (["cat.jpg", "a cat"], "The words come first, then the picture.", "mmsearch explain 'a cat' cat.jpg -o"),
        (["cat.jpg", "cat.jpg"], "Only words can be explained, one sentence at a time.", "mmsearch explain"),
        (["dog", "+", "beach", "cat.jpg"], "Only words can be explained, one sentence at a time.", "mmsearch explain"),
        (["a cat", "nothing.jpg"], "There is no file nothing.jpg.", "mmsearch explain"),
        (["a cat", "notes.txt"], "Cannot look at notes.txt: not an image.", "mmsearch explain"),
        (["a cat", "cat.jpg", "-o", "why.svg"], "Cannot tell what to write to why.svg.", ".png"),
        (["a cat", "cat.jpg", "-o", "no/why.png"], "There is no folder no.", "mkdir -p no"),
        (["a cat", "cat.jpg", "-o", "cat.jpg"], "The figure would take the place of the picture", "another name"),
        (["a cat", "cat.jpg", "--model", "minni"], "There is no model 'minni'", "mmsearch"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(
    invoke: Invoke, cat: Path, reranker: Path, arguments: list[str], sentence: str, hint: str
) -> None:
    Path("notes.txt").write_text("not a picture")
    before = cat.read_bytes()
    place = [] if "-o" in arguments or len(arguments) < 2 else ["-o", "why.png"]
    result = invoke("explain", *arguments, *place, "--reranker", reranker)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"mmsearch: {sentence}") and hint in second
    assert {path.name for path in Path().iterdir()} == {"cat.jpg", "notes.txt"} and cat.read_bytes() == before


def test_rerankers_that_cannot_tell_are_refused(invoke: Invoke, cat: Path, tmp_path: Path) -> None:
    blind = save_reranker(tmp_path / "blind.safetensors", replace(MEASURES, layers=0))
    other = save_reranker(tmp_path / "other.safetensors", replace(MEASURES, encoder="another"))
    for named, code, sentence in (
        ("coca/coca_ViT-B-32/laion2b_s13b_b90k", 2, "does not tell where its words look."),
        (blind, 2, "was trained without cross-attention: its words look nowhere."),
        (other, 2, "reads what another finds, not what mini does."),
        ("nothing.safetensors", 1, "nothing.safetensors"),
    ):
        result = invoke("explain", "a cat", cat, "-o", "why.png", "--reranker", named)
        assert (result.exit_code, result.stdout) == (code, "")
        assert sentence in result.stderr.splitlines()[0] and len(result.stderr.splitlines()) == 2
    assert not Path("why.png").exists()


def test_a_model_without_a_reranker_is_told(invoke: Invoke, cat: Path, library: Path) -> None:
    for named in (["--library", library], ["--model", "hashing"]):
        result = invoke("explain", "a cat", cat, "-o", "why.png", *named)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines() == [
            "mmsearch: There is no reranker for the model hashing.",
            "Train one: mmsearch train reranker --help",
        ]


def test_a_library_that_is_named_must_be_there(invoke: Invoke, cat: Path, tmp_path: Path) -> None:
    result = invoke("explain", "a cat", cat, "-o", "why.png", "--library", tmp_path / "nothing")
    assert result.exit_code == 1 and "There is no library at" in result.stderr
    variable = {"MMSEARCH_LIBRARY": str(tmp_path / "nothing")}
    result = invoke("explain", "a cat", cat, "-o", "why.png", env=variable)
    assert result.exit_code == 1 and "There is no library at" in result.stderr


def test_the_library_above_is_asked_with_the_reranker_that_it_keeps(
    invoke: Invoke, cat: Path, samples: Path, reranker: Path
) -> None:
    for name in ("kitten.jpg", "owl.jpg", "crab.jpg"):
        shutil.copy(samples / name, name)
    indexed = invoke("index", ".", "--library", ".mmsearch", "--model", "mini", "--reranker", reranker)
    assert indexed.exit_code == 0, indexed.stderr
    found = json.loads(invoke("explain", "a cat", cat, "--json").stdout)
    hits = [json.loads(line) for line in invoke("query", "a cat", "--json", "--all", "--no-words").stdout.splitlines()]
    (hit,) = (hit for hit in hits if Path(hit["path"]).name == "cat.jpg")
    assert hit["stage"] == "rerank"
    # A search knows what else was found, so its chances are others; what they say is the same.
    assert min(found["verdict"]["relevance"], hit["relevance"]) > 0.5
    alone = json.loads(invoke("explain", "a cat", cat, "--json", "--reranker", reranker).stdout)
    assert found["maps"] == alone["maps"]


def test_the_built_in_model_needs_no_torch(cat: Path, reranker: Path, process: Process) -> None:
    # Python finds a module of the working directory first; this one cannot be imported.
    Path("torch.py").write_text("raise SystemExit('torch was imported')")
    done = process(
        "explain", "a cat", cat, "-o", "why.png", "--reranker", reranker, env=process_environment(PYTHONPATH="")
    )
    assert done.returncode == 0, done.stderr.decode()
    assert Path("why.png").is_file()
