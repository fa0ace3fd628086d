"""``mmsearch train passages``: what it reads, makes and says."""

from __future__ import annotations

import json
import random
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from mmsearch.encoders import load_encoder
from tests.cli.conftest import Invoke
from tests.encoders import own_mini

complete = all(find_spec(name) for name in ("torch", "timm", "matplotlib", "onnx"))
needs_training = pytest.mark.skipif(not complete, reason="needs the full installation and mmsearch[train]")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    draw = random.Random(0)
    folder = tmp_path / "notes"
    folder.mkdir()
    words = own_mini.PIECES[4:]
    for number in range(60):
        paragraphs = [" ".join(draw.choices(words, k=50)) + "." for _ in range(25)]
        (folder / f"{number}.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    return folder


def test_help_has_examples_and_names_every_option(invoke: Invoke) -> None:
    result = invoke("train", "passages", "--help")
    assert result.exit_code == 0
    assert "mmsearch train passages ./notes --out ./my-model" in result.output
    for option in ("--captions", "--most", "--model", "--steps", "--minutes", "--seed"):
        assert option in result.output


@needs_training
@pytest.mark.full
def test_a_training_ends_with_a_model_that_has_a_smaller_tower(
    invoke: Invoke, tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.training import passages

    # The tiny model cuts texts at sixteen word pieces.
    monkeypatch.setattr(passages, "PassageRecipe", partial(passages.PassageRecipe, least=8))
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    table, out = tmp_path / "captions.csv", tmp_path / "out"
    table.write_text("image,caption\n1.jpg,a dog on the beach\n1.jpg,two dog\n", encoding="utf-8")
    arguments = ["--captions", table, "--model", own_mini.save(tmp_path / "base"), "--steps", "3", "--json"]
    result = invoke("train", "passages", notes, "--out", out, *arguments)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["steps"] == 3
    assert report["cosine"] > 0.9  # its one layer is all that its teacher has
    encoder = load_encoder(report["model"])
    assert encoder.encode_passages(["a dog on the beach " * 10]).shape == (1, encoder.dim)
    assert (out / "model" / "mini_passages.onnx").is_file()


@needs_training
@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "open_clip/ViT-B-32/openai"], "Only models in the built-in format"),
        (["--model", "./nowhere"], "lacks mini_image.onnx"),
        (["--captions", "./nowhere.csv"], "is no table of captions"),
        (["--most", "20"], "long enough"),
    ],
)
def test_what_cannot_work_is_refused(
    invoke: Invoke, notes: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = invoke("train", "passages", notes, "--out", tmp_path / "out", *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.stderr
    assert not (tmp_path / "out" / "model").exists()
