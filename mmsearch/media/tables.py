"""Characters of a CSV table or of JSON -> blocks, one for each row or object: ``key: value; key: value``."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mmsearch.errors import MediaError
from mmsearch.media.blocks import Block, lines_of

__all__ = ["MAX_VALUE_CHARACTERS", "csv_rows", "json_blocks", "json_line_blocks", "table_blocks"]

MAX_VALUE_CHARACTERS = 16 << 20
"""Length of one JSON value (an element where the document is an array) or line that is held in memory."""

_DELIMITERS = (",", "\t", ";", "|")
_ROW_CHARACTERS = 1 << 20
_KEY_CHARACTERS = 60
_NUMBER = re.compile(r"[-+]?[\d.,:/%\s]+")
_BLANKS = re.compile(r"[ \t\n\r]*+")
_DEPTH = 50


def csv_rows(chunks: Iterable[str]) -> Iterator[list[str]]:
    """Rows of a table whose delimiter (comma, tab, semicolon or bar) is told by its first line.

    A row that is longer than a million characters has a quotation mark that nothing ends: its lines are read as rows of
    one cell each.
    """
    lines = _Lines(lines_of(chunks))
    reader = csv.reader(lines, delimiter=lines.delimiter())
    while True:
        lines.row.clear()
        lines.size = 0
        try:
            yield next(reader)
        except StopIteration:
            return
        except (csv.Error, _RowTooLong):
            for line in lines.row:
                yield [line]


class _RowTooLong(Exception):
    """A row does not end."""


class _Lines:
    """Lines for `csv.reader`, those of the row that is being read kept; an iterator that goes on after an error."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._first: list[str] = []
        self.row: list[str] = []
        self.size = 0

    def delimiter(self) -> str:
        for line in self._lines:
            self._first.append(line)
            if not line.isspace() or len(self._first) > 100:
                break
        first = self._first[-1] if self._first else ""
        return max(_DELIMITERS, key=first.count)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._first.pop(0) if self._first else next(self._lines)
        self.row.append(line)
        self.size += len(line)
        if self.size > _ROW_CHARACTERS:
            raise _RowTooLong
        return line


def table_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """A fresh block for each row, its cells named by the first row where that looks like names of columns."""
    names: list[str] | None = None
    for row in csv_rows(chunks):
        cells = [" ".join(cell.split()) for cell in row]
        if not any(cells):
            continue
        if names is None:
            names = cells if _are_names(cells) else []
            if names:
                continue
        pairs = ((names[place] if place < len(names) else "", cell) for place, cell in enumerate(cells))
        yield Block("; ".join(f"{key}: {cell}" if key else cell for key, cell in pairs if cell) + "\n", fresh=True)


def _are_names(cells: list[str]) -> bool:
    known = [cell for cell in cells if cell]
    return (
        len(set(known)) == len(known)
        and len(known) >= len(cells) - 1
        and all(
            len(cell) <= _KEY_CHARACTERS and not _NUMBER.fullmatch(cell) and cell[-1] not in ".!?" for cell in known
        )
    )


def json_line_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """Fresh blocks for the lines of JSON lines; one that is no JSON is passed over.

    Raises:
        MediaError: No line is JSON.
    """
    good = bad = 0
    decoder = _decoder()
    for line in lines_of(chunks, MAX_VALUE_CHARACTERS):
        if line.isspace():
            continue
        try:
            value = decoder.decode(line)
        except (ValueError, RecursionError):
            bad += 1
        else:
            good += 1
            yield from _records(value, None, 0)
    if bad and not good:
        raise MediaError(None, "no line of it is JSON")


def json_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """Fresh blocks for the objects of a JSON document, the elements of its array one after the other.

    Raises:
        MediaError: It is no JSON, nested too deeply, or one of its values is longer than `MAX_VALUE_CHARACTERS`.
    """
    source = _Values(iter(chunks))
    source.skip_blanks()
    if source.peek() == "[":
        source.skip(1)
        source.skip_blanks()
        while source.peek() != "]":
            yield from _records(source.value(), None, 0)
            source.skip_blanks()
            if source.peek() == ",":
                source.skip(1)
                source.skip_blanks()
            elif source.peek() != "]":
                raise MediaError(None, "damaged JSON" if source.peek() else "truncated JSON")
        source.skip(1)
        source.skip_blanks()
    while source.peek():  # several values one after the other are JSON lines by another name
        yield from _records(source.value(), None, 0)
        source.skip_blanks()


class _Values:
    """The values of a JSON text, while no more of it is held than the one that is being read."""

    def __init__(self, chunks: Iterator[str]) -> None:
        self._chunks = chunks
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = _decoder()

    def _more(self, count: int) -> None:
        """Read so many characters at least, unless the text ends."""
        parts = [self._text[self._at :]]
        self._at = 0
        while count > 0 and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            parts.append(chunk or "")
            count -= len(chunk or "")
        self._text = "".join(parts)

    def skip_blanks(self) -> None:
        while True:
            found = _BLANKS.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or self._ended:
                return
            self._more(1)

    def peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def skip(self, count: int) -> None:
        self._at += count

    def value(self) -> Any:
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number may go on
                    self._at = end
                    return value
            except RecursionError as error:
                raise MediaError(None, "JSON that is nested too deeply") from error
            except ValueError as error:
                # What was cut off is found at the end of what is held, or where a string begins.
                cut = getattr(error, "pos", 0) > len(self._text) - 16 or str(error).startswith("Unterminated")
                if self._ended or not cut:
                    raise MediaError(None, "truncated JSON" if cut else "damaged JSON") from error
            held = len(self._text) - self._at
            if held > MAX_VALUE_CHARACTERS:
                raise MediaError(None, f"a JSON value of more than {MAX_VALUE_CHARACTERS >> 20} million characters")
            self._more(max(held, 1))  # twice as much each time: no more than twice the work in all


def _decoder() -> json.JSONDecoder:
    """Numbers stay as they are written: as exact, and as short."""
    return json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str, strict=False)


def _records(value: Any, heading: str | None, depth: int) -> Iterator[Block]:
    """An object is a block of its own, and so are the objects in the lists within it, under the list's name."""
    if depth > _DEPTH:
        raise MediaError(None, "JSON that is nested too deeply")
    if isinstance(value, list) and any(isinstance(element, dict | list) for element in value):
        for element in value:
            yield from _records(element, heading, depth + 1)
        return
    lists: list[tuple[str, list[Any]]] = []
    leaves = (f"{key}: {leaf}" if key else leaf for key, leaf in _leaves(value, "", lists, depth))
    text = "; ".join(leaf for leaf in leaves if leaf)
    if text:
        yield Block(_one_line(text) + "\n", heading=heading or "", fresh=True)
    for key, elements in lists:
        yield from _records(elements, key, depth + 1)


def _leaves(value: Any, key: str, lists: list[tuple[str, list[Any]]], depth: int) -> Iterator[tuple[str, str]]:
    """Plain values with the keys that lead to them; lists of objects are put aside."""
    if depth > _DEPTH:
        raise MediaError(None, "JSON that is nested too deeply")
    if isinstance(value, dict):
        for name, inner in value.items():
            short = _one_line(name)[:_KEY_CHARACTERS]
            yield from _leaves(inner, f"{key}.{short}"[-2 * _KEY_CHARACTERS :] if key else short, lists, depth + 1)
    elif isinstance(value, list):
        if any(isinstance(element, dict | list) for element in value):
            lists.append((key, value))
        elif value:
            yield key, ", ".join(_plain(element) for element in value)
    elif value is not None and value != "":
        yield key, _plain(value)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _one_line(text: str) -> str:
    return " ".join(text.split())
