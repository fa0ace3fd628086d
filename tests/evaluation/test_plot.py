from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import ExtraMissingError, UsageError
from mmsearch.evaluation import CaptionSet, evaluate_captions, evaluate_classes, read_classes
from mmsearch.evaluation.embedding import EmbeddedClasses
from mmsearch.evaluation.measure import measure_classes
from mmsearch.evaluation.plot import check_plot, draw_plot
from tests.evaluation.conftest import ColourEncoder, captioned


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="plots need mmsearch[train]")


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_the_suffix_decides_the_format_and_the_same_report_gives_the_same_plot(
    coloured: Path, suffix: str, start: bytes
) -> None:
    report = evaluate_captions(ColourEncoder(), captioned(coloured))
    files = [coloured / f"{name}.{suffix}" for name in "ab"]
    for file in files:
        check_plot(file)
        draw_plot(report, file)
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("matplotlib")
def test_classes_are_told_with_what_they_are_taken_for(coloured: Path) -> None:
    os.rename(coloured / "plain_red", coloured / "dollar $x_{$ green")
    draw_plot(evaluate_classes(ColourEncoder(), read_classes(coloured)), coloured / "plot.png")
    with Image.open(coloured / "plot.png") as plot:
        assert plot.width > 1000


@pytest.mark.usefixtures("matplotlib")
def test_a_thousand_classes_are_no_taller_than_sixty(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes, labels = rng.standard_normal((1000, 4), np.float32), np.arange(3000) % 999
    items = classes[labels] + rng.standard_normal((3000, 4), np.float32)
    names = tuple(f"class {number} {'語' * number}" for number in range(1000))
    embedded = EmbeddedClasses(names, (Path("x.jpg"),) * 3000, labels, items, classes, ())
    draw_plot(measure_classes("some", embedded), tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.height < 3000


@pytest.mark.usefixtures("matplotlib")
def test_one_picture_with_one_caption_is_enough(coloured: Path) -> None:
    right = captioned(coloured)
    one = CaptionSet(right.images[:1], right.captions[:1], right.owners[:1])
    draw_plot(evaluate_captions(ColourEncoder(), one), coloured / "plot.png")
    assert (coloured / "plot.png").stat().st_size > 0


def test_without_matplotlib_the_extra_is_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExtraMissingError, match=r"A plot needs .* pip install 'mmsearch\[train\]'"):
        check_plot(tmp_path / "plot.png")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg or \.pdf"):
        check_plot(tmp_path / "plot.jpg")


def test_measuring_loads_neither_torch_nor_matplotlib() -> None:
    code = "import sys, mmsearch.evaluation; sys.exit(bool({'torch', 'matplotlib', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
