"""An explanation and its picture go in, one figure with a heat map for each word comes out; needs Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsearch.files import written
from mmsearch.present.paths import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.types import Explanation

__all__ = ["PICTURE_SIDE", "SUFFIXES", "draw_explanation", "heat"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Of the files that can be written."""
PICTURE_SIDE = 560
"""How many pixels of a picture's shorter side a figure can show."""

# Everything in pixels.
_MARGIN, _GAP = 44, 28
_PANEL = 560
_ALONE, _TILE = (560, 640), (400, 440)  # what the photo, and each map, fits in: with one row of maps, with several
_NARROWEST, _CAPTION = 240, 92
_QUERY_LINES = 8
_WHITE, _INK, _QUIET, _FAINT = "#ffffff", "#1c2126", "#69727d", "#e3e7ec"
_BEFORE, _AFTER = "#9aa4af", "#1f6feb"

# The scale is the same for every figure, so that they can be compared: from the even share of attention, which is not
# coloured at all, to eight times as much, by factors and not by differences.
_MOST = 8.0
# Below this the place that a word looks at most stands out so little that saying so matters more than the number.
_NEARLY_EVEN = 1.5
# Colours from little to much, each lighter than the one before, which holds for every kind of eyes and on paper.
_COLOURS = np.array(
    [
        (0.0, 0.35, 0.10, 0.55),
        (0.3, 0.66, 0.14, 0.55),
        (0.55, 0.92, 0.30, 0.28),
        (0.8, 1.00, 0.62, 0.12),
        (1.0, 1.00, 0.96, 0.45),
    ]
)
_DIMMED = 0.72
_UNSEEN = 0.35
_COVER = 0.8


def draw_explanation(explanation: Explanation, picture: Image.Image, file: Path) -> None:
    """Draw where each word looks, and the verdict, in the format that the file's suffix names.

    Args:
        explanation: Of the picture.
        picture: RGB and upright, best with `PICTURE_SIDE` pixels on its shorter side.
        file: To write, with one of `SUFFIXES`.

    Raises:
        StorageError: The file cannot be written.
    """
    panel = _panel(explanation, picture)
    words = _words(explanation, picture)
    size = (_MARGIN + panel.width + _GAP + words.width + _MARGIN, 2 * _MARGIN + max(panel.height, words.height))
    figure = Image.new("RGB", size, _WHITE)
    figure.paste(panel, (_MARGIN, _MARGIN))
    figure.paste(words, (_MARGIN + panel.width + _GAP, _MARGIN))
    with written(file) as stream:
        figure.save(stream, format={".png": "PNG", ".webp": "WEBP"}.get(file.suffix.lower(), "JPEG"), quality=92)


def heat(picture: Image.Image, shares: NDArray[np.float32], view: tuple[float, float, float, float]) -> Image.Image:
    """Lay a map over a greyed copy of a picture, on the scale that all figures share.

    Args:
        picture: RGB.
        shares: (rows, columns) of attention, summing to 1.
        view: What they cover: left, top, right and bottom in shares of the picture's sides.
    """
    width, height = picture.size
    left, right = round(view[0] * width), round(view[2] * width)
    top, bottom = round(view[1] * height), round(view[3] * height)
    times = Image.fromarray(shares * np.float32(shares.size))
    # Bicubic interpolation overshoots between places: no pixel shows more or less than some place has.
    smooth = np.asarray(times.resize((max(1, right - left), max(1, bottom - top)), Image.Resampling.BICUBIC))
    smooth = smooth.clip(*times.getextrema())
    whole = Image.new("F", picture.size, 0.0)
    whole.paste(Image.fromarray(smooth), (left, top))
    spread = np.asarray(whole)  # (height, width) times the even share; 0 where nothing is seen
    grey = np.asarray(picture.convert("L"), np.float32)[..., None] / 255
    grey = grey * np.where(spread[..., None] > 0, _DIMMED, _UNSEEN)
    return _image(_coloured(spread, grey))


def _coloured(times: NDArray[Any], grey: NDArray[Any]) -> NDArray[np.float64]:
    """(h, w) multiples of the even share over (h, w, 1) grey, 0 to 1 -> (h, w, 3)."""
    much = np.log(np.clip(times, 1.0, _MOST)) / math.log(_MOST)
    stops, colours = _COLOURS[:, 0], _COLOURS[:, 1:]
    colour = np.stack([np.interp(much, stops, colours[:, channel]) for channel in range(3)], axis=-1)
    cover = (_COVER * np.minimum(1.0, 2.2 * much))[..., None]
    return np.asarray(grey * (1 - cover) + colour * cover)


def _image(values: NDArray[Any]) -> Image.Image:
    return Image.fromarray((255 * values.clip(0, 1)).round().astype(np.uint8))


def _panel(explanation: Explanation, picture: Image.Image) -> Image.Image:
    """The photo with the query, the verdict and the scale."""
    shown = _contained(picture, _ALONE)
    panel = Image.new("RGB", (_PANEL, shown.height + 700), _WHITE)
    panel.paste(shown, (0, 0))
    y = _put_query(panel, shown.height + 18, explanation) + 16
    y = _put_chance(panel, y, "by the dual encoder alone", explanation.retrieval_relevance, _BEFORE)
    y = _put_chance(panel, y, "read together by the reranker", explanation.relevance, _AFTER) + 2
    y = _put_line(panel, y, f"Chance that words and picture match. Cosine similarity: {explanation.similarity:.3f}")
    if not all(read for _, read in _marked(explanation)):
        y = _put_line(panel, y, "Pale words are read with the others, and look nowhere by themselves.")
    if max(explanation.view[:2]) > 0:
        y = _put_line(panel, y, "The model does not see what is dark at the edges.")
    y = _put_scale(panel, y + 24)
    return panel.crop((0, 0, _PANEL, y))


def _put_query(panel: Image.Image, y: int, explanation: Explanation) -> int:
    """The whole sentence; words that are not read by themselves are pale. Returns where the next line would begin."""
    draw, font, x, last = ImageDraw.Draw(panel), _font(27), 0, y + (_QUERY_LINES - 1) * 36
    for word, read in _marked(explanation):
        shown = _fitted(printable(word), font, _PANEL)
        if x + font.getlength(shown) > (_PANEL - 30 if y == last else _PANEL) and (x or y == last):
            if y == last:
                draw.text((x, y), "…", font=font, fill=_BEFORE)
                break
            x, y = 0, y + 36
        draw.text((x, y), shown, font=font, fill=_INK if read else _BEFORE)
        x += round(font.getlength(f"{shown} "))
    return y + 36


def _marked(explanation: Explanation) -> Iterator[tuple[str, bool]]:
    """The words of the sentence, and whether each has a map."""
    waiting = list(explanation.words)
    for word in explanation.query.split():
        # What stands around a word in the sentence are marks.
        around = word.replace(waiting[0], "", 1) if waiting and waiting[0] in word else word
        read = not any(character.isalnum() for character in around) and around != word
        if read:
            del waiting[0]
        yield word, read


def _put_chance(panel: Image.Image, y: int, label: str, chance: float, colour: str) -> int:
    draw = ImageDraw.Draw(panel)
    draw.text((0, y), f"{100 * chance:.0f} %", font=_font(20), fill=_INK)
    draw.text((70, y + 2), label, font=_font(18), fill=_QUIET)
    draw.rounded_rectangle((0, y + 29, _PANEL - 1, y + 38), 5, fill=_FAINT)
    filled = round(chance * (_PANEL - 1))
    if filled >= 10:  # a narrower one has no room for its round ends
        draw.rounded_rectangle((0, y + 29, filled, y + 38), 5, fill=colour)
    elif filled:
        draw.rectangle((0, y + 29, filled, y + 38), fill=colour)
    return y + 52


def _put_scale(panel: Image.Image, y: int) -> int:
    """The colours with what they mean: as they lie over a middle grey."""
    draw = ImageDraw.Draw(panel)
    y = _put_line(panel, y, "Attention of a word to a place, in multiples of an even share")
    across = np.exp(np.linspace(0, math.log(_MOST), _PANEL))
    bar = _coloured(np.repeat(across[None], 22, axis=0), np.full((22, _PANEL, 1), 0.5 * _DIMMED))
    panel.paste(_image(bar), (0, y + 2))
    steps = round(math.log2(_MOST))
    for step in range(steps + 1):
        x, text = step * (_PANEL - 1) / steps, f"{2**step}x"
        anchor = "la" if step == 0 else "ra" if step == steps else "ma"
        draw.text((x, y + 30), text if step < steps else f"{text} or more", font=_font(16), fill=_QUIET, anchor=anchor)
    return y + 54


def _put_line(panel: Image.Image, y: int, text: str) -> int:
    ImageDraw.Draw(panel).text((0, y), text, font=_font(16), fill=_QUIET)
    return y + 24


def _words(explanation: Explanation, picture: Image.Image) -> Image.Image:
    """The tiles of the words, in the order of the sentence."""
    count = len(explanation.words)
    rows = 1 if count <= 3 else max(2, -(-count // 4))
    columns = -(-count // rows)
    shown = _contained(picture, _ALONE if rows == 1 else _TILE)
    # A narrow picture needs room for its word all the same.
    across, down = max(shown.width, _NARROWEST), shown.height + _CAPTION
    words = Image.new("RGB", (columns * (across + _GAP) - _GAP, rows * down), _WHITE)
    for place, (word, weight, own, peak) in enumerate(
        zip(explanation.words, explanation.weights, explanation.maps, explanation.peaks, strict=True)
    ):
        x, y = place % columns * (across + _GAP), place // columns * down
        words.paste(heat(shown, own, explanation.view), (x, y))
        _put_caption(words, (x, y + shown.height), across, word, weight, peak)
    return words


def _put_caption(
    words: Image.Image, corner: tuple[int, int], width: int, word: str, weight: float, peak: float
) -> None:
    """A word, how much it counts, and how much the place stands out that it looks at most."""
    x, y = corner
    draw = ImageDraw.Draw(words)
    counts = f"counts {100 * weight:.0f} %"
    room = width - _font(17).getlength(counts) - 12
    draw.text((x, y + 34), _fitted(printable(word), _font(24), room), font=_font(24), fill=_INK, anchor="ls")
    draw.text((x + width, y + 34), counts, font=_font(17), fill=_INK, anchor="rs")
    draw.rectangle((x, y + 43, x + width - 1, y + 47), fill=_FAINT)
    draw.rectangle((x, y + 43, x + max(1, round(weight * (width - 1))), y + 47), fill=_QUIET)
    told = f"peak {peak:.1f}x" + (", nearly even" if peak < _NEARLY_EVEN else "")
    draw.text((x, y + 54), told, font=_font(16), fill=_QUIET)


def _contained(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """A picture at the size at which it just fits a box, in its own proportions."""
    scale = min(box[0] / picture.width, box[1] / picture.height)
    size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _fitted(line: str, font: Any, width: float) -> str:
    """A line that is too long, with an ellipsis in the place of its end."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1]
    return f"{line}…"


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
