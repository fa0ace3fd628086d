"""Whether two pictures look the same, place by place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.retrieval.looks import LIKENESS, likeness_of, look


@pytest.fixture
def photos(tmp_path: Path, samples: Path) -> dict[str, Path]:
    found = {name: samples / f"{name}.jpg" for name in ("cat", "coffee")}
    with Image.open(samples / "cat.jpg") as image:
        image.resize((100, 80)).save(tmp_path / "small.png")
        image.convert("L").save(tmp_path / "grey.jpg", quality=20)
        wide, high = image.size
        image.crop((0, 0, int(wide * 0.98), int(high * 0.98))).save(tmp_path / "cropped.webp")
    Image.new("RGB", (50, 50), "teal").save(tmp_path / "plain.png")
    Image.new("RGB", (80, 20), "white").save(tmp_path / "blank.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    names = ("small.png", "grey.jpg", "cropped.webp", "plain.png", "blank.png", "broken.jpg", "gone.jpg")
    return found | {Path(name).stem: tmp_path / name for name in names}


def test_copies_look_the_same_and_other_pictures_do_not(photos: dict[str, Path]) -> None:
    pairs = [(photos["cat"], photos[name]) for name in ("small", "grey", "cropped", "coffee", "plain")]
    small, grey, cropped, coffee, plain = likeness_of(pairs)
    assert small is not None and grey is not None and cropped is not None and coffee is not None
    assert min(small, grey, cropped) > LIKENESS > coffee
    assert plain == 0


def test_plain_surfaces_look_the_same(photos: dict[str, Path]) -> None:
    assert likeness_of([(photos["plain"], photos["blank"])]) == [1.0]


def test_what_cannot_be_read_is_not_compared(photos: dict[str, Path]) -> None:
    pairs = [(photos["cat"], photos["broken"]), (photos["gone"], photos["cat"]), (None, photos["cat"])]
    assert likeness_of(pairs) == [None, None, None]
    assert likeness_of([]) == []


def test_a_look_has_length_one(photos: dict[str, Path]) -> None:
    found = look(photos["cat"])
    assert found is not None and found.shape == (256,) and np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
