"""The statements that a batch is written with, compiled once from the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import (
    Connection,
    Integer,
    bindparam,
    case,
    delete,
    insert,
    literal_column,
    not_,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from mmsearch.storage.models import failures, items, segments, vectors

__all__ = [
    "ADD_FAILURE",
    "ADD_ITEM",
    "ADD_SEGMENT",
    "ADD_VECTOR",
    "COLLECTION_KEY",
    "COMPLETE",
    "COPY_ITEM",
    "COPY_SEGMENT",
    "COPY_VECTORS",
    "DISPLACE",
    "DISPLACE_KEY",
    "ENCODERS",
    "FORGET",
    "FORGET_OF_ITEM",
    "GROWING",
    "INDEX_PASSAGES",
    "INDEX_WORDS",
    "LAST_ID",
    "LIFT",
    "PUT",
    "REMOVE",
    "SEGMENTS_OF",
    "TOUCH",
    "Statement",
]


class Statement:
    """A statement compiled once and run for many rows.

    SQLAlchemy's own handling of parameters takes longer than SQLite takes to store them: this way a batch of new items
    is stored in a third of the time.
    """

    def __init__(self, statement: ClauseElement) -> None:
        compiled = cast(SQLCompiler, statement.compile(dialect=sqlite.dialect()))
        self._text = compiled.string
        names = compiled.positiontup or []
        self._values = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)

    def run(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
        """Run it for every row; returns how many rows of the table it changed."""
        values = [self._values(row) for row in rows]
        return connection.exec_driver_sql(self._text, values).rowcount if values else 0


# Columns that a copy takes over from its source; place, key, size, time and sidecars are its own.
_OWN = ("id", "root_id", "path", "key", "size_bytes", "mtime_ns", "sidecars")
_SHARED = [column for column in items.c if column.name not in _OWN]
_SEGMENT_SHARED = [column for column in segments.c if column.name not in ("id", "item_id")]
_ONE = literal_column("1", Integer)
_COMPLETE = items.c.complete == _ONE
# An item that still grows keeps its time, whatever becomes of its file.
_MTIME = case((_COMPLETE, bindparam("mtime")), else_=items.c.mtime_ns)
_INFO = ("width", "height", "taken_at", "camera", "latitude", "longitude", "duration_ms")

REMOVE = Statement(delete(items).where(items.c.id == bindparam("item")))
DISPLACE = Statement(delete(items).where(items.c.root_id == bindparam("root"), items.c.path == bindparam("raw")))
DISPLACE_KEY = Statement(delete(items).where(items.c.key == bindparam("name")))
LIFT = Statement(update(items).where(items.c.id == bindparam("item")).values(root_id=null(), path=null()))
PUT = Statement(
    update(items)
    .where(items.c.id == bindparam("item"))
    .values(root_id=bindparam("root"), path=bindparam("raw"), mtime_ns=_MTIME, sidecars=bindparam("beside"))
)
TOUCH = Statement(
    update(items)
    .where(items.c.id == bindparam("item"))
    .values(size_bytes=bindparam("size"), mtime_ns=_MTIME, sidecars=bindparam("beside"))
)
COMPLETE = Statement(
    update(items)
    .where(items.c.id == bindparam("item"))
    .values(
        content_hash=bindparam("hash"),
        mtime_ns=bindparam("mtime"),
        complete=_ONE,
        **{name: bindparam(f"new_{name}") for name in _INFO},
    )
)
COPY_ITEM = Statement(
    insert(items).from_select(
        ["id", "size_bytes", "mtime_ns", *[column.name for column in _SHARED]],
        select(bindparam("new"), bindparam("size"), bindparam("mtime"), *_SHARED).where(
            items.c.id == bindparam("item"),
            _COMPLETE,
        ),
    )
)
COPY_SEGMENT = Statement(
    insert(segments).from_select(
        ["id", "item_id", *[column.name for column in _SEGMENT_SHARED]],
        select(bindparam("new"), bindparam("new_item"), *_SEGMENT_SHARED).where(segments.c.id == bindparam("old")),
    )
)
COPY_VECTORS = Statement(
    insert(vectors).from_select(
        ["segment_id", "collection_id", "embedding"],
        select(bindparam("new"), vectors.c.collection_id, vectors.c.embedding).where(
            vectors.c.segment_id == bindparam("old")
        ),
    )
)
FORGET = Statement(delete(failures).where(failures.c.root_id == bindparam("root"), failures.c.path == bindparam("raw")))
FORGET_OF_ITEM = Statement(
    delete(failures).where(
        select(items.c.id)
        .where(items.c.id == bindparam("item"), items.c.root_id == failures.c.root_id, items.c.path == failures.c.path)
        .exists()
    )
)
ADD_ITEM = Statement(insert(items))
ADD_SEGMENT = Statement(insert(segments))
ADD_VECTOR = Statement(insert(vectors))
ADD_FAILURE = Statement(insert(failures))
SEGMENTS_OF = (
    select(segments.c.item_id, segments.c.id)
    .where(segments.c.item_id.in_(bindparam("wanted", expanding=True)))
    .order_by(segments.c.item_id, segments.c.ordinal)
)
# The modality of an item that is not complete and the last of its ordinals, if it has any.
GROWING = select(
    items.c.modality,
    select(segments.c.ordinal)
    .where(segments.c.item_id == items.c.id)
    .order_by(segments.c.ordinal.desc())
    .limit(1)
    .scalar_subquery(),
).where(items.c.id == bindparam("item"), not_(_COMPLETE))
ENCODERS = text("SELECT name, dim FROM encoders ORDER BY id")
COLLECTION_KEY = text("SELECT id FROM collections WHERE encoder = :encoder AND modality = :modality")
LAST_ID = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
INDEX_PASSAGES = text(
    "INSERT INTO passages (rowid, text) SELECT id, text FROM segments WHERE id > :after AND text IS NOT NULL"
)
INDEX_WORDS = text(
    "INSERT INTO about (rowid, place, origin, notes) SELECT id, place, origin, notes FROM item_words WHERE id > :after"
)
