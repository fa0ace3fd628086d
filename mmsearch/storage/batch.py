"""What a batch changes beside new content, as statements: removals, moves, touched files, copies and failures."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from mmsearch.storage import statements as sql
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.storage.session import GROUP
from mmsearch.storage.values import last_id, place_of, stored_text, stored_time

__all__ = [
    "add_failures",
    "copy_items",
    "forget_failures",
    "index_texts",
    "move_items",
    "remove_items",
    "touch_items",
]


def remove_items(connection: Connection, ids: Iterable[int]) -> None:
    """Remove items; the schema removes their segments and vectors and logs the vectors."""
    sql.REMOVE.run(connection, [{"item": int(id_)} for id_ in ids])


def move_items(connection: Connection, moves: Sequence[Move]) -> None:
    """Give items another place; they may swap places, and what else lies at the new ones is removed."""
    _put(connection, [(move.item_id, move) for move in moves])


def touch_items(connection: Connection, touched: Sequence[Touch]) -> None:
    """Remember another size, time and other sidecars of items."""
    sql.TOUCH.run(
        connection,
        [
            {
                "item": touch.item_id,
                "size": touch.size_bytes,
                "mtime": stored_time(touch.mtime_ns),
                "beside": touch.sidecars,
            }
            for touch in touched
        ],
    )
    sql.FORGET_OF_ITEM.run(connection, [{"item": touch.item_id} for touch in touched])


def copy_items(connection: Connection, copies: Sequence[Copy]) -> dict[int, int]:
    """Make new items that share the content of others.

    Returns:
        New segment ids -> those that they were copied from.

    Raises:
        ValueError: The item to copy is not there, or not complete.
    """
    if not copies:
        return {}
    first_item, segment_id = last_id(connection, "items") + 1, last_id(connection, "segments")
    sources = _segments_of(connection, {copy.source_item_id for copy in copies})
    made: list[dict[str, Any]] = []
    new_segments: list[dict[str, Any]] = []
    for item_id, copy in enumerate(copies, start=first_item):
        made.append(
            {"new": item_id, "item": copy.source_item_id, "size": copy.size_bytes, "mtime": stored_time(copy.mtime_ns)}
        )
        for old in sources.get(copy.source_item_id, ()):
            segment_id += 1
            new_segments.append({"new": segment_id, "new_item": item_id, "old": old})
    if sql.COPY_ITEM.run(connection, made) < len(made):
        raise ValueError("an item to copy is not there, or not complete")
    sql.COPY_SEGMENT.run(connection, new_segments)
    sql.COPY_VECTORS.run(connection, [{"new": row["new"], "old": row["old"]} for row in new_segments])
    # Only now may an occupant of a place go: it can be the source of a copy.
    _put(connection, [(row["new"], copy) for row, copy in zip(made, copies, strict=True)])
    return {row["new"]: row["old"] for row in new_segments}


def add_failures(connection: Connection, failed: Sequence[FailedFile]) -> None:
    """Remember files that cannot be read."""
    forget_failures(connection, [(failure.root_id, failure.path) for failure in failed])
    rows = {
        (failure.root_id, failure.path): {
            "root_id": failure.root_id,
            "path": os.fsencode(failure.path),
            "size_bytes": failure.size_bytes,
            "mtime_ns": stored_time(failure.mtime_ns),
            "reason": stored_text(failure.reason),
            "sidecars": failure.sidecars,
        }
        for failure in failed
    }
    sql.ADD_FAILURE.run(connection, rows.values())


def forget_failures(connection: Connection, places: Iterable[tuple[int, str]]) -> None:
    """Forget unreadable files by root and path."""
    sql.FORGET.run(connection, [place_of(root_id, path) for root_id, path in places])


def index_texts(connection: Connection, after_item_id: int, after_segment_id: int) -> None:
    """Enter what is written in and about new items into full-text search, at the end of the batch that added them."""
    connection.execute(sql.INDEX_PASSAGES, {"after": after_segment_id})
    connection.execute(sql.INDEX_WORDS, {"after": after_item_id})


def _segments_of(connection: Connection, item_ids: Iterable[int]) -> dict[int, list[int]]:
    wanted, found = list(item_ids), defaultdict[int, list[int]](list)
    for start in range(0, len(wanted), GROUP):
        for item_id, id_ in connection.execute(sql.SEGMENTS_OF, {"wanted": wanted[start : start + GROUP]}):
            found[item_id].append(id_)
    return found


def _put(connection: Connection, placed: Sequence[tuple[int, Copy | Move]]) -> None:
    # All leave their old places first: a swap of two files would break the rule that a place holds one item.
    rows = [
        {
            "item": item_id,
            **place_of(change.root_id, change.path),
            "mtime": stored_time(change.mtime_ns),
            "beside": change.sidecars,
        }
        for item_id, change in placed
    ]
    only_places = [{"root": row["root"], "raw": row["raw"]} for row in rows]
    sql.LIFT.run(connection, [{"item": row["item"]} for row in rows])
    sql.DISPLACE.run(connection, only_places)
    sql.FORGET.run(connection, only_places)
    if sql.PUT.run(connection, rows) < len(rows):
        raise ValueError("an item to move is not there")
