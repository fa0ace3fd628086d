"""One batch of changes as statements: removals, moves, touched files, copies, items and failures, in that order."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mmsearch.errors import EncoderError
from mmsearch.storage import statements as sql
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.storage.session import GROUP
from mmsearch.types import NewItem

__all__ = ["add_failures", "add_items", "copy_items", "forget_failures", "move_items", "remove_items", "touch_items"]


def remove_items(connection: Connection, ids: Iterable[int]) -> None:
    """Remove items; the schema removes their segments and vectors and logs the segments."""
    sql.REMOVE.run(connection, [{"item": int(id_)} for id_ in ids])


def move_items(connection: Connection, moves: Sequence[Move]) -> None:
    """Give items another place; they may swap places, and what else lies at the new ones is removed."""
    _put(connection, [(move.item_id, move.root_id, move.path, move.mtime_ns) for move in moves])


def touch_items(connection: Connection, touched: Sequence[Touch]) -> None:
    """Remember another size and time of items."""
    sql.TOUCH.run(
        connection,
        [{"item": touch.item_id, "size": touch.size_bytes, "mtime": _time(touch.mtime_ns)} for touch in touched],
    )
    sql.FORGET_OF_ITEM.run(connection, [{"item": touch.item_id} for touch in touched])


def copy_items(connection: Connection, copies: Sequence[Copy]) -> None:
    """Make new items that share the content of others.

    Raises:
        ValueError: The item to copy is not there.
    """
    if not copies:
        return
    first_item, segment_id = _last_id(connection, "items") + 1, _last_id(connection, "segments")
    sources = _segments_of(connection, {copy.source_item_id for copy in copies})
    made: list[dict[str, Any]] = []
    new_segments: list[dict[str, Any]] = []
    for item_id, copy in enumerate(copies, start=first_item):
        made.append(
            {"new": item_id, "item": copy.source_item_id, "size": copy.size_bytes, "mtime": _time(copy.mtime_ns)}
        )
        for old in sources.get(copy.source_item_id, ()):
            segment_id += 1
            new_segments.append({"new": segment_id, "new_item": item_id, "old": old})
    if sql.COPY_ITEM.run(connection, made) < len(made):
        raise ValueError("an item to copy is not there")
    sql.COPY_SEGMENT.run(connection, new_segments)
    sql.COPY_VECTORS.run(connection, [{"new": row["new"], "old": row["old"]} for row in new_segments])
    # Only now may an occupant of a place go: it can be the source of a copy.
    placed = zip(made, copies, strict=True)
    _put(connection, [(row["new"], copy.root_id, copy.path, copy.mtime_ns) for row, copy in placed])


def add_items(connection: Connection, encoder: tuple[int, int], new: Sequence[NewItem]) -> tuple[int, ...]:
    """Store items with their segments and vectors, in the place of what has the same path or key.

    Args:
        connection: With a transaction open.
        encoder: Its key in the catalog and its dimension.
        new: Each at a place of its own.

    Returns:
        The segment ids, in order.
    """
    if not new:
        return ()
    encoder_key, dim = encoder
    blobs = _blobs(new, dim)
    places = [_place(item.root_id, item.path) for item in new if item.root_id is not None and item.path is not None]
    sql.DISPLACE.run(connection, places)
    sql.FORGET.run(connection, places)
    sql.DISPLACE_KEY.run(connection, [{"name": _text(item.key)} for item in new if item.key is not None])
    first_item, segment_id = _last_id(connection, "items") + 1, _last_id(connection, "segments")
    segment_rows: list[dict[str, Any]] = []
    for item_id, item in enumerate(new, start=first_item):
        for ordinal, segment in enumerate(item.segments):
            segment_id += 1
            segment_rows.append(
                {
                    "id": segment_id,
                    "item_id": item_id,
                    "ordinal": ordinal,
                    "start_ms": segment.start_ms,
                    "end_ms": segment.end_ms,
                    "start_char": segment.start_char,
                    "end_char": segment.end_char,
                    "text": _text(segment.text),
                }
            )
    ids = tuple(row["id"] for row in segment_rows)
    sql.ADD_ITEM.run(connection, [_item_row(item_id, item) for item_id, item in enumerate(new, start=first_item)])
    sql.ADD_SEGMENT.run(connection, segment_rows)
    sql.ADD_VECTOR.run(
        connection,
        [
            {"segment_id": id_, "encoder_id": encoder_key, "embedding": blob}
            for id_, blob in zip(ids, blobs, strict=True)
        ],
    )
    return ids


def add_failures(connection: Connection, failed: Sequence[FailedFile]) -> None:
    """Remember files that cannot be read."""
    forget_failures(connection, [(failure.root_id, failure.path) for failure in failed])
    rows = {
        (failure.root_id, failure.path): {
            "root_id": failure.root_id,
            "path": os.fsencode(failure.path),
            "size_bytes": failure.size_bytes,
            "mtime_ns": _time(failure.mtime_ns),
            "reason": _text(failure.reason),
        }
        for failure in failed
    }
    sql.ADD_FAILURE.run(connection, rows.values())


def forget_failures(connection: Connection, places: Iterable[tuple[int, str]]) -> None:
    """Forget unreadable files by root and path."""
    sql.FORGET.run(connection, [_place(root_id, path) for root_id, path in places])


def _last_id(connection: Connection, table: str) -> int:
    return int(connection.execute(sql.LAST_ID, {"name": table}).scalar() or 0)


def _segments_of(connection: Connection, item_ids: Iterable[int]) -> dict[int, list[int]]:
    wanted, found = list(item_ids), defaultdict[int, list[int]](list)
    for start in range(0, len(wanted), GROUP):
        for item_id, id_ in connection.execute(sql.SEGMENTS_OF, {"wanted": wanted[start : start + GROUP]}):
            found[item_id].append(id_)
    return found


def _place(root_id: int, path: str) -> dict[str, Any]:
    return {"root": root_id, "raw": os.fsencode(path)}


def _text(value: str | None) -> str | None:
    # What came out of a file or its name can hold half characters, which SQLite does not take.
    return value if value is None or value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _time(mtime_ns: int) -> int:
    # File systems know times beyond the year 2262, where nanoseconds leave 64 bits.
    return max(-(2**63), min(mtime_ns, 2**63 - 1))


def _put(connection: Connection, places: Sequence[tuple[int, int, str, int]]) -> None:
    # All leave their old places first: a swap of two files would break the rule that a place holds one item.
    rows = [
        {"item": item_id, **_place(root_id, path), "mtime": _time(mtime)} for item_id, root_id, path, mtime in places
    ]
    only_places = [{"root": row["root"], "raw": row["raw"]} for row in rows]
    sql.LIFT.run(connection, [{"item": row["item"]} for row in rows])
    sql.DISPLACE.run(connection, only_places)
    sql.FORGET.run(connection, only_places)
    if sql.PUT.run(connection, rows) < len(rows):
        raise ValueError("an item to move is not there")


def _blobs(new: Sequence[NewItem], dim: int) -> list[bytes]:
    embeddings = [segment.embedding for item in new for segment in item.segments]
    if not embeddings:
        return []
    if any(embedding.shape != (dim,) for embedding in embeddings):
        raise EncoderError(f"The encoder returned embeddings that are not of length {dim}.")
    stacked: NDArray[np.float32] = np.stack(embeddings)  # n x (dim,) -> (n, dim)
    if not np.isfinite(stacked).all():
        raise EncoderError("The encoder returned embeddings that are not finite numbers.")
    packed, width = stacked.astype(np.float16).tobytes(), 2 * dim
    return [packed[start : start + width] for start in range(0, len(packed), width)]


def _item_row(item_id: int, item: NewItem) -> dict[str, Any]:
    info = item.info
    return {
        "id": item_id,
        "modality": item.modality.value,
        "root_id": item.root_id,
        "path": None if item.path is None else os.fsencode(item.path),
        "key": _text(item.key),
        "size_bytes": item.size_bytes,
        "mtime_ns": _time(item.mtime_ns),
        "content_hash": item.content_hash,
        "width": info.width,
        "height": info.height,
        "taken_at": None if info.taken_at is None else info.taken_at.isoformat(),
        "camera": _text(info.camera),
        "latitude": info.latitude,
        "longitude": info.longitude,
        "duration_ms": info.duration_ms,
        "metadata": json.dumps(dict(item.metadata)) if item.metadata else None,
    }
