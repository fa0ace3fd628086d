"""The tables of the catalog, as SQLAlchemy sees them; `migrations` makes them.

Types are plain on purpose: values are brought into the shape that SQLite stores before they get here, which keeps
writing a batch fast.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, ForeignKey, Integer, LargeBinary, MetaData, Table, Text, UniqueConstraint

__all__ = [
    "changes",
    "collections",
    "encoders",
    "failures",
    "items",
    "meta",
    "metadata",
    "removals",
    "roots",
    "segments",
    "vectors",
]

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

encoders = Table(
    "encoders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("dim", Integer, nullable=False),
)

collections = Table(
    "collections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("dim", Integer, nullable=False),
    Column("vector_count", Integer, nullable=False, server_default="0"),
    Column("last_segment_id", Integer, nullable=False, server_default="0"),
    Column("encoder", Text, nullable=False, server_default=""),
    Column("modality", Text, nullable=False, server_default="image"),
    Column("last_removal_id", Integer, nullable=False, server_default="0"),
)

roots = Table(
    "roots",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("path", LargeBinary, nullable=False, unique=True),
    Column("relative", LargeBinary),
    sqlite_autoincrement=True,
)

items = Table(
    "items",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("modality", Text, nullable=False),
    Column("root_id", Integer, ForeignKey("roots.id", ondelete="CASCADE")),
    Column("path", LargeBinary),
    Column("key", Text, unique=True),
    Column("size_bytes", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("content_hash", LargeBinary),
    Column("width", Integer),
    Column("height", Integer),
    Column("taken_at", Text),
    Column("camera", Text),
    Column("latitude", Float),
    Column("longitude", Float),
    Column("duration_ms", Integer),
    Column("metadata", Text),
    Column("sidecars", Integer, nullable=False, server_default="0"),
    Column("complete", Integer, nullable=False, server_default="1"),
    Column("notes", Text),
    UniqueConstraint("root_id", "path"),
    sqlite_autoincrement=True,
)

segments = Table(
    "segments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", Integer, ForeignKey("items.id", ondelete="CASCADE"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("start_ms", Integer),
    Column("end_ms", Integer),
    Column("start_char", Integer),
    Column("end_char", Integer),
    Column("text", Text),
    Column("modality", Text, nullable=False, server_default="image"),
    Column("item_modality", Text),
    Column("page", Integer),
    Column("shot", Integer),
    UniqueConstraint("item_id", "ordinal"),
    sqlite_autoincrement=True,
)

vectors = Table(
    "vectors",
    metadata,
    Column("segment_id", Integer, ForeignKey("segments.id", ondelete="CASCADE"), primary_key=True),
    Column("collection_id", Integer, ForeignKey("collections.id"), primary_key=True),
    Column("embedding", LargeBinary, nullable=False),
)

removals = Table(
    "removals",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("segment_id", Integer, nullable=False),
    Column("collection_id", Integer, ForeignKey("collections.id")),
    sqlite_autoincrement=True,
)

changes = Table(
    "changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("item_id", Integer, nullable=False),
    sqlite_autoincrement=True,
)

failures = Table(
    "failures",
    metadata,
    Column("root_id", Integer, ForeignKey("roots.id", ondelete="CASCADE"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("sidecars", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)
