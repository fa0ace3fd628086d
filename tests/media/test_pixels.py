from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.media import pixels
from mmsearch.media.pixels import MAX_ASPECT, shrink_to_rgb, turn_upright
from tests.media.pictures import difference, noise, pixels_of, scene, stored

MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"]


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    match mode:
        case "La" | "RGBa":
            return image.convert("LA" if mode == "La" else "RGBA").convert(mode)
        case "PA":
            return image.convert("P").convert("PA")
        case "I;16":
            return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        case _:
            return image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", [8, 500])
def test_every_mode_becomes_rgb(mode: str, side: int) -> None:
    image = _in_mode(scene(160, 120), mode)
    shrunk = shrink_to_rgb(image, side)
    assert shrunk.mode == "RGB"
    assert shrunk.size == ((23, 18) if side == 8 else (160, 120))
    if mode not in ("1", "P", "PA", "L", "LA", "La", "I", "F", "I;16"):
        assert difference(shrunk, scene(160, 120).reduce(7) if side == 8 else scene(160, 120)) < 4


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 80), st.sampled_from(["RGB", "RGBA", "L", "CMYK", "F"]))
def test_the_shorter_side_stays_as_long_as_was_asked(width: int, height: int, side: int, mode: str) -> None:
    shrunk = shrink_to_rgb(noise(width, height).convert(mode), side)
    assert min(shrunk.size) >= min(width, height, side)
    assert max(shrunk.size) <= MAX_ASPECT * min(shrunk.size) + MAX_ASPECT
    assert min(shrunk.size) < 4 * side + 1 or min(shrunk.size) == min(width, height)


@pytest.mark.parametrize("mode", ["RGBA", "L", "CMYK", "P"])
def test_work_in_bands_gives_the_same_as_work_at_once(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = _in_mode(noise(331, 257), mode)
    at_once = shrink_to_rgb(image, 20)
    monkeypatch.setattr(pixels, "_BAND_PIXELS", 1000)
    assert difference(shrink_to_rgb(image, 20), at_once) == 0


def test_transparent_parts_are_white() -> None:
    image = Image.new("RGBA", (10, 10), (200, 0, 0, 0))
    image.paste((0, 0, 250, 255), (0, 0, 5, 10))
    shown = pixels_of(shrink_to_rgb(image, 10))
    assert shown[5, 2].tolist() == [0, 0, 250]
    assert shown[5, 8].tolist() == [255, 255, 255]


def test_half_transparent_parts_are_mixed_with_white() -> None:
    shown = pixels_of(shrink_to_rgb(Image.new("LA", (4, 4), (0, 128)), 4))
    assert shown[1, 1].tolist() == pytest.approx([127, 127, 127], abs=1)


@pytest.mark.parametrize("transparency", [0, bytes([0, 255])])
def test_a_transparent_colour_of_a_palette_is_white(transparency: int | bytes) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 4, 8))
    image.info["transparency"] = transparency
    shown = pixels_of(shrink_to_rgb(image, 8))
    assert shown[4, 1].tolist() == [255, 255, 255]
    assert shown[4, 6].tolist() == [200, 100, 50]


@pytest.mark.parametrize(
    ("values", "mode_of", "expected"),
    [
        ([0, 65535], np.uint16, [0, 255]),
        ([0, 32768], np.uint16, [0, 128]),
        ([-5, 995], np.int32, [0, 255]),
        ([0.0, 0.5], np.float32, [0, 128]),
        ([-1.0, 3.0], np.float32, [0, 255]),
        ([np.nan, 1.0], np.float32, [0, 255]),
        ([np.inf, 0.5], np.float32, [0, 128]),
        ([7, 7], np.int32, [0, 0]),
    ],
)
def test_deep_greys_are_scaled_to_what_can_be_shown(values: list[float], mode_of: type, expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=mode_of))
    shown = pixels_of(shrink_to_rgb(image, 1))
    assert shown[0, :, 0].tolist() == pytest.approx(expected, abs=1)


def test_only_the_middle_of_an_extremely_long_picture_is_kept() -> None:
    image = Image.new("RGB", (10_000, 4))
    image.paste((0, 255, 0), (4_950, 0, 5_050, 4))
    shown = shrink_to_rgb(image, 32)
    assert shown.size == (4 * MAX_ASPECT, 4)
    assert set(shown.get_flattened_data()) == {(0, 255, 0)}
    assert shrink_to_rgb(image.transpose(Image.Transpose.ROTATE_90), 32).size == (4, 4 * MAX_ASPECT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int) -> None:
    assert difference(turn_upright(stored(scene(), orientation), orientation), scene()) == 0
