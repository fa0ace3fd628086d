"""New content as rows: items and parts of items in, segments and vectors in the catalog out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from mmsearch.storage import statements as sql
from mmsearch.storage.changes import UNFINISHED_NS, Completion, Part
from mmsearch.storage.embeddings import vector_rows
from mmsearch.storage.values import last_id, place_of, stored_text, stored_time
from mmsearch.types import MediaInfo, Modality, NewItem, NewSegment

__all__ = ["add_items", "add_parts", "complete_items"]

# Segments that follow each other in an item: the item, its modality, the ordinal of the first, and they.
_Run = tuple[int, Modality, int, Sequence[NewSegment]]


def add_items(connection: Connection, library: Path, new: Sequence[NewItem]) -> tuple[int, ...]:
    """Store items with their segments and vectors, in the place of what has the same path or key.

    Args:
        connection: With a transaction open.
        library: Folder of the library, for messages.
        new: Each at a place of its own.

    Returns:
        The segment ids, in order.
    """
    if not new:
        return ()
    places = [place_of(item.root_id, item.path) for item in new if item.root_id is not None and item.path is not None]
    sql.DISPLACE.run(connection, places)
    sql.FORGET.run(connection, places)
    sql.DISPLACE_KEY.run(connection, [{"name": stored_text(item.key)} for item in new if item.key is not None])
    numbered = list(enumerate(new, start=last_id(connection, "items") + 1))
    sql.ADD_ITEM.run(connection, [_item_row(item_id, item) for item_id, item in numbered])
    return _add_segments(
        connection, library, [(item_id, item.modality, 0, item.segments) for item_id, item in numbered]
    )


def add_parts(connection: Connection, library: Path, parts: Sequence[Part]) -> tuple[int, ...]:
    """Store more segments of items that are there.

    Returns:
        The segment ids, in order.

    Raises:
        ValueError: An item to continue is not there, or complete.
    """
    growing: dict[int, tuple[Modality, int]] = {}
    runs: list[_Run] = []
    for part in parts:
        if part.item_id not in growing:
            found = connection.execute(sql.GROWING, {"item": part.item_id}).one_or_none()
            if found is None:
                raise ValueError("an item to continue is not there, or complete")
            growing[part.item_id] = (Modality(found[0]), 0 if found[1] is None else found[1] + 1)
        modality, ordinal = growing[part.item_id]
        runs.append((part.item_id, modality, ordinal, part.segments))
        growing[part.item_id] = (modality, ordinal + len(part.segments))
    return _add_segments(connection, library, runs)


def complete_items(connection: Connection, completed: Sequence[Completion]) -> None:
    """Set what was left open while items grew.

    Raises:
        ValueError: An item to complete is not there.
    """
    rows = [
        {
            "item": done.item_id,
            "hash": done.content_hash,
            "mtime": stored_time(done.mtime_ns),
            **{f"new_{name}": value for name, value in _info_values(done.info).items()},
        }
        for done in completed
    ]
    if sql.COMPLETE.run(connection, rows) < len(rows):
        raise ValueError("an item to complete is not there")
    sql.FORGET_OF_ITEM.run(connection, [{"item": done.item_id} for done in completed])


def _add_segments(connection: Connection, library: Path, runs: Sequence[_Run]) -> tuple[int, ...]:
    segments = [segment for *_, added in runs for segment in added]
    if not segments:
        return ()
    first = last_id(connection, "segments") + 1
    sql.ADD_SEGMENT.run(connection, _segment_rows(first, runs))
    sql.ADD_VECTOR.run(connection, vector_rows(connection, library, first, segments))
    return tuple(range(first, first + len(segments)))


def _segment_rows(first: int, runs: Sequence[_Run]) -> list[Mapping[str, Any]]:
    ids = count(first)
    return [
        {
            "id": id_,
            "item_id": item_id,
            "ordinal": ordinal,
            "modality": segment.modality.value,
            "item_modality": None if item_modality is segment.modality else item_modality.value,
            "start_ms": segment.start_ms,
            "end_ms": segment.end_ms,
            "start_char": segment.start_char,
            "end_char": segment.end_char,
            "text": stored_text(segment.text),
            "page": segment.page,
            "shot": segment.shot,
        }
        for item_id, item_modality, next_ordinal, added in runs
        for segment, id_, ordinal in zip(added, ids, count(next_ordinal), strict=False)
    ]


def _item_row(item_id: int, item: NewItem) -> dict[str, Any]:
    return {
        "id": item_id,
        "modality": item.modality.value,
        "root_id": item.root_id,
        "path": None if item.path is None else os.fsencode(item.path),
        "key": stored_text(item.key),
        "size_bytes": item.size_bytes,
        "mtime_ns": stored_time(item.mtime_ns) if item.complete else UNFINISHED_NS,
        "content_hash": item.content_hash if item.complete else None,
        **_info_values(item.info),
        "metadata": json.dumps(dict(item.metadata)) if item.metadata else None,
        "sidecars": item.sidecars,
        "complete": int(item.complete),
        "notes": stored_text(_words_of(item.metadata)) if item.metadata else None,
    }


def _words_of(metadata: Any) -> str:
    """The values of metadata, however deep, as words for full text."""
    if isinstance(metadata, Mapping):
        return " ".join(map(_words_of, metadata.values()))
    if isinstance(metadata, list | tuple):
        return " ".join(map(_words_of, metadata))
    return "" if metadata is None else str(metadata)


def _info_values(info: MediaInfo) -> dict[str, Any]:
    return {
        "width": info.width,
        "height": info.height,
        "taken_at": None if info.taken_at is None else info.taken_at.isoformat(),
        "camera": stored_text(info.camera),
        "latitude": info.latitude,
        "longitude": info.longitude,
        "duration_ms": info.duration_ms,
    }
