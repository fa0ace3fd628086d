"""Values in the shape that SQLite stores: places, times and texts as they come from file systems and files."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import Connection

from mmsearch.storage.characters import whole
from mmsearch.storage.statements import LAST_ID

__all__ = ["last_id", "place_of", "stored_text", "stored_time"]


def last_id(connection: Connection, table: str) -> int:
    """The highest id that a table ever gave out, 0 where there was none."""
    return int(connection.execute(LAST_ID, {"name": table}).scalar() or 0)


def place_of(root_id: int, path: str) -> dict[str, Any]:
    """Where a file lies, as statements name it."""
    return {"root": root_id, "raw": os.fsencode(path)}


def stored_text(value: str | None) -> str | None:
    """A text, if there is one, without half characters."""
    return None if value is None else whole(value)


def stored_time(mtime_ns: int) -> int:
    """A time that fits 64 bits: file systems know some beyond the year 2262, where nanoseconds do not."""
    return max(-(2**63), min(mtime_ns, 2**63 - 1))
