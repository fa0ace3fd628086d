from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Invoke, noise

FIGURES = ["recall@1", "recall@5", "recall@10", "median_rank", "mrr"]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    noise(tmp_path / "images", 6)
    lines = [f"{number:02}.png,caption {number} {word}" for number in range(6) for word in ("a", "b")]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *lines]) + "\n", "utf-8")
    return tmp_path / "captions.csv"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    for name in ("sea_horse", "dog", "cat"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (9, 9 + number), "red" if name == "dog" else "blue").save(
                tmp_path / "classes" / name / f"{number}.png"
            )
    return tmp_path / "classes"


def test_captions_are_measured_in_both_directions(invoke: Invoke, captions: Path) -> None:
    result = invoke("eval", captions, "--images", captions.parent / "images", "--model", "hashing", "--json")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    row = json.loads(line)
    assert list(row) == ["model", "images", "captions", "text_to_image", "image_to_text"]
    assert (row["model"], row["images"], row["captions"]) == ("hashing", 6, 12)
    assert list(row["text_to_image"]) == list(row["image_to_text"]) == FIGURES
    assert row["text_to_image"]["recall@10"] == 1.0


def test_the_figures_are_a_table_for_people(invoke: Invoke, captions: Path) -> None:
    result = invoke("eval", captions, "--images", captions.parent / "images", "--model", "hashing")
    assert result.exit_code == 0
    heading, names, *rows = result.stdout.splitlines()
    assert heading == "hashing: 6 images, 12 captions"
    assert names.split() == ["recall@1", "recall@5", "recall@10", "median", "rank", "MRR"]
    assert [row[:13] for row in rows] == ["text to image", "image to text"]


def test_classes_are_measured(invoke: Invoke, classes: Path) -> None:
    result = invoke("eval", "--classes", classes, "--model", "hashing", "--json")
    row = json.loads(result.stdout)
    assert list(row) == ["classes", "items", "accuracy", "accuracy@5", "mean_per_class"]
    assert (row["classes"], row["items"], row["accuracy@5"]) == (3, 6, 1.0)
    table = invoke("eval", "--classes", classes, "--model", "hashing").stdout
    assert table.startswith("hashing: 3 classes, 6 items\naccuracy ")


def test_pictures_that_cannot_be_read_are_named_and_left_out(invoke: Invoke, captions: Path) -> None:
    (captions.parent / "images" / "03.png").write_bytes(b"no picture")
    result = invoke("eval", captions, "--images", captions.parent / "images", "--model", "hashing", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["images"] == 5
    assert "03.png" in result.stderr


def test_pictures_that_are_missing_are_wrong_usage(invoke: Invoke, captions: Path) -> None:
    for name in ("02.png", "04.png"):
        (captions.parent / "images" / name).unlink()
    result = invoke("eval", captions, "--images", captions.parent / "images", "--model", "hashing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "2 of the 6 pictures" in result.stderr and "the first is 02.png" in result.stderr


def test_arguments_that_do_not_fit_together_are_wrong_usage(invoke: Invoke, captions: Path, classes: Path) -> None:
    images = captions.parent / "images"
    for arguments in ([], [captions], [captions, "--classes", classes], ["--classes", classes, "--images", images]):
        result = invoke("eval", *arguments, "--model", "hashing")
        assert (result.exit_code, result.stdout) == (2, "")


def test_a_reranker_that_does_not_exist_is_told(invoke: Invoke, captions: Path) -> None:
    result = invoke("eval", captions, "--images", captions.parent / "images", "--model", "hashing", "--rerank")
    assert result.exit_code == 2
    assert "no reranker for the model hashing" in result.stderr
