"""Words and signs of a text in reading order -> how good a place each gap between them is to cut there.

Without a dictionary and for any language: signs that end a sentence, with or without a blank after them, some common
abbreviations, blank lines, lists. A full stop before a small letter ends nothing.
"""

from __future__ import annotations

import unicodedata

__all__ = ["CLAUSE", "INSIDE", "LINE", "NONE", "PARAGRAPH", "SENTENCE", "SPACE", "Borders"]

PARAGRAPH, SENTENCE, CLAUSE, LINE, SPACE, NONE, INSIDE = 5, 4, 3, 2, 1, 0, -1
"""How good a border is, from the end of a paragraph to a place inside of what is seen as one character."""

_WIDE_GAP = 100
_ENDS = frozenset(".!?…\u0964\u0965\u061f\u06d4\u1362\u0589")
_WIDE_ENDS = frozenset("。！？｡．")
_CLOSERS = frozenset("\"')]}*_`”’»›」』）】》〉")
_PAUSES = frozenset(",;:—–")
_WIDE_PAUSES = frozenset("、，；：､")
_BULLETS = frozenset("-*+•·‣◦–")
_ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "vs", "fig", "no", "vol", "ch", "pp", "ed", "eds", "jr", "sr", "approx")
).union(("inc", "ltd", "dept", "gen", "sen", "rep", "bzw", "ca", "nr", "vgl", "abb", "usw"))


class Borders:
    """What has been seen of a text so far, as far as it matters for the next border."""

    def __init__(self) -> None:
        self._gap = self._newlines = 0
        self._ended = self._paused = 0  # 1: if a blank follows; 2: in any case
        self._word = ""
        self._line_start = True

    def see_gap(self, blanks: str) -> None:
        """Take note of white space."""
        self._gap += len(blanks)
        if blanks != " ":
            self._newlines += blanks.count("\n")

    @property
    def is_wide(self) -> bool:
        """Whether there is so much white space that whatever comes is another paragraph."""
        return self._gap > _WIDE_GAP

    def before(self, first: str) -> int:
        """Tell how good the border is before a word or sign that begins with this character."""
        gap, newlines = self._gap, self._newlines
        if newlines > 1 or self.is_wide:
            return PARAGRAPH
        if self._ended and ((gap and not first.islower()) or (self._ended == 2 and not _follows(first))):
            return SENTENCE
        if newlines:
            return SENTENCE if first in _BULLETS else CLAUSE if self._paused else LINE
        if self._paused and (gap or self._paused == 2):
            return CLAUSE
        if gap or (first >= "\u2e80" and not _follows(first) and not _is_mark(first)):
            return SPACE
        return INSIDE if _is_mark(first) else NONE

    def see_unit(self, unit: str, border: int) -> None:
        """Take note of letters, digits or one sign, with the border that was before it."""
        if unit.isalnum() and unit.isascii():
            self._ended = self._paused = 0
            self._word = unit
            self._line_start = border >= LINE
        else:
            self._see_sign(unit)
            self._word = ""
        self._gap = self._newlines = 0

    def _see_sign(self, sign: str) -> None:
        if sign in _WIDE_ENDS:
            self._ended, self._paused = 2, 0
        elif sign in _ENDS:
            self._ended, self._paused = int(sign != "." or not self._is_abbreviation()), 0
        elif not (self._ended and sign in _CLOSERS):
            self._ended = 0
            self._paused = 1 if sign in _PAUSES else 2 if sign in _WIDE_PAUSES else 0

    def _is_abbreviation(self) -> bool:
        """Whether a full stop now ends no sentence: initials, abbreviations, the numbers of lists."""
        word = self._word
        if not word or self._gap:
            return False
        if word.isdigit():
            return self._line_start and len(word) < 3
        return len(word) == 1 or word.lower() in _ABBREVIATIONS


def _is_mark(character: str) -> bool:
    """Whether a character is drawn onto the one before it, or joins it to the next."""
    return not character.isascii() and (unicodedata.category(character)[0] == "M" or character == "\u200d")


def _follows(sign: str) -> bool:
    """Whether a character belongs to the sentence that ended before it."""
    return sign in _CLOSERS or sign in _WIDE_ENDS or sign in _ENDS or sign in _WIDE_PAUSES
