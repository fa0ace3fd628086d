"""Small pictures on terminals: hits -> escape sequences, or lines of coloured half-blocks.

Protocols: kitty graphics (https://sw.kovidgoyal.net/kitty/graphics-protocol/), iTerm2 inline images
(https://iterm2.com/documentation-images.html), sixel (DEC STD 070), and the character U+2580, whose upper half takes
the text colour and whose lower half the background, so that a cell holds two pixels.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from mmsearch.present.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from mmsearch.types import Hit, MediaInfo

    # 38 for the text colour or 48 for the background, and a pixel -> the parameters of an escape sequence.
    Style = Callable[[int, list[int]], str]

__all__ = ["BOX", "Preview", "draw", "previews"]

# The most columns and lines that one preview takes.
BOX = (20, 6)
_THREADS = 4
# Sides of pictures beyond these proportions would shrink to nothing.
_LEAST_PIXELS = 2
_KITTY_CHUNK = 4096
_SIXEL_COLOURS = 128


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture made ready for one kind of terminal.

    Attributes:
        sequence: Draws the whole picture from the cursor down, or None.
        cells: Lines of half-blocks, or none.
        info: What the file says about itself.
    """

    sequence: str | None
    cells: tuple[str, ...]
    info: MediaInfo


def previews(hits: Iterable[Hit], terminal: Terminal) -> Iterator[Preview | None]:
    """Yield one preview for each hit, in order, decoding a few at a time; None where there is nothing to show."""
    if terminal.graphics is None:
        yield from (None for _ in hits)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(lambda hit: _preview(hit, terminal), hits)


def _preview(hit: Hit, terminal: Terminal) -> Preview | None:
    from mmsearch.present.pictures import picture_of

    found = picture_of(hit, max(_box_pixels(terminal)))
    if found is None:
        return None
    image, info = found
    return Preview(*draw(image, terminal), info)


def draw(image: Image.Image, terminal: Terminal) -> tuple[str | None, tuple[str, ...]]:
    """Shrink an RGB picture to fit the box and write it down for the terminal.

    Returns:
        A sequence and no lines, or no sequence and at most `BOX` lines, all of one width.
    """
    small = _fitted(image, _box_pixels(terminal))
    match terminal.graphics:
        case "kitty":
            return _kitty(small), ()
        case "iterm2":
            return _iterm2(small), ()
        case "sixel":
            return _sixel(small), ()
        case "blocks":
            return None, _blocks(small, _true_colour)
        case "blocks256":
            return None, _blocks(small, _colour_256)
        case None:
            return None, ()


def _box_pixels(terminal: Terminal) -> tuple[int, int]:
    columns, lines = BOX
    if terminal.graphics in ("blocks", "blocks256"):
        return columns, 2 * lines
    width, height = terminal.cell
    return columns * width, lines * height


def _fitted(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    from PIL import Image as pil

    scale = min(box[0] / image.width, box[1] / image.height, 1.0)
    size = (max(_LEAST_PIXELS, round(image.width * scale)), max(_LEAST_PIXELS, round(image.height * scale)))
    return image.convert("RGB").resize(size, pil.Resampling.LANCZOS)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _kitty(image: Image.Image) -> str:
    data = b64encode(_png(image)).decode("ascii")
    chunks = [data[at : at + _KITTY_CHUNK] for at in range(0, len(data), _KITTY_CHUNK)]
    parts = []
    for number, chunk in enumerate(chunks):
        # a=T: send and show; f=100: PNG; q=2: no answer, it would end up in the shell; C=1: the cursor stays.
        control = "a=T,f=100,q=2,C=1," if number == 0 else ""
        more = int(number + 1 < len(chunks))
        parts.append(f"\x1b_G{control}m={more};{chunk}\x1b\\")
    return "".join(parts)


def _iterm2(image: Image.Image) -> str:
    data = _png(image)
    size = f"size={len(data)};width={image.width}px;height={image.height}px"
    return f"\x1b]1337;File=inline=1;{size};preserveAspectRatio=1:{b64encode(data).decode('ascii')}\x07"


def _sixel(image: Image.Image) -> str:
    import numpy as np

    paletted = image.quantize(_SIXEL_COLOURS)
    palette = np.array(paletted.getpalette(), np.int64).reshape(-1, 3) * 100 // 255  # (colours, 3), per cent
    pixels = np.asarray(paletted)  # (height, width), palette indices
    parts = [f'\x1bP0;1q"1;1;{image.width};{image.height}']
    parts += [f"#{index};2;{red};{green};{blue}" for index, (red, green, blue) in enumerate(palette)]
    for top in range(0, image.height, 6):
        band = pixels[top : top + 6]  # (up to 6, width)
        bits = 1 << np.arange(len(band))[:, None]
        for colour in np.unique(band):
            columns = np.sum((band == colour) * bits, axis=0)  # (width,), one six-pixel column each
            parts.append(f"#{colour}{_run_lengths(columns.tolist())}$")
        parts.append("-")
    parts.append("\x1b\\")
    return "".join(parts)


def _run_lengths(columns: list[int]) -> str:
    from itertools import groupby

    parts = []
    for value, run in groupby(columns):
        count, character = len(list(run)), chr(63 + value)
        parts.append(f"!{count}{character}" if count > 3 else character * count)
    return "".join(parts)


def _blocks(image: Image.Image, style: Style) -> tuple[str, ...]:
    import numpy as np

    pixels = np.asarray(image)  # (height, width, 3)
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, pixels[-1:]])
    return tuple(
        "".join(f"\x1b[{style(38, above)};{style(48, below)}m▀" for above, below in zip(*rows, strict=True)) + "\x1b[0m"
        for rows in pixels.reshape(len(pixels) // 2, 2, -1, 3).tolist()
    )


def _true_colour(ground: int, pixel: list[int]) -> str:
    red, green, blue = pixel
    return f"{ground};2;{red};{green};{blue}"


def _colour_256(ground: int, pixel: list[int]) -> str:
    """The nearest of the 6 x 6 x 6 colour cube, whose steps are 0, 95, 135, 175, 215 and 255."""
    red, green, blue = (0 if value < 48 else 1 if value < 115 else (value - 35) // 40 for value in pixel)
    return f"{ground};5;{16 + 36 * red + 6 * green + blue}"
