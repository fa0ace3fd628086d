"""A report goes in, a sheet of example queries with their best hits as pictures comes out; needs Pillow alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from mmsearch.errors import MediaError
from mmsearch.evaluation.examples import (
    CaptionHit,
    ClassExample,
    ImageExample,
    PictureHit,
    TextExample,
    class_examples,
    image_examples,
    text_examples,
)
from mmsearch.evaluation.files import check_place
from mmsearch.evaluation.measure import CaptionsReport, ClassesReport
from mmsearch.files import written
from mmsearch.media.image import read_image
from mmsearch.present.paths import printable

if TYPE_CHECKING:
    from mmsearch.training.evaluate import RetrievalMetrics

__all__ = ["check_sheet", "draw_sheet"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

_TEXT_ROWS, _IMAGE_ROWS, _CLASS_ROWS = 12, 6, 16
# Everything in pixels.
_MARGIN, _GAP, _THUMB, _WORDS = 36, 12, 176, 330
_LEFT = _MARGIN + _WORDS + 2 * _GAP  # where the thumbnails begin
_APART = 2 * _GAP  # before a hit that is not among the best
_WIDTH = _LEFT + 7 * _THUMB + 5 * _GAP + _APART + _MARGIN
_WHITE, _INK, _QUIET, _FAINT = "#ffffff", "#1c2126", "#69727d", "#e6e9ed"
_RIGHT, _WRONG = "#1a7f37", "#c62828"
# Strokes of the two marks, in shares of their side.
_CHECK = (((0.27, 0.53), (0.44, 0.69), (0.74, 0.34)),)
_CROSS = (((0.33, 0.33), (0.67, 0.67)), ((0.67, 0.33), (0.33, 0.67)))
_ICON, _LINE = 30, 28


def check_sheet(file: Path) -> None:
    """Make sure that a sheet can be written there, before the work that it is to show.

    Raises:
        UsageError: The file has an unknown suffix, or its folder is missing.
        StorageError: Nothing can be written there.
    """
    check_place(file, _SUFFIXES)


def draw_sheet(report: CaptionsReport | ClassesReport, file: Path, *, seed: int = 0) -> None:
    """Draw example queries with their best hits, in the format that the file's suffix names.

    Of captions: the pictures that they found, and the captions that pictures found. Of classes: the pictures that are
    most like each.

    Args:
        report: What was measured.
        file: To write.
        seed: Another one chooses other examples.

    Raises:
        StorageError: The file cannot be written.
    """
    rows = list(_captions_rows(report, seed) if isinstance(report, CaptionsReport) else _classes_rows(report, seed))
    sheet = Image.new("RGB", (_WIDTH, sum(row.height for row in rows) + _MARGIN), _WHITE)
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    with written(file) as stream:
        sheet.save(stream, format={".png": "PNG", ".webp": "WEBP"}.get(file.suffix.lower(), "JPEG"), quality=90)


def _captions_rows(report: CaptionsReport, seed: int) -> Iterator[Image.Image]:
    texts, images = text_examples(report, _TEXT_ROWS, seed=seed), image_examples(report, _IMAGE_ROWS, seed=seed)
    yield _heading(f"{report.model}: words to pictures", _told(report, report.text_to_image, len(texts), "captions"))
    yield from (_text_row(example, report.images) for example in texts)
    yield _heading(f"{report.model}: pictures to words", _told(report, report.image_to_text, len(images), "pictures"))
    yield from (_image_row(example, report.captions) for example in images)


def _classes_rows(report: ClassesReport, seed: int) -> Iterator[Image.Image]:
    classes = class_examples(report, _CLASS_ROWS, seed=seed)
    figures = f"{report.items:,} pictures in {report.classes:,} classes: accuracy {100 * report.metrics.accuracy:.1f} %"
    yield _heading(f"{report.model}: classes to pictures", f"{figures}. {_chosen(len(classes), 'classes')}")
    yield from map(_class_row, classes)


def _told(report: CaptionsReport, metrics: RetrievalMetrics, count: int, what: str) -> str:
    figures = f"recall@1 {100 * metrics.recall_at_1:.1f} %, recall@10 {100 * metrics.recall_at_10:.1f} %"
    return f"{report.images:,} images, {report.captions:,} captions: {figures}. {_chosen(count, what)}"


def _chosen(count: int, what: str) -> str:
    return f"{count} {what}, drawn evenly from those that went best to those that went worst; a check mark is right."


def _text_row(example: TextExample, of: int) -> Image.Image:
    row = _row(_THUMB)
    rank = next((hit.rank for hit in (*example.hits, example.own) if hit is not None and hit.right), 0)
    top = _write(row, (_MARGIN, _GAP), example.caption, width=_WORDS, size=19, lines=6)
    _write(row, (_MARGIN, top + 6), f"its picture: rank {rank:,} of {of:,}", width=_WORDS, size=15, colour=_QUIET)
    _put_hits(row, example.hits, example.own)
    return row


def _class_row(example: ClassExample) -> Image.Image:
    row = _row(_THUMB + 22)
    top = _write(row, (_MARGIN, _GAP), example.name, width=_WORDS, size=22, lines=3)
    recognised = f"recognised: {100 * example.recognised:.0f} % of {example.items:,}"
    _write(row, (_MARGIN, top + 6), recognised, width=_WORDS, size=15, colour=_QUIET)
    _put_hits(row, example.hits, None)
    for place, hit in enumerate(example.hits):
        if not hit.right:
            _write(row, (_place(place), _GAP + _THUMB + 3), hit.label, width=_THUMB, size=15, colour=_WRONG)
    return row


def _image_row(example: ImageExample, of: int) -> Image.Image:
    left = _MARGIN + _THUMB + 2 * _GAP + 100
    width = _WIDTH - _MARGIN - left
    height = _LINE * sum(len(_wrapped(hit.text, _font(18), width, 2)) for hit in (*example.hits, example.own) if hit)
    row = _row(max(_THUMB, height + (_GAP if example.own else 0)))
    row.paste(_thumbnail(example.picture), (_MARGIN, _GAP))
    top = _GAP
    for hit in example.hits:
        top = _put_caption(row, (left, top), hit, f"{hit.rank:,}", width)
    if example.own is not None:
        _put_caption(row, (left, top + _GAP), example.own, f"{example.own.rank:,} of {of:,}", width)
    return row


def _put_caption(row: Image.Image, corner: tuple[int, int], hit: CaptionHit, rank: str, width: int) -> int:
    """One caption with its rank before it; returns where the next would begin."""
    x, y = corner
    ImageDraw.Draw(row).text((x - 44, y + 3), rank, font=_font(15), fill=_QUIET, anchor="ra")
    if hit.right:
        icon = _icon(True).resize((20, 20), Image.Resampling.LANCZOS)
        row.paste(icon, (x - 32, y + 1), icon)
    colour = _RIGHT if hit.right else _INK
    return _write(row, corner, hit.text, width=width, size=18, lines=2, leading=_LINE, colour=colour)


def _put_hits(row: Image.Image, hits: Iterable[PictureHit], own: PictureHit | None) -> None:
    for place, hit in enumerate(hits):
        _put(row, (_place(place), _GAP), hit, cross=bool(hit.label))
    if own is not None:
        left = _WIDTH - _MARGIN - _THUMB
        ImageDraw.Draw(row).line([(left - _APART // 2, _GAP), (left - _APART // 2, _GAP + _THUMB)], _FAINT, 2)
        _put(row, (left, _GAP), own, cross=False)


def _place(number: int) -> int:
    return _LEFT + number * (_THUMB + _GAP)


def _put(row: Image.Image, corner: tuple[int, int], hit: PictureHit, *, cross: bool) -> None:
    """One hit: the picture with its rank, and what is right or wrong about it."""
    x, y = corner
    row.paste(_thumbnail(hit.path), corner)
    draw = ImageDraw.Draw(row, "RGBA")
    if hit.right or cross:
        colour = _RIGHT if hit.right else _WRONG
        draw.rectangle((x, y, x + _THUMB - 1, y + _THUMB - 1), outline=colour, width=5)
        icon = _icon(hit.right)
        row.paste(icon, (x + _THUMB - _ICON - 10, y + 10), icon)
    rank = f"{hit.rank:,}"
    width = round(_font(16).getlength(rank)) + 16
    draw.rectangle((x, y, x + width, y + 25), fill=(20, 24, 28, 215))
    draw.text((x + width / 2, y + 13), rank, font=_font(16), fill=_WHITE, anchor="mm")


def _thumbnail(path: Path) -> Image.Image:
    square = Image.new("RGB", (_THUMB, _THUMB), _FAINT)
    try:
        picture = ImageOps.contain(read_image(path, target_side=_THUMB).image, square.size, Image.Resampling.LANCZOS)
    except MediaError:  # it was read before, so it was removed meanwhile
        ImageDraw.Draw(square).text((_THUMB // 2, _THUMB // 2), "not there", font=_font(15), fill=_QUIET, anchor="mm")
        return square
    square.paste(picture, ((_THUMB - picture.width) // 2, (_THUMB - picture.height) // 2))
    return square


@cache
def _icon(right: bool) -> Image.Image:
    """A check mark or a cross on a disc; drawn large and shrunk, since Pillow's lines have hard edges."""
    side = 4 * _ICON
    icon = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(icon)
    draw.ellipse((0, 0, side - 1, side - 1), fill=_RIGHT if right else _WRONG, outline=_WHITE, width=side // 16)
    for stroke in _CHECK if right else _CROSS:
        draw.line([(x * side, y * side) for x, y in stroke], fill=_WHITE, width=side // 9, joint="curve")
    return icon.resize((_ICON, _ICON), Image.Resampling.LANCZOS)


def _heading(title: str, words: str) -> Image.Image:
    row = Image.new("RGB", (_WIDTH, 104), _WHITE)
    _write(row, (_MARGIN, 24), title, width=_WIDTH - 2 * _MARGIN, size=30)
    _write(row, (_MARGIN, 68), words, width=_WIDTH - 2 * _MARGIN, size=17, colour=_QUIET)
    return row


def _row(height: int) -> Image.Image:
    row = Image.new("RGB", (_WIDTH, height + 2 * _GAP), _WHITE)
    ImageDraw.Draw(row).line([(_MARGIN, 0), (_WIDTH - _MARGIN, 0)], _FAINT, 1)
    return row


def _write(
    row: Image.Image,
    corner: tuple[int, int],
    text: str,
    *,
    width: int,
    size: int,
    lines: int = 1,
    leading: int = 0,
    colour: str = _INK,
) -> int:
    """Write words, wrapped; returns where the next line would begin."""
    x, y = corner
    for line in _wrapped(text, _font(size), width, lines):
        ImageDraw.Draw(row).text((x, y), line, font=_font(size), fill=colour)
        y += leading or round(1.35 * size)
    return y


def _wrapped(text: str, font: Any, width: int, most: int) -> list[str]:
    """Cut a text into at most so many lines of at most that many pixels; what does not fit ends in an ellipsis."""
    lines = [""]
    # Captions that were cut into words have spaces where nobody expects one, and a full stop alone on a line.
    for word in re.sub(r"\s+([.,;:!?]|'s\b)", r"\1", printable(" ".join(text.split()))).split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]} …"]
    return [_fitted(line, font, width) for line in lines]


def _fitted(line: str, font: Any, width: int) -> str:
    """A line that is too long, with an ellipsis in the place of its end."""
    if font.getlength(line) <= width:
        return line
    kept = line.removesuffix(" …")
    while kept and font.getlength(f"{kept}…") > width:
        kept = kept[:-1]
    return f"{kept}…"


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
