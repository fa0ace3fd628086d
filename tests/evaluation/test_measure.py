from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation import (
    PROMPTS,
    CaptionSet,
    ClassSet,
    Confusion,
    evaluate_captions,
    evaluate_classes,
    read_classes,
)
from mmsearch.types import Progress
from tests.evaluation.conftest import ColourEncoder, captioned


def test_an_encoder_that_knows_the_answers_gets_full_marks(coloured: Path) -> None:
    report = evaluate_captions(ColourEncoder(), captioned(coloured))
    figures = {"recall@1": 1.0, "recall@5": 1.0, "recall@10": 1.0, "median_rank": 1.0, "mrr": 1.0, "ndcg@10": 1.0}
    full = figures | {"ci": {name: [1.0, 1.0] for name in figures}}
    assert report.to_dict() == {
        "model": "colours",
        "images": 6,
        "captions": 12,
        "text_to_image": full,
        "image_to_text": full,
    }


def test_captions_of_other_pictures_count_as_misses(coloured: Path) -> None:
    report = evaluate_captions(ColourEncoder(), captioned(coloured, shifted=1))
    assert report.text_to_image.recall_at_1 == 0.0
    assert report.image_to_text.recall_at_1 == 0.0


def test_classes_are_recognised_by_their_names(coloured: Path) -> None:
    report = evaluate_classes(ColourEncoder(), read_classes(coloured))
    assert report.to_dict() == {
        "classes": 6,
        "items": 18,
        "accuracy": 1.0,
        "accuracy@5": 1.0,
        "mean_per_class": 1.0,
        "ci": {"accuracy": [1.0, 1.0], "accuracy@5": [1.0, 1.0], "mean_per_class": [1.0, 1.0]},
        "model": "colours",
        "prompts": list(PROMPTS),
    }
    assert report.confusions(5) == []


def test_prompts_put_the_name_of_a_class_into_sentences(coloured: Path) -> None:
    asked: list[str] = []

    class Listening(ColourEncoder):
        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            asked.extend(texts)
            return super().encode_texts(texts)

    evaluate_classes(Listening(), read_classes(coloured), prompts=("a {}.", "two {}s"))
    assert asked[:2] == ["a plain blue.", "two plain blues"]
    assert len(asked) == 12


def test_the_pairs_of_classes_that_are_confused_most_come_first(coloured: Path) -> None:
    red, green, blue = (coloured / f"plain_{colour}" / "0.png" for colour in ("red", "green", "blue"))
    classes = ClassSet(("red", "green", "blue", "yellow"), (red, green, red, red, green, blue), (0, 0, 1, 1, 2, 2))
    report = evaluate_classes(ColourEncoder(), classes, prompts=("{}",))
    assert report.confusions(2) == [Confusion("green", "red", 2, 2), Confusion("red", "green", 1, 2)]
    assert len(report.confusions(9)) == 3
    assert report.predictions(0).tolist() == [1, 1, 0, 0]
    assert report.class_accuracies()[:3].tolist() == [0.5, 0.0, 0.5]
    assert np.isnan(report.class_accuracies()[3])
    assert report.metrics.accuracy == pytest.approx(2 / 6)


def test_pictures_without_captions_are_left_out(coloured: Path) -> None:
    captions = captioned(coloured)
    few = CaptionSet(captions.images, captions.captions[2:4], captions.owners[2:4])
    report = evaluate_captions(ColourEncoder(), few)
    assert (report.images, report.captions, report.embedded.images) == (1, 2, (captions.images[1],))


def test_the_intervals_surround_the_figures(coloured: Path) -> None:
    right = captioned(coloured)
    mixed = CaptionSet(right.images, right.captions, np.array([0, 0, 1, 1, 2, 2, 4, 4, 5, 5, 3, 3]))
    report = evaluate_captions(ColourEncoder(), mixed)
    low, high = report.text_to_image.ci["recall@1"]
    assert low < report.text_to_image.recall_at_1 == 0.5 < high


def test_pictures_that_cannot_be_read_are_left_out_with_their_captions(coloured: Path) -> None:
    captions = captioned(coloured)
    captions.images[1].write_bytes(b"no picture")
    report = evaluate_captions(ColourEncoder(), captions)
    assert (report.images, report.captions) == (5, 10)
    assert [failure.path for failure in report.skipped] == [captions.images[1]]
    assert report.text_to_image.recall_at_1 == 1.0


def test_nothing_to_measure_is_a_mistake(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    classes = ClassSet(("a", "b"), (tmp_path / "a.png", tmp_path / "b.png"), (0, 1))
    with pytest.raises(UsageError, match=r"None of the pictures can be read, the first is .*a\.png"):
        evaluate_classes(ColourEncoder(), classes)


def test_progress_covers_pictures_and_texts_and_batches_keep_their_order(coloured: Path) -> None:
    seen: list[Progress] = []
    sizes: list[int] = []

    class Counting(ColourEncoder):
        def encode_images(self, images: Sequence[Any]) -> np.ndarray:
            sizes.append(len(images))
            return super().encode_images(images)

    classes = read_classes(coloured)
    evaluate_classes(Counting(), classes, progress=seen.append)
    assert sizes[:5] == [4, 4, 4, 4, 2]
    sentences = 6 * len(PROMPTS)
    assert [progress.done for progress in seen] == [4, 8, 12, 16, 18, 18 + sentences]
    assert {progress.total for progress in seen} == {18 + sentences}
