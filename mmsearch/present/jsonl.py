"""Results for programs: mappings -> one JSON object a line, ASCII alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["json_line", "json_lines"]


def json_line(row: Mapping[str, Any]) -> str:
    r"""One object on one line, in the order of its keys.

    Everything beyond ASCII is escaped, so that a file name that is not valid UTF-8 survives: each of its bad bytes is a
    lone surrogate, ``\udc80`` to ``\udcff``, which Python's ``os.fsencode`` turns back into the byte.
    """
    return json.dumps(row, ensure_ascii=True, default=_plain)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of several objects, without line ends."""
    return map(json_line, rows)


def _plain(value: Any) -> Any:
    """What `json` does not know by itself: paths and mappings that are no dictionaries."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
