"""The text of a query -> lexemes: words, exact words, operators and filters, each with its place.

A quotation mark opens a quotation only where a lexeme, or a value, begins; anywhere else it is a character like others.
Inside, a backslash stands before a quotation mark or a backslash that is meant as such, and at the beginning before a
``.``, ``/`` or ``~`` that begins no path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmsearch.errors import QueryError

__all__ = ["KEYS", "Lexeme", "Part", "Piece", "Source", "joined", "lex", "parts_of"]

KEYS = frozenset(
    {"after", "before", "date"}
    | {"camera", "exact", "has", "in", "meta", "near", "path", "type"}
    | {"duration", "height", "size", "width"}
)
"""What can stand before the colon of a filter."""

_BLANK = re.compile(r"\s*")
_BARE = re.compile(r"\S+")
_WEIGHT = re.compile(r"(\d+(?:\.\d+)?):(?=[^\s\d])")
_KEY = re.compile(r"(-?)([A-Za-z]+):(?=\S)")
_DEEPEST = 8
# Keys whose values are words, which a shell hands over without their quotation marks.
_OF_WORDS = frozenset({"in", "path", "camera", "meta", "exact"})
_SYNTAX = re.compile(r'(?:^|\s)(?:[+-](?=\s|$)|-?"|-?([A-Za-z]+):\S)')


@dataclass(frozen=True, slots=True)
class Source:
    """The whole text of a query, for errors that point into it."""

    text: str

    def error(self, message: str, start: int, end: int, *, hint: str | None = None) -> QueryError:
        """The error of what stands from `start` up to `end`."""
        return QueryError(message, hint=hint, query=self.text, place=(start, end))


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a value that is quoted as a whole, or not at all."""

    text: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One of the values of a filter, which commas part."""

    pieces: tuple[Piece, ...]
    start: int
    end: int

    @property
    def text(self) -> str:
        """The value without quotation marks."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Lexeme:
    """The smallest piece of a query that means something.

    Attributes:
        kind: ``word``, ``quoted`` (also with a weight), ``operator``, ``filter``, or ``group``: what must not pass all
            of several filters at once.
        text: What it says, without quotation marks, weight, key or minus.
        start, end: Its place in the source.
        weight: Where a number and a colon stand before it.
        negated: A filter or quotation with a minus right before it; what passes it is left out.
        path: A quotation that is written as a path.
        key, parts: Of a filter.
        inner: The filters and quotations of a group.
    """

    kind: Literal["word", "quoted", "operator", "filter", "group"]
    text: str
    start: int
    end: int
    weight: float | None = None
    negated: bool = False
    path: bool = False
    key: str = ""
    parts: tuple[Part, ...] = ()
    inner: tuple[Lexeme, ...] = ()


def lex(source: Source, start: int, end: int, *, token: bool = False) -> list[Lexeme]:
    """Cut a stretch of a query into lexemes.

    Args:
        source: The whole query.
        start: Where the stretch begins.
        end: Where it ends.
        token: It is one word of a command line, from which the shell has taken quotation marks: a filter of words at
            its beginning has the rest as its value, where nothing else stands there.

    Raises:
        QueryError: A quotation is never closed.
    """
    return _Lexer(source, end).lexemes(start, token=token)


def parts_of(source: Source, start: int, end: int) -> tuple[Part, ...]:
    """The values, with commas between them, of which a whole stretch consists; blanks belong to them."""
    parts, _ = _Lexer(source, end).parts(start, blanks=True)
    return parts


class _Lexer:
    def __init__(self, source: Source, end: int) -> None:
        self._source = source
        self._text = source.text
        self._end = end

    def lexemes(self, at: int, *, token: bool) -> list[Lexeme]:
        if token and (whole := self._whole_filter(at)) is not None:
            return [whole]
        found: list[Lexeme] = []
        while (at := self._after_blanks(at)) < self._end:
            lexeme = self._lexeme(at)
            found.append(lexeme)
            at = lexeme.end
        return found

    def _whole_filter(self, at: int) -> Lexeme | None:
        match = _KEY.match(self._text, at, self._end)
        if match is None or match[2].lower() not in _OF_WORDS:
            return None
        for other in _SYNTAX.finditer(self._text, match.end(), self._end):
            if other[1] is None or other[1].lower() in KEYS:
                return None
        parts, _ = self.parts(match.end(), blanks=True)
        return self._filter(match, parts, self._end)

    def _lexeme(self, at: int) -> Lexeme:
        text = self._text
        if text[at] in "+-" and (at + 1 == self._end or text[at + 1].isspace()):
            return Lexeme("operator", text[at], at, at + 1)
        if (limiting := self._limiting(at)) is not None:
            return limiting
        weight = _WEIGHT.match(text, at, self._end)
        if weight is not None and text[weight.end()] == '"':
            said, end, path = self._quotation(weight.end())
            return Lexeme("quoted", said, at, end, weight=float(weight[1]), path=path)
        word = _BARE.match(text, at, self._end)
        assert word is not None  # it does not stand on a blank
        if weight is not None:
            return Lexeme("word", text[weight.end() : word.end()], at, word.end(), weight=float(weight[1]))
        return Lexeme("word", word[0], at, word.end())

    def _limiting(self, at: int, *, depth: int = 0) -> Lexeme | None:
        """The filter, quotation or group that begins there; None where there is none."""
        text = self._text
        minus = int(text[at] == "-")
        if text.startswith('"', at + minus, self._end):
            said, end, path = self._quotation(at + minus)
            return Lexeme("quoted", said, at, end, negated=bool(minus), path=path and not minus)
        if text.startswith("-(", at, self._end) and depth < _DEEPEST:
            return self._group(at, depth)
        match = _KEY.match(text, at, self._end)
        if match is None or match[2].lower() not in KEYS:
            return None
        parts, end = self.parts(match.end(), stop=")" if depth else "")
        return self._filter(match, parts, end)

    def _filter(self, match: re.Match[str], parts: tuple[Part, ...], end: int) -> Lexeme:
        start = match.start()
        said = self._text[start:end]
        return Lexeme("filter", said, start, end, negated=bool(match[1]), key=match[2].lower(), parts=parts)

    def _group(self, start: int, depth: int) -> Lexeme | None:
        inner: list[Lexeme] = []
        at = self._after_blanks(start + 2)
        while at < self._end and self._text[at] != ")":
            lexeme = self._limiting(at, depth=depth + 1)
            if lexeme is None:
                return None
            inner.append(lexeme)
            at = self._after_blanks(lexeme.end)
        if not inner:
            return None
        if at >= self._end:
            raise self._source.error("This parenthesis is never closed.", start, start + 2, hint="Put a ) at its end.")
        return Lexeme("group", self._text[start : at + 1], start, at + 1, negated=True, inner=tuple(inner))

    def parts(self, at: int, *, stop: str = "", blanks: bool = False) -> tuple[tuple[Part, ...], int]:
        """The values that begin there, and where they end."""
        found: list[Part] = []
        while True:
            part = self._part(at, stop, blanks)
            found.append(part)
            if part.end >= self._end or self._text[part.end] != ",":
                return tuple(found), part.end
            at = part.end + 1

    def _part(self, start: int, stop: str, blanks: bool) -> Part:
        pieces: list[Piece] = []
        bare, at = "", start
        while at < self._end:
            character = self._text[at]
            if character == '"' and (at == start or bare.endswith("=")):
                pieces += [Piece(bare, False)] if bare else []
                said, at, _ = self._quotation(at)
                pieces.append(Piece(said, True))
                bare = ""
                continue
            if character == "," or (character.isspace() and not blanks) or character == stop:
                break
            bare += character
            at += 1
        pieces += [Piece(bare, False)] if bare else []
        return Part(tuple(pieces), start, at)

    def _quotation(self, start: int) -> tuple[str, int, bool]:
        """What stands in the quotation marks that begin there, where they end, and whether it is written as a path."""
        said, at = "", start + 1
        path = self._text.startswith(("./", "../", "/", "~/"), at, self._end)
        if self._text.startswith(("\\.", "\\/", "\\~"), at, self._end):
            at += 1
        while at < self._end:
            character = self._text[at]
            if character == '"':
                return said, at + 1, path
            if character == "\\" and self._text[at + 1 : self._end][:1] in ('"', "\\"):
                at += 1
                character = self._text[at]
            said += character
            at += 1
        raise self._source.error(
            "This quotation mark is never closed.",
            start,
            start + 1,
            hint='Put one at the end of the words that must stand together: "red car"',
        )

    def _after_blanks(self, at: int) -> int:
        match = _BLANK.match(self._text, at, self._end)
        return at if match is None else match.end()


def joined(tokens: Sequence[str]) -> tuple[Source, list[tuple[int, int]]]:
    """The words of a command line as one text, and the place of each in it."""
    places: list[tuple[int, int]] = []
    at = 0
    for token in tokens:
        places.append((at, at + len(token)))
        at += len(token) + 1
    return Source(" ".join(tokens)), places
