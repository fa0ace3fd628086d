"""Blocks of a text in reading order -> passages that a text tower reads whole, each with its place in the text.

A text tower cuts what is longer than its limit (128 word pieces in the built-in model), so that a passage ends before:
at the border of a paragraph once it is long enough, else at the last sentence that fits, and inside a sentence that is
too long by itself at a clause, a line, a word, or between two characters where there are no spaces at all. Word pieces
are estimated, high rather than low, because each encoder has its own. Memory holds one passage and one block.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmsearch.media.blocks import Block
from mmsearch.media.borders import PARAGRAPH, SENTENCE, Borders

__all__ = ["MAX_CHARACTERS", "MAX_PIECES", "Passage", "estimate_pieces", "split_passages"]

MAX_PIECES = 112
"""Estimated word pieces of a passage: 55 to 75 English words, which are 70 to 100 pieces in truth."""
MAX_CHARACTERS = 700
"""Length of a passage in characters whatever it is made of: blanks cost no pieces."""

_TARGET = 0.4
"""Share of the limit from which a passage ends with its paragraph."""
_LEAST = 0.3
"""Share of the limit below which a passage is not cut for the sake of a good border."""
# Blanks, then letters, digits (no more than eight pieces of them) or any one character; possessive, so that no text
# makes it try twice.
_UNITS = re.compile(r"\s*+(?:([A-Za-z]{1,24}+)|([0-9]{1,16}+)|(\S)|\Z)")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text that is embedded by itself.

    Attributes:
        text: Exactly the characters from `start_char` to `end_char`; it begins and ends with no blank.
        start_char: Where it begins in the decoded text, in characters from 0.
        end_char: Where it ends there, exclusive.
        heading: The heading that it stands under, at most 120 characters; empty where there is none.
        page: The page of a PDF that it begins on, from 1.
        start_ms: Where the first of its subtitles begins, in milliseconds.
        end_ms: Where the last of its subtitles ends.
    """

    text: str
    start_char: int
    end_char: int
    heading: str = ""
    page: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None


def estimate_pieces(text: str) -> int:
    """Estimate into how many word pieces a tokeniser cuts a text, without its two marks; high rather than low."""
    return sum(_pieces(match)[1] for match in _UNITS.finditer(text) if match.lastindex)


def split_passages(blocks: Iterable[Block], *, max_pieces: int = MAX_PIECES, overlap: int = 0) -> Iterator[Passage]:
    """Split a text into passages, in order, while its blocks come in.

    Args:
        blocks: The text in parts; passages are joined across them unless a block is fresh or a title.
        max_pieces: Estimated word pieces of a passage at most, 8 or more.
        overlap: Up to so many pieces, in whole sentences, are repeated from a passage in the one after it, where a
            paragraph had to be cut; 0 to half of `max_pieces`.

    Raises:
        ValueError: A limit is out of its range.
    """
    if max_pieces < 8 or not 0 <= overlap <= max_pieces // 2:
        raise ValueError("max_pieces must be 8 or more, and overlap between 0 and half of it")
    splitter = _Splitter(max_pieces, overlap)
    for block in blocks:
        yield from splitter.add(block)
    yield from splitter.end()


def _pieces(match: re.Match[str]) -> tuple[int, int]:
    """Where a unit begins, and its estimated pieces."""
    kind = match.lastindex or 0
    start = match.start(kind)
    if kind == 1:
        return start, (match.end() - start + 2) // 3
    if kind == 2:
        return start, (match.end() - start + 1) // 2
    # Tokenisers take the syllables of Korean apart into their letters.
    return start, 3 if "\uac00" <= match.string[start] <= "\ud7a3" else 1


class _Splitter:
    """The passage that is being made: its units (words or characters), and the text from its beginning on."""

    def __init__(self, max_pieces: int, overlap: int) -> None:
        self._max, self._overlap = max_pieces, overlap
        self._target, self._least = max_pieces * _TARGET, max_pieces * _LEAST
        self._text = ""
        self._base = 0  # where _text begins in the whole text
        self._next = 0  # where in _text the next unit is looked for
        self._units: list[tuple[int, int, int, int]] = []  # start, end, pieces, how good the border before it is
        self._sum = 0
        self._repeated = 0  # so many of the first units are in the passage before as well
        self._heading = ""
        self._only_title = False
        self._places: deque[tuple[int, int, Block]] = deque()
        self._borders = Borders()

    def add(self, block: Block) -> Iterator[Passage]:
        if block.fresh or (block.title and not self._only_title):
            yield from self.end()
        if block.heading is not None:
            self._heading = " ".join(block.heading.split())[:120].rstrip()
        if block.title:
            self._only_title = True
        elif not block.text.isspace():
            self._only_title = False
        self._trim()
        begin = self._base + len(self._text)
        if block.page is not None or block.start_ms is not None:
            self._places.append((begin, begin + len(block.text), block))
        self._text += block.text
        yield from self._scan(final=False)

    def end(self) -> Iterator[Passage]:
        yield from self._scan(final=True)
        yield from self._finish()
        self._only_title = False
        self._borders = Borders()

    def _finish(self) -> Iterator[Passage]:
        """The passage as it is, unless all of it was in the one before."""
        if len(self._units) > self._repeated:
            yield self._emit(len(self._units))
        self._drop(len(self._units))
        self._repeated = 0

    def _trim(self) -> None:
        """Let go of the text before the passage."""
        keep = self._units[0][0] - self._base if self._units else self._next
        self._text = self._text[keep:]
        self._base += keep
        self._next -= keep
        while self._places and self._places[0][1] <= self._base:
            self._places.popleft()

    def _scan(self, *, final: bool) -> Iterator[Passage]:
        length = len(self._text)
        for match in _UNITS.finditer(self._text, self._next):
            if not match.lastindex:
                self._borders.see_gap(match.group())
                self._next = match.end()
                if self._borders.is_wide and self._units and self._base + length - self._units[0][0] > MAX_CHARACTERS:
                    yield from self._finish()  # else a passage before blanks without end would hold on to them
                break
            if match.end() == length and not final:
                break  # it may go on in the next block
            self._next = match.end()
            start, pieces = _pieces(match)
            if start > match.start():
                self._borders.see_gap(self._text[match.start() : start])
            border = self._borders.before(self._text[start])
            yield from self._make_room(border, pieces, self._base + match.end())
            self._units.append((self._base + start, self._base + match.end(), pieces, border))
            self._sum += pieces
            self._borders.see_unit(self._text[start : match.end()], border)

    def _make_room(self, border: int, pieces: int, end: int) -> Iterator[Passage]:
        """Cut the passage as often as needed until the next unit fits."""
        units = self._units
        if border == PARAGRAPH and self._sum >= self._target:
            yield from self._finish()
        while units and (self._sum + pieces > self._max or end - units[0][0] > MAX_CHARACTERS):
            if len(units) <= self._repeated:  # what is repeated leaves no room for anything new
                self._drop(len(units))
                self._repeated = 0
                break
            cut = self._best_cut(border)
            yield self._emit(cut)
            again = self._sentences_before(cut)
            self._drop(again)
            self._repeated = cut - again

    def _best_cut(self, border: int) -> int:
        """Number of units that the passage ends after: the last of the best borders that leave it long enough."""
        units = self._units
        best, cut, left = border, len(units), self._sum
        for index in range(len(units) - 1, self._repeated, -1):
            left -= units[index][2]
            if left < self._least and units[index][0] - units[0][0] < MAX_CHARACTERS / 4:
                break
            if units[index][3] > best:
                best, cut = units[index][3], index
        return cut

    def _sentences_before(self, cut: int) -> int:
        """Index of the unit that the next passage begins with."""
        begin, left = cut, self._overlap
        for index in range(cut - 1, max(self._repeated, 1) - 1, -1):
            left -= self._units[index][2]
            if left < 0:
                break
            if self._units[index][3] >= SENTENCE:
                begin = index
        return begin

    def _drop(self, count: int) -> None:
        self._sum -= sum(unit[2] for unit in self._units[:count])
        del self._units[:count]

    def _emit(self, count: int) -> Passage:
        start, end = self._units[0][0], self._units[count - 1][1]
        page = start_ms = end_ms = None
        for place_start, place_end, block in self._places:
            if place_start >= end:
                break
            if start < place_end:
                page = block.page if page is None else page
                if block.start_ms is not None and block.end_ms is not None:
                    start_ms = block.start_ms if start_ms is None else min(start_ms, block.start_ms)
                    end_ms = block.end_ms if end_ms is None else max(end_ms, block.end_ms)
        text = self._text[start - self._base : end - self._base]
        return Passage(text, start, end, self._heading, page, start_ms, end_ms)
