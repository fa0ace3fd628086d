"""Characters of a CSV table -> its rows, and a block for each of them: ``name: value; name: value``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from mmsearch.media.blocks import Block, lines_of

__all__ = ["csv_rows", "table_blocks"]

_DELIMITERS = (",", "\t", ";", "|")
_ROW_CHARACTERS = 1 << 20
_KEY_CHARACTERS = 60
_NUMBER = re.compile(r"[-+]?[\d.,:/%\s]+")


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
