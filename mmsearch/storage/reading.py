"""Reads the catalog: ids in, frozen values out.

A query runs in a process of its own and must answer in half a second, of which importing SQLAlchemy alone would take
a third. So reading talks to SQLite's driver directly, and only writing (`writing`) loads SQLAlchemy.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from mmsearch.errors import EncoderMismatchError
from mmsearch.storage.connection import translated
from mmsearch.storage.roots import locate, split
from mmsearch.types import (
    EncoderRecord,
    Failure,
    Item,
    KnownFile,
    MediaInfo,
    Modality,
    Root,
    Segment,
    SegmentRecord,
    Watermark,
)

__all__ = ["CatalogReader"]

# Ids are asked for in groups: SQLite limits the parameters of a statement, and equal statements are prepared once.
GROUP = 500
ROOT_SAMPLE = 20

_ITEM = """i.id, i.modality, i.root_id, i.path, i.key, i.size_bytes, i.mtime_ns, i.width, i.height, i.taken_at,
    i.camera, i.latitude, i.longitude, i.duration_ms, i.metadata"""
_SEGMENT = "s.id, s.item_id, s.ordinal, s.start_ms, s.end_ms, s.start_char, s.end_char, s.text"


class CatalogReader:
    """What can be asked of a catalog, over one connection that any thread may use.

    Args:
        connection: To the catalog; closed with the reader.
        library: Folder of the library.
    """

    def __init__(self, connection: sqlite3.Connection, library: Path) -> None:
        self.library = library
        self._connection = connection
        self._lock = threading.RLock()
        self._snapshots = 0

    def close(self) -> None:
        """Close the connection."""
        with self._lock, translated(self.library):
            self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all reads inside see one state of the library, whatever a writer does meanwhile."""
        with self._lock:
            if self._snapshots == 0:
                self.rows("BEGIN")
            self._snapshots += 1
            try:
                yield
            finally:
                self._snapshots -= 1
                if self._snapshots == 0:
                    self.rows("COMMIT")

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one statement; its rows stay inside this package."""
        with self._lock, translated(self.library):
            return self._connection.execute(statement, values).fetchall()

    def grouped_rows(self, statement: str, ids: Iterable[int]) -> Iterator[Any]:
        """Run a statement that holds ``{ids}`` once for each group of ids."""
        wanted = [int(id_) for id_ in ids]
        for start in range(0, len(wanted), GROUP):
            group = wanted[start : start + GROUP]
            yield from self.rows(statement.format(ids=",".join("?" * len(group))), group)

    # --- encoders

    def encoders(self) -> tuple[EncoderRecord, ...]:
        """The encoders whose vectors the library holds."""
        return tuple(EncoderRecord(*row) for row in self.rows("SELECT name, dim FROM encoders ORDER BY id"))

    def encoder(self, encoder_id: str) -> tuple[int, int]:
        """The key of an encoder in the catalog and its dimension.

        Raises:
            EncoderMismatchError: The library holds no vectors of it.
        """
        found = self.rows("SELECT id, dim FROM encoders WHERE name = ?", (encoder_id,))
        if not found:
            raise mismatch(self.library, self.encoders(), encoder_id)
        key, dim = found[0]
        return int(key), int(dim)

    def watermark(self, encoder_id: str) -> Watermark:
        """How far the vectors of an encoder have got."""
        found = self.rows(
            """SELECT last_segment_id, (SELECT coalesce(max(id), 0) FROM removals), vector_count
            FROM encoders WHERE name = ?""",
            (encoder_id,),
        )
        if not found:
            raise mismatch(self.library, self.encoders(), encoder_id)
        return Watermark(*found[0])

    # --- roots and files

    @cached_property
    def _root_paths(self) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for root_id, path, relative in self.rows("SELECT id, path, relative FROM roots ORDER BY id"):
            way = None if relative is None else os.fsdecode(relative)
            found[root_id] = locate(self.library, Path(os.fsdecode(path)), way, self._known_in(root_id))
        return found

    def _known_in(self, root_id: int) -> Callable[[], list[str]]:
        def known() -> list[str]:
            # Hashes are as good as random, so this is a spread sample, not twenty neighbours.
            return [
                os.fsdecode(path)
                for (path,) in self.rows(
                    "SELECT path FROM items WHERE root_id = ? ORDER BY content_hash LIMIT ?", (root_id, ROOT_SAMPLE)
                )
            ]

        return known

    def forget_roots(self) -> None:
        """Read the roots again when they are needed next."""
        with self._lock:
            self.__dict__.pop("_root_paths", None)

    def roots(self) -> tuple[Root, ...]:
        """The folders that were indexed, where they lie now."""
        return tuple(Root(root_id, path) for root_id, path in self._root_paths.items())

    def known_files(self, root_id: int) -> dict[str, KnownFile]:
        """Every file that is remembered below a root, by its path relative to the root."""
        known = {
            os.fsdecode(path): KnownFile(item_id, size_bytes, mtime_ns)
            for item_id, path, size_bytes, mtime_ns in self.rows(
                "SELECT id, path, size_bytes, mtime_ns FROM items WHERE root_id = ?", (root_id,)
            )
        }
        for raw, size_bytes, mtime_ns, reason in self.rows(
            "SELECT path, size_bytes, mtime_ns, reason FROM failures WHERE root_id = ?", (root_id,)
        ):
            path = os.fsdecode(raw)
            item = known.get(path)
            known[path] = KnownFile(None if item is None else item.item_id, size_bytes, mtime_ns, reason)
        return known

    def items_with_hash(self, content_hash: bytes) -> list[int]:
        """The items with that content."""
        found = self.rows("SELECT id FROM items WHERE content_hash = ? ORDER BY id", (content_hash,))
        return [item_id for (item_id,) in found]

    def failures(self) -> list[Failure]:
        """The files that are remembered as unreadable."""
        found = self.rows("SELECT root_id, path, reason FROM failures ORDER BY root_id, path")
        return [Failure(self._root_paths[root_id] / os.fsdecode(path), reason) for root_id, path, reason in found]

    # --- items and segments

    def segments(self, ids: Iterable[int]) -> dict[int, SegmentRecord]:
        """Segments with their items; ids that are not there are left out."""
        statement = (
            f"SELECT {_SEGMENT}, {_ITEM} FROM segments s JOIN items i ON i.id = s.item_id WHERE s.id IN ({{ids}})"
        )
        return {
            row[0]: SegmentRecord(Segment(*row[:8]), self._item(row[8:])) for row in self.grouped_rows(statement, ids)
        }

    def items(self, ids: Iterable[int]) -> dict[int, Item]:
        """Items by their ids; those that are not there are left out."""
        found = self.grouped_rows(f"SELECT {_ITEM} FROM items i WHERE i.id IN ({{ids}})", ids)
        return {row[0]: self._item(row) for row in found}

    def item_at(self, path: Path) -> Item | None:
        """The item of a file, or None where it was not indexed; of nested roots the innermost counts."""
        candidates = [Path(os.path.abspath(path)), Path(os.path.realpath(path))]
        for candidate in dict.fromkeys(candidates):
            for root_id, relative in split(candidate, self._root_paths.items()):
                found = self.rows(
                    f"SELECT {_ITEM} FROM items i WHERE i.root_id = ? AND i.path = ?", (root_id, os.fsencode(relative))
                )
                if found:
                    return self._item(found[0])
        return None

    def _item(self, row: Sequence[Any]) -> Item:
        (id_, modality, root_id, path, key, size_bytes, mtime_ns, width, height, taken_at, camera) = row[:11]
        latitude, longitude, duration_ms, metadata = row[11:]
        info = MediaInfo(
            width,
            height,
            None if taken_at is None else datetime.fromisoformat(taken_at),
            camera,
            latitude,
            longitude,
            duration_ms,
        )
        where = None if path is None else self._root_paths[root_id] / os.fsdecode(path)
        return Item(id_, Modality(modality), where, key, size_bytes, mtime_ns, info, _metadata(metadata))


def mismatch(
    library: Path, encoders: Sequence[EncoderRecord], asked: str, dim: int | None = None
) -> EncoderMismatchError:
    """The error for an encoder that the library does not hold vectors of."""
    for encoder in encoders:
        if encoder.id == asked and dim is not None:
            return EncoderMismatchError(
                f"The library in {library} holds vectors of {asked} with {encoder.dim} numbers, but {asked} now gives"
                f" {dim}.",
                hint="Use the model it was made with, or another folder with --library.",
            )
    if not encoders:
        return EncoderMismatchError(
            f"The library in {library} holds no vectors of {asked}: nothing has been indexed yet.",
            hint=f"Run: mmsearch index FOLDER --model {asked}",
        )
    held = " and ".join(encoder.id for encoder in encoders)
    return EncoderMismatchError(
        f"The library in {library} was made with {held}, not with {asked}.",
        hint=f"Use --model {encoders[0].id}, or another folder with --library.",
    )


def _metadata(text: str | None) -> Mapping[str, Any]:
    if text is None:
        return {}
    import json

    loaded: dict[str, Any] = json.loads(text)
    return loaded
