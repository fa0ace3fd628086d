from __future__ import annotations

import io
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.present.previews import BOX, draw, previews
from mmsearch.present.terminal import Graphics
from tests.present.samples import SCREEN, hit


def picture(width: int, height: int) -> Image.Image:
    """Red on the left, blue on the right, brighter towards the bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    shade = np.linspace(80, 255, height).astype(np.uint8)[:, None]
    pixels[:, : width // 2, 0] = shade
    pixels[:, width // 2 :, 2] = shade
    return Image.fromarray(pixels)


def drawn(image: Image.Image, graphics: Graphics) -> tuple[str | None, tuple[str, ...]]:
    return draw(image, replace(SCREEN, graphics=graphics, cell=(8, 16)))


def of_sixel(sequence: str) -> np.ndarray:
    """Decode a sixel image to (height, width, 3), 0 to 100 per cent."""
    match = re.fullmatch(r'\x1bP0;1q"1;1;(\d+);(\d+)(.*)\x1b\\', sequence, re.DOTALL)
    assert match is not None
    width, height, body = int(match[1]), int(match[2]), match[3]
    pixels = np.full((height + 6, width, 3), -1, np.int64)
    palette: dict[int, tuple[int, ...]] = {}
    x = y = 0
    colour = 0
    for token in re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|(\$)|(-)", body):
        number, red, green, blue, count, repeated, single, back, down = token.groups()
        if number is not None:
            colour = int(number)
            if red is not None:
                palette[colour] = (int(red), int(green), int(blue))
        elif back:
            x = 0
        elif down:
            x, y = 0, y + 6
        else:
            bits = ord(repeated or single) - 63
            run = int(count or 1)
            for bit in range(6):
                if bits >> bit & 1:
                    pixels[y + bit, x : x + run] = palette[colour]
            x += run
    assert (pixels[height:] == -1).all()
    return pixels[:height]


def test_kitty_gets_the_picture_as_a_png_in_chunks() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 150, 3), np.uint8))
    sequence, cells = drawn(noise, "kitty")
    assert sequence is not None and not cells
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sequence)
    assert "".join(f"\x1b_G{control};{data}\x1b\\" for control, data in chunks) == sequence
    assert len(chunks) > 1 and all(len(data) <= 4096 for _, data in chunks)
    assert chunks[0][0] == "a=T,f=100,q=2,C=1,m=1"
    assert [control for control, _ in chunks[1:]] == ["m=1"] * (len(chunks) - 2) + ["m=0"]
    with Image.open(io.BytesIO(b64decode("".join(data for _, data in chunks)))) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(noise))


def test_iterm2_gets_the_picture_as_a_png() -> None:
    sequence, cells = drawn(picture(800, 400), "iterm2")
    assert sequence is not None and not cells
    match = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);width=(\d+)px;height=(\d+)px;[^:]*:(.*)\x07", sequence)
    assert match is not None
    data = b64decode(match[4])
    assert len(data) == int(match[1])
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size == (int(match[2]), int(match[3])) == (160, 80)


def test_sixel_shows_every_pixel_in_nearly_its_colour() -> None:
    small = picture(50, 31)
    sequence, cells = drawn(small, "sixel")
    assert sequence is not None and not cells
    shown = of_sixel(sequence)
    assert shown.shape == (31, 50, 3)
    assert np.abs(shown - np.asarray(small).astype(np.int64) * 100 / 255).max() < 8


@pytest.mark.parametrize("graphics", ["blocks", "blocks256"])
def test_half_blocks_hold_two_pixels_a_cell(graphics: Graphics) -> None:
    sequence, cells = drawn(picture(20, 12), graphics)
    assert sequence is None
    assert len(cells) == 6
    for line in cells:
        assert line.count("▀") == 20
        assert line.endswith("\x1b[0m")
    if graphics == "blocks":
        # The first pixel of the first line and the one below it.
        assert cells[0].startswith("\x1b[38;2;80;0;0;48;2;95;0;0m▀")


def test_256_colours_are_the_nearest_of_the_cube() -> None:
    for colour, index in (((0, 0, 0), 16), ((255, 255, 255), 231), ((255, 0, 0), 196), ((95, 135, 175), 67)):
        _, cells = drawn(Image.new("RGB", (2, 2), colour), "blocks256")
        assert f"38;5;{index};" in cells[0]


@pytest.mark.parametrize("size", [(4000, 3000), (3000, 4000), (1, 1), (5000, 1), (1, 5000), (7, 3)])
@pytest.mark.parametrize("graphics", ["kitty", "sixel", "blocks"])
def test_pictures_of_any_shape_fit_the_box(size: tuple[int, int], graphics: Graphics) -> None:
    sequence, cells = drawn(Image.new("RGB", size, "green"), graphics)
    columns, lines = BOX
    if graphics == "blocks":
        assert 1 <= len(cells) <= lines
        assert all(1 <= line.count("▀") <= columns for line in cells)
    elif graphics == "sixel":
        assert sequence is not None
        height, width, _ = of_sixel(sequence).shape
        assert width <= columns * 8 and height <= lines * 16


def test_previews_come_in_order_and_none_stands_for_what_cannot_be_shown(tmp_path: Path) -> None:
    good, broken, missing = tmp_path / "good.png", tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    picture(40, 20).save(good)
    broken.write_bytes(b"not a picture")
    terminal = replace(SCREEN, graphics="blocks")
    hits = [hit(path) for path in (good, missing, broken, None, good)]
    shown = list(previews(hits, terminal))
    assert [preview is not None for preview in shown] == [True, False, False, False, True]
    assert shown[0] is not None and (shown[0].info.width, shown[0].info.height) == (40, 20)


def test_a_terminal_without_graphics_decodes_nothing(tmp_path: Path) -> None:
    assert list(previews([hit(tmp_path / "missing.jpg")], SCREEN)) == [None]
