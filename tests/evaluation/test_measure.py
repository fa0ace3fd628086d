from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import UsageError
from mmsearch.evaluation import (
    PROMPTS,
    CaptionSet,
    ClassSet,
    evaluate_captions,
    evaluate_classes,
    read_classes,
)
from mmsearch.types import Progress

COLOURS = ("red", "green", "blue", "yellow", "magenta", "cyan")


class ColourEncoder(HashingEncoder):
    """Knows the names of six colours and sees them in pictures: an encoder whose right answers are known."""

    id = "colours"
    batch_size = 4

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        plain = [[Image.new("RGB", (8, 8), name) for name in COLOURS if name in text] for text in texts]
        # A text that names no colour lies nowhere near any of them.
        grey = Image.new("RGB", (8, 8), (128, 128, 128))
        return self.encode_images([self.prepare_image((found or [grey])[0]) for found in plain])


@pytest.fixture
def coloured(tmp_path: Path) -> Path:
    for colour in COLOURS:
        (tmp_path / f"plain_{colour}").mkdir()
        for number in range(3):
            Image.new("RGB", (20 + number, 16), colour).save(tmp_path / f"plain_{colour}" / f"{number}.png")
    return tmp_path


def captioned(folder: Path) -> CaptionSet:
    images = tuple(folder / f"plain_{colour}" / "0.png" for colour in COLOURS)
    captions = tuple(f"{words} {colour}" for colour in COLOURS for words in ("a", "all"))
    return CaptionSet(images, captions, tuple(number // 2 for number in range(12)))


def test_an_encoder_that_knows_the_answers_gets_full_marks(coloured: Path) -> None:
    report = evaluate_captions(ColourEncoder(), captioned(coloured))
    full = {"recall@1": 1.0, "recall@5": 1.0, "recall@10": 1.0, "median_rank": 1.0, "mrr": 1.0}
    assert report.to_dict() == {
        "model": "colours",
        "images": 6,
        "captions": 12,
        "text_to_image": full,
        "image_to_text": full,
    }


def test_captions_of_other_pictures_count_as_misses(coloured: Path) -> None:
    right = captioned(coloured)
    shifted = CaptionSet(right.images, right.captions, tuple((owner + 1) % 6 for owner in right.owners))
    report = evaluate_captions(ColourEncoder(), shifted)
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
    }


def test_prompts_put_the_name_of_a_class_into_sentences(coloured: Path) -> None:
    asked: list[str] = []

    class Listening(ColourEncoder):
        def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
            asked.extend(texts)
            return super().encode_texts(texts)

    evaluate_classes(Listening(), read_classes(coloured), prompts=("a {}.", "two {}s"))
    assert asked[:2] == ["a plain blue.", "two plain blues"]
    assert len(asked) == 12


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
