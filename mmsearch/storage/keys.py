"""The names of items, to and from their ids, many at a time: a key where one was given, else the path of the file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.storage.session import GROUP, Session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mmsearch.types import Collection

__all__ = [
    "AddedItem",
    "added_items",
    "collection_items",
    "ids_of_keys",
    "items_of_segments",
    "keys_of_items",
    "main_segments",
]


@dataclass(frozen=True, slots=True)
class AddedItem:
    """What tells whether an item that is added again has changed.

    Attributes:
        content_hash: 16 bytes that identify its content.
    """

    id: int
    modality: str
    content_hash: bytes | None
    metadata: Mapping[str, Any]
    taken_at: str | None
    latitude: float | None
    longitude: float | None


def added_items(session: Session, keys: Iterable[str]) -> dict[str, AddedItem]:
    """The items with these keys; those that are not there are absent."""
    rows = _grouped(
        session,
        "SELECT key, id, modality, content_hash, metadata, taken_at, latitude, longitude FROM items WHERE key IN ({})",
        list(keys),
    )
    return {
        key: AddedItem(id_, modality, content_hash, {} if metadata is None else json.loads(metadata), *facts)
        for key, id_, modality, content_hash, metadata, *facts in rows
    }


def ids_of_keys(session: Session, roots: Mapping[int, Path], keys: Sequence[str]) -> NDArray[np.int64]:
    """Ids (n,) of items by their keys or by the absolute paths of their files, -1 where there is none."""
    found = dict(_grouped(session, "SELECT key, id FROM items WHERE key IN ({})", list(dict.fromkeys(keys))))
    # Of nested roots the innermost counts, then those around it.
    prefixes = sorted(((os.path.join(root, ""), root_id) for root_id, root in roots.items()), key=lambda e: -len(e[0]))
    for prefix, root_id in prefixes:
        names = {
            os.fsencode(key[len(prefix) :].replace(os.sep, "/")): key
            for key in keys
            if key.startswith(prefix) and key not in found
        }
        statement = f"SELECT path, id FROM items WHERE root_id = {int(root_id)} AND path IN ({{}})"
        found.update((names[path], id_) for path, id_ in _grouped(session, statement, list(names)))
    return np.fromiter((found.get(key, -1) for key in keys), np.int64, len(keys))


def keys_of_items(session: Session, roots: Mapping[int, Path], ids: Sequence[int]) -> dict[int, str]:
    """Item ids -> their keys, or the absolute paths of their files."""
    prefixes = {root_id: os.path.join(root, "") for root_id, root in roots.items()}
    found: dict[int, str] = {}
    for id_, key, root_id, path in _grouped(session, "SELECT id, key, root_id, path FROM items WHERE id IN ({})", ids):
        found[id_] = key if key is not None else prefixes[root_id] + os.fsdecode(path)
    return found


def items_of_segments(session: Session, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """The items (n,) that segments belong to, -1 for a segment that is not there."""
    distinct, places = np.unique(ids, return_inverse=True)
    rows = _grouped(session, "SELECT id, item_id FROM segments WHERE id IN ({})", distinct.tolist())
    table = np.array(rows, np.int64).reshape(-1, 2)
    items = np.full(len(distinct), -1, np.int64)
    items[np.searchsorted(distinct, table[:, 0])] = table[:, 1]
    return items[places].reshape(ids.shape)


def main_segments(
    session: Session, encoder_id: str, item_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The segments that say what items are, by an encoder: the frames of a video, not its sound, where it has frames.

    Returns:
        Item ids (n,), ascending, and the ids (n,) of segments with a vector, ascending within an item.
    """
    keys = [key for (key,) in session.rows("SELECT id FROM collections WHERE encoder = ?", (encoder_id,))]
    statement = f"""SELECT s.item_id, s.id, s.modality = i.modality
        FROM items i CROSS JOIN segments s CROSS JOIN vectors v
        WHERE i.id IN ({{}}) AND s.item_id = i.id AND v.segment_id = s.id
        AND v.collection_id IN ({",".join(map(str, keys))})"""
    table = np.array(_grouped(session, statement, np.unique(item_ids).tolist()), np.int64).reshape(-1, 3)
    table = table[np.lexsort((table[:, 1], table[:, 0]))]
    own = np.unique(table[table[:, 2] == 1, 0])
    kept = (table[:, 2] == 1) | ~np.isin(table[:, 0], own)
    return table[kept, 0], table[kept, 1]


def collection_items(
    session: Session, collection: Collection, after_segment_id: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The segments (n,) of a collection after an id, ascending, and the items (n,) that they belong to."""
    rows = session.rows(
        """SELECT v.segment_id, s.item_id FROM vectors v CROSS JOIN segments s ON s.id = v.segment_id
        WHERE v.segment_id > ? AND v.collection_id = (SELECT id FROM collections WHERE encoder = ? AND modality = ?)
        ORDER BY v.segment_id""",
        (after_segment_id, collection.encoder_id, collection.modality.value),
    )
    table = np.array(rows, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _grouped(session: Session, statement: str, values: Sequence[Any]) -> list[Any]:
    """The rows of a statement that holds ``{}`` for values, run once for each group of them."""
    rows: list[Any] = []
    for start in range(0, len(values), GROUP):
        group = values[start : start + GROUP]
        rows += session.rows(statement.format(",".join("?" * len(group))), group)
    return rows
