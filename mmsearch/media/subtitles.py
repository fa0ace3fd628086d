"""Characters of a SubRip or WebVTT file -> its cues with their times, and cues -> blocks; never fails on any text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from mmsearch.media.blocks import Block, lines_of
from mmsearch.media.encodings import clean

__all__ = ["Cue", "TimedText", "cue_blocks", "read_cues"]

PAUSE_MS = 4000
"""Silence after which the next cue begins a passage of its own."""

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})\d{0,6}"
_TIMES = re.compile(rf"\s{{0,8}}{_TIME}\s{{0,8}}-->\s{{0,8}}{_TIME}(?!\d)")
_SIGNS = re.compile(r"<[^<>]{0,200}>|\{\\[^{}]{0,200}\}")
_ASIDE = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|\Z)")
_CUE_LINES = 100
_ROLL_MS = 500


class TimedText(Protocol):
    """Words with their time: a cue of a file, or an event of a video's own subtitle track."""

    @property
    def text(self) -> str:
        """Lines without marks of style."""

    @property
    def start_ms(self) -> int:
        """When it appears."""

    @property
    def end_ms(self) -> int:
        """When it disappears."""


@dataclass(frozen=True, slots=True)
class Cue:
    """Words that a subtitle shows.

    Attributes:
        text: Its lines, without marks of style.
        start_ms: When it appears, milliseconds from the beginning.
        end_ms: When it disappears, not before `start_ms`.
    """

    text: str
    start_ms: int
    end_ms: int


def read_cues(chunks: Iterable[str]) -> Iterator[Cue]:
    """The cues of a file in its order; what stands before, between or instead of them is passed over."""
    times: tuple[int, int] | None = None
    words: list[str] = []
    before = ""
    for line in lines_of(chunks):
        found = _TIMES.match(line)
        if found:
            if before.strip().isdigit() and words:
                words.pop()  # the next cue's number, with no blank line above it
            yield from _cue(words, times)
            times = _span(found)
        elif line.isspace() or len(words) >= _CUE_LINES:
            yield from _cue(words, times)
            if line.isspace():
                times = None
            elif times is not None:
                words.append(line)
        elif times is not None and not (not words and _ASIDE.match(line)):
            words.append(line)
        before = line
    yield from _cue(words, times)


def _cue(words: list[str], times: tuple[int, int] | None) -> Iterator[Cue]:
    text = "\n".join(line for line in (_plain(word) for word in words) if line)
    words.clear()
    if times is not None and text:
        yield Cue(text, *times)


def _plain(line: str) -> str:
    line = _SIGNS.sub("", line)
    return " ".join((html.unescape(line) if "&" in line and len(line) < 2000 else line).split())


def _span(found: re.Match[str]) -> tuple[int, int]:
    parts = [int(part or 0) for part in found.groups()]
    for place in (3, 7):
        parts[place] *= 10 ** (3 - len(found.group(place + 1)))
    start, end = (
        ((hours * 60 + minutes) * 60 + seconds) * 1000 + milliseconds
        for hours, minutes, seconds, milliseconds in (parts[:4], parts[4:])
    )
    return start, max(start, end)


def cue_blocks(cues: Iterable[TimedText]) -> Iterator[Block]:
    """Blocks of subtitles, whether from a file of their own or from a video; a passage does not span a long pause.

    Captions that roll up show each line two or three times: it is taken once, with the time of the first.
    """
    last: list[str] = []
    ended = 0
    for cue in cues:
        lines = [line for line in clean(cue.text).split("\n") if line]
        known = _repeated(last, lines) if cue.start_ms <= ended + _ROLL_MS else 0
        last = lines
        if known < len(lines):
            pause = cue.start_ms > ended + PAUSE_MS or cue.start_ms < ended - PAUSE_MS
            text = "\n".join(lines[known:]) + "\n"
            yield Block(text, fresh=pause, start_ms=cue.start_ms, end_ms=cue.end_ms)
        ended = cue.end_ms


def _repeated(last: list[str], lines: list[str]) -> int:
    """How many lines at the beginning are those that the cue before ended with."""
    counts = range(min(len(lines), len(last)), 0, -1)
    return next((count for count in counts if last[-count:] == lines[:count]), 0)
