"""Text on terminals: words -> pieces that fit a number of character cells."""

from __future__ import annotations

import unicodedata

from mmsearch.present.paths import printable

__all__ = ["snippet", "wrapped"]


def wrapped(text: str, room: int) -> list[str]:
    """Cut a text into pieces of at most `room` cells; the pieces together are the text."""
    pieces, piece, used = [], "", 0
    for character in text:
        width = _cells(character)
        if used + width > room and piece:
            pieces.append(piece)
            piece, used = "", 0
        piece += character
        used += width
    return [*pieces, piece]


def snippet(text: str, room: int, *, lines: int = 1) -> list[str]:
    """The beginning of a text for people, cut between words where that is possible.

    Args:
        text: Any text; runs of white space become one blank, and nothing in it is obeyed by a terminal.
        room: Cells of a line, at least 3.
        lines: How many lines there may be; the last one ends with an ellipsis where the text goes on.

    Returns:
        Lines of at most `room` cells; none where there is nothing to show.
    """
    rest = printable(" ".join(text.split()))
    shown: list[str] = []
    while rest:
        if len(shown) + 1 == lines:
            whole = len(wrapped(rest, room)) == 1
            return [*shown, rest if whole else f"{_first(rest, room - 1).rstrip()}…"]
        line = _first(rest, room)
        rest = rest[len(line) :].lstrip()
        shown.append(line.rstrip())
    return shown


def _first(text: str, room: int) -> str:
    """As many whole words as fit; a word that no line has room for is cut."""
    piece = wrapped(text, room)[0]
    if len(piece) == len(text) or text[len(piece)] == " ":
        return piece
    border = piece.rfind(" ")
    word = text[border + 1 :].partition(" ")[0]
    return piece if border < 0 or len(wrapped(word, room)) > 1 else piece[:border]


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
