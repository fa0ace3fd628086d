from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Invoke, noise

FIGURES = ["recall@1", "recall@5", "recall@10", "median_rank", "mrr", "ndcg@10"]


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
    assert list(row["text_to_image"]) == list(row["image_to_text"]) == [*FIGURES, "ci"]
    assert list(row["text_to_image"]["ci"]) == FIGURES
    for name, (low, high) in row["text_to_image"]["ci"].items():
        assert low <= row["text_to_image"][name] <= high
    assert row["text_to_image"]["recall@10"] == 1.0


def test_the_figures_are_a_table_for_people(invoke: Invoke, captions: Path) -> None:
    result = invoke("eval", captions, "--images", captions.parent / "images", "--model", "hashing")
    assert result.exit_code == 0
    heading, names, *rows, foot = result.stdout.splitlines()
    assert heading == "hashing: 6 images, 12 captions"
    assert names.split() == ["text", "to", "image", "image", "to", "text"]
    assert [row[:11].strip() for row in rows] == ["recall@1", "recall@5", "recall@10", "median rank", "MRR", "NDCG@10"]
    assert rows[2].split() == ["recall@10", *(2 * ["100.0", "%", "(100.0", "to", "100.0)"])]
    assert foot.startswith("95 % intervals")


def test_classes_are_measured(invoke: Invoke, classes: Path) -> None:
    result = invoke("eval", "--classes", classes, "--model", "hashing", "--json")
    row = json.loads(result.stdout)
    assert list(row) == ["classes", "items", "accuracy", "accuracy@5", "mean_per_class", "ci", "model", "prompts"]
    assert (row["classes"], row["items"], row["accuracy@5"]) == (3, 6, 1.0)
    table = invoke("eval", "--classes", classes, "--model", "hashing").stdout
    assert table.startswith("hashing: 3 classes, 6 items\naccuracy ")
    assert "9 prompts built in, the first is: a photo of a {}." in table
    assert "confused most:" in table


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


def test_prompts_are_read_from_a_file(invoke: Invoke, classes: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("{}\na {} at sea\n", "utf-8")
    result = invoke("eval", "--classes", classes, "--model", "hashing", "--prompts", file, "--json")
    assert json.loads(result.stdout)["prompts"] == ["{}", "a {} at sea"]
    assert "2 prompts from" in invoke("eval", "--classes", classes, "--model", "hashing", "--prompts", file).stdout


def test_coco_captions_are_measured_as_well(invoke: Invoke, captions: Path) -> None:
    coco = {
        "images": [{"id": number, "file_name": f"{number:02}.png"} for number in range(6)],
        "annotations": [{"image_id": number, "caption": f"caption {number}"} for number in range(6)],
    }
    file = captions.parent / "coco.json"
    file.write_text(json.dumps(coco), "utf-8")
    result = invoke("eval", file, "--images", captions.parent / "images", "--model", "hashing", "--json")
    assert json.loads(result.stdout)["captions"] == 6


def test_a_sheet_is_drawn_beside_the_results(invoke: Invoke, captions: Path, classes: Path) -> None:
    images, file = captions.parent / "images", captions.parent / "sheet.png"
    for arguments in ([captions, "--images", images], ["--classes", classes]):
        file.unlink(missing_ok=True)
        result = invoke("eval", *arguments, "--model", "hashing", "--json", "--sheet", file)
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
        assert "The sheet is in" in result.stderr
        with Image.open(file) as sheet:
            sheet.load()


def test_a_plot_is_drawn_beside_the_results(invoke: Invoke, captions: Path, classes: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need mmsearch[train]")
    images, file = captions.parent / "images", captions.parent / "plot.png"
    for arguments in ([captions, "--images", images], ["--classes", classes]):
        file.unlink(missing_ok=True)
        result = invoke("eval", *arguments, "--model", "hashing", "--json", "--plot", file)
        assert (result.exit_code, len(result.stdout.splitlines())) == (0, 1)
        assert "The plot is in" in result.stderr
        with Image.open(file) as plot:
            plot.load()


def test_what_is_in_the_way_of_the_pictures_is_told_before_the_work(
    invoke: Invoke, captions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.encoders.load_encoder", lambda *_, **__: pytest.fail("the work began"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # whether or not matplotlib is here
    measured = ["eval", captions, "--images", captions.parent / "images", "--model", "hashing"]
    for arguments, words in (
        (["--sheet", tmp_path / "sheet.pdf"], "Cannot tell what to write"),
        (["--sheet", tmp_path / "nowhere" / "sheet.png"], "There is no folder"),
        (["--plot", tmp_path / "plot.jpg"], "Cannot tell what to write"),
        (["--plot", tmp_path / "x.png", "--sheet", tmp_path / "x.png"], "cannot both be"),
        (["--prompts", tmp_path / "prompts.txt"], "--prompts belongs to --classes"),
    ):
        result = invoke(*measured, *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke(*measured, "--plot", tmp_path / "plot.png")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "pip install 'mmsearch[train]'" in result.stderr
