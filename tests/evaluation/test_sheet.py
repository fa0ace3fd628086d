from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import UsageError
from mmsearch.evaluation import CaptionSet, evaluate_captions, evaluate_classes, read_classes
from mmsearch.evaluation.sheet import check_sheet, draw_sheet
from tests.evaluation.conftest import ColourEncoder, captioned

GREEN, RED = (26, 127, 55), (198, 40, 40)


def count(file: Path, colour: tuple[int, int, int]) -> int:
    with Image.open(file) as sheet:
        return int(np.count_nonzero((np.asarray(sheet.convert("RGB")) == colour).all(axis=2)))


@pytest.mark.parametrize(("suffix", "form"), [("png", "PNG"), ("JPG", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_suffix_decides_the_format(coloured: Path, suffix: str, form: str) -> None:
    file = coloured / f"sheet.{suffix}"
    check_sheet(file)
    draw_sheet(evaluate_captions(ColourEncoder(), captioned(coloured)), file)
    with Image.open(file) as sheet:
        assert sheet.format == form
        assert sheet.width > 1500
        sheet.load()


def test_captions_show_their_pictures_with_a_green_mark(coloured: Path) -> None:
    file = coloured / "sheet.png"
    draw_sheet(evaluate_captions(ColourEncoder(), captioned(coloured)), file)
    # 12 captions, each with one frame five pixels wide around its picture of 176.
    frames = 12 * 0.9 * (176**2 - 166**2)
    assert frames < count(file, GREEN) < 3 * frames
    assert count(file, RED) == 0
    with Image.open(file) as sheet:
        pixels = set(sheet.convert("RGB").get_flattened_data())
    assert {(255, 0, 255), (0, 255, 255), (255, 255, 0)} <= pixels  # the pictures themselves


def test_wrong_pictures_of_a_class_are_crossed_out(coloured: Path) -> None:
    file = coloured / "sheet.png"
    draw_sheet(evaluate_classes(ColourEncoder(), read_classes(coloured)), file)
    frame = 0.9 * (176**2 - 166**2)  # the rank covers a corner of it
    assert 6 * 3 * frame < count(file, GREEN) < 2 * 6 * 3 * frame  # each class finds its three pictures and four others
    assert 6 * 4 * frame < count(file, RED) < 2 * 6 * 4 * frame


def test_the_same_report_gives_the_same_sheet(coloured: Path) -> None:
    report = evaluate_captions(ColourEncoder(), captioned(coloured))
    draw_sheet(report, coloured / "a.png")
    draw_sheet(report, coloured / "b.png")
    assert (coloured / "a.png").read_bytes() == (coloured / "b.png").read_bytes()


def test_odd_words_and_lost_pictures_do_not_stop_a_sheet(coloured: Path) -> None:
    right = captioned(coloured)
    words = ["red " * 200, "x" * 500, "語\n\x1b[31m red", os.fsdecode(b"red \xff"), " ,", "."]
    odd = CaptionSet(right.images, tuple([*words, *right.captions[6:]]), right.owners)
    report = evaluate_captions(ColourEncoder(), odd)
    right.images[0].unlink()
    draw_sheet(report, coloured / "sheet.png")
    assert count(coloured / "sheet.png", GREEN) > 0


def test_very_few_pictures_are_enough(coloured: Path) -> None:
    right = captioned(coloured)
    one = CaptionSet(right.images[:1], right.captions[:1], right.owners[:1])
    draw_sheet(evaluate_captions(ColourEncoder(), one), coloured / "sheet.png")
    assert count(coloured / "sheet.png", GREEN) > 0


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.jpg"):
        check_sheet(tmp_path / "sheet.pdf")
