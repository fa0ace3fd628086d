"""Hits for people: hits -> the text of a table, with small pictures where the terminal shows them."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.present.cells import snippet, wrapped
from mmsearch.present.paths import shown_path
from mmsearch.present.places import clock, duplicates_text, others_text, passage_text, place_text
from mmsearch.present.terminal import Terminal

if TYPE_CHECKING:
    from mmsearch.present.previews import Preview
    from mmsearch.types import Hit

__all__ = ["size_text", "table"]

_BAR = 10
# Below this width there is no room for a picture with facts beside it.
_NARROWEST = 44
# Lines of a passage that stand beside a picture, or in its place.
_PASSAGE_LINES = 3
_EIGHTHS = " ▏▎▍▌▋▊▉"
_DIM, _BOLD, _GREEN, _YELLOW, _RED, _RESET = "2", "1", "32", "33", "31", "\x1b[0m"


def table(hits: Sequence[Hit], terminal: Terminal, *, previews: bool = True, base: Path | None = None) -> Iterator[str]:
    """Yield the text of a table of hits, best first, in pieces to be written one after the other.

    Args:
        hits: As the engine returns them.
        terminal: What the stream can show. Where nobody looks at it there is no heading, bar, colour or picture.
        previews: Show pictures if the terminal can.
        base: Paths below it are shown relative to it where that is shorter.
    """
    mixed = len({hit.modality for hit in hits}) > 1
    if previews and terminal.graphics is not None and terminal.columns >= _NARROWEST:
        yield from _blocks(hits, terminal, base, mixed=mixed)
        return
    if terminal.interactive:
        kind = f"{'type':<6}" if mixed else ""
        heading = f"{'#':>3}  {'relevance':<{_BAR + 6}} {kind}{'size':>8}  {'changed':<10}  path"
        yield _paint(heading, _DIM, terminal) + "\n"
    for hit in hits:
        yield from _heading(hit, hits, terminal, base)
        size, changed = _file_facts(hit.path)
        bar = f"{_bar(hit.relevance, terminal)} " if terminal.interactive else ""
        relevance = _paint(f"{bar}{_percent(hit.relevance)}", _colour(hit.relevance), terminal)
        kind = f"{hit.modality:<6}" if mixed else ""
        size = _paint(f"{size:>8}", _RED if size == "missing" else _DIM, terminal)
        changed = _paint(f"{changed:<10}", _DIM, terminal)
        yield f"{hit.rank:>3}  {relevance} {kind}{size}  {changed}  {_name(hit, base)}\n"
        for text in (passage_text(hit), others_text(hit), duplicates_text(hit)):
            for line in snippet(text or "", max(16, terminal.columns - 5)):
                yield f"     {_paint(line, _DIM, terminal)}\n"


def _blocks(hits: Sequence[Hit], terminal: Terminal, base: Path | None, *, mixed: bool) -> Iterator[str]:
    """One block of lines for each hit: its picture on the left, the facts beside it."""
    from mmsearch.present.previews import BOX, previews

    columns, lines = BOX
    for hit, preview in zip(hits, previews(hits, terminal), strict=True):
        yield from _heading(hit, hits, terminal, base)
        facts = list(_facts(hit, preview, terminal, columns, base, mixed=mixed))
        height = len(facts) if preview is None else max(lines, len(facts))
        if preview is not None and preview.sequence is not None:
            # Room is made first, since a terminal that scrolls while it draws loses the place that it came from.
            yield "\n" * height + f"\x1b[{height}A\x1b7{preview.sequence}\x1b8"
        cells = () if preview is None else preview.cells
        for row in range(height):
            picture = cells[row] if row < len(cells) else ""
            # The cursor goes to a column, since a picture may be narrower than its box.
            yield f"{picture}\r\x1b[{columns + 2}C{facts[row]}\n" if row < len(facts) else f"{picture}\n"
        yield "\n"


def _heading(hit: Hit, hits: Sequence[Hit], terminal: Terminal, base: Path | None) -> Iterator[str]:
    """The name of a hit's group above the first hit of it, after an empty line where there are hits above."""
    first = next(other for other in hits if other.group == hit.group)
    if hit.group is not None and hit is first:
        name = shown_path(hit.group, base=base) if os.path.isabs(hit.group) else hit.group
        yield f"{'' if hit is hits[0] else chr(10)}{_paint(name, _BOLD, terminal)}\n"


def _facts(
    hit: Hit, preview: Preview | None, terminal: Terminal, indent: int, base: Path | None, *, mixed: bool
) -> Iterator[str]:
    room = max(16, terminal.columns - indent - 3)
    name = f"{hit.rank}  {_name(hit, base)}"
    yield from (_paint(part, _BOLD, terminal) for part in wrapped(name, room))
    yield _paint(f"{_bar(hit.relevance, terminal)} {_percent(hit.relevance)}", _colour(hit.relevance), terminal)
    size, changed = _file_facts(hit.path)
    facts = [str(hit.modality) if mixed else "", size, changed]
    if preview is not None and preview.info.duration_ms is not None:
        facts.insert(1, clock(preview.info.duration_ms))
    if preview is not None and preview.info.width is not None:
        facts.insert(1, f"{preview.info.width} × {preview.info.height}")
    if preview is not None and preview.info.taken_at is not None:
        facts[-1] = f"taken {preview.info.taken_at:%Y-%m-%d %H:%M}"
    joined = "  ".join(fact for fact in facts if fact)
    if joined:
        yield _paint(joined, _RED if size == "missing" else _DIM, terminal)
    for text, lines in (
        (passage_text(hit), _PASSAGE_LINES),
        (others_text(hit), 1),
        (duplicates_text(hit), 1),
    ):
        yield from (_paint(line, _DIM, terminal) for line in snippet(text or "", room, lines=lines))


def _name(hit: Hit, base: Path | None) -> str:
    name = f"item {hit.item_id}" if hit.path is None else shown_path(hit.path, base=base)
    place = place_text(hit)
    return f"{name}  {place}" if place else name


def _file_facts(path: Path | None) -> tuple[str, str]:
    """Size and day of the last change, or a word on why there is none."""
    if path is None:
        return "", ""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return "missing", ""
    if not stat.S_ISREG(facts.st_mode):
        return "no file", ""
    return size_text(facts.st_size), time.strftime("%Y-%m-%d", time.localtime(facts.st_mtime))


def size_text(size_bytes: int) -> str:
    """A size as people say it: ``512 B``, ``1.2 MB``, in powers of 1000."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _percent(relevance: float) -> str:
    # Nothing is certain: what rounds to 100 % is shown as 99 %.
    return f"{min(99, round(100 * relevance)):>3} %"


def _bar(relevance: float, terminal: Terminal) -> str:
    filled = min(max(relevance, 0.0), 1.0) * _BAR
    if not terminal.unicode:
        return ("#" * round(filled)).ljust(_BAR)
    whole = int(filled)
    part = _EIGHTHS[int((filled - whole) * 8)] if whole < _BAR else ""
    return ("█" * whole + part).ljust(_BAR)


def _colour(relevance: float) -> str:
    return _GREEN if relevance >= 0.5 else _YELLOW if relevance >= 0.1 else _DIM


def _paint(text: str, code: str, terminal: Terminal) -> str:
    return f"\x1b[{code}m{text}{_RESET}" if terminal.colour and text else text
