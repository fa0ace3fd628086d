"""Characters of JSON or JSON lines -> blocks, one for each object: ``key: value; key: value``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mmsearch.errors import MediaError
from mmsearch.media.blocks import Block, lines_of
from mmsearch.media.encodings import clean

__all__ = ["MAX_VALUE_CHARACTERS", "json_blocks", "json_line_blocks"]

MAX_VALUE_CHARACTERS = 16 << 20
"""Length of one JSON value (an element where the document is an array) or line that is held in memory."""

_DEPTH = 50
_KEY_CHARACTERS = 60
_BLANKS = re.compile(r"[ \t\n\r]*+")
_NUMBER_TAIL = re.compile(r"[.eE][-+]?")
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")


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
                if end + 3 <= len(self._text) or self._ended:  # a number may go on, as 1e-5 after its first digit
                    self._at = end
                    return value
            except RecursionError as error:
                raise MediaError(None, "JSON that is nested too deeply") from error
            except ValueError as error:
                cut = self._is_cut(error)
                if self._ended or not cut:
                    raise MediaError(None, "truncated JSON" if cut else "damaged JSON") from error
            held = len(self._text) - self._at
            if held > MAX_VALUE_CHARACTERS:
                raise MediaError(None, f"a JSON value of more than {MAX_VALUE_CHARACTERS >> 20} million characters")
            self._more(max(held, 1))  # twice as much each time: no more than twice the work in all

    def _is_cut(self, error: ValueError) -> bool:
        """Whether more text could mend it: at its end, in a string, an escape, or a word like ``true``."""
        place = getattr(error, "pos", 0)
        rest = self._text[place : place + 10]
        inside = str(error).startswith("Unterminated") or bool(_NUMBER_TAIL.fullmatch(rest))
        escape = str(error).startswith("Invalid") and len(rest) < 8
        return inside or escape or any(word.startswith(rest) for word in _WORDS)


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
    return " ".join(clean(text).split())
