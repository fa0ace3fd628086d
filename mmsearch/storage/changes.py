"""The changes to a library that need no decoding: copies, moves, touched files and files that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Copy", "FailedFile", "Move", "Touch"]


@dataclass(frozen=True, slots=True)
class Copy:
    """A file with the content of a stored item; becomes an item of its own that shares the embeddings.

    Attributes:
        source_item_id: The item whose segments, vectors, info and metadata are copied.
        root_id, path: Where the new file lies, relative to its root.
        size_bytes, mtime_ns: Of the new file.
    """

    source_item_id: int
    root_id: int
    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Move:
    """A stored item whose file lies elsewhere now."""

    item_id: int
    root_id: int
    path: str
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Touch:
    """A stored item whose file was written again with the same content."""

    item_id: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that cannot be read, remembered so that it is not tried again before it changes."""

    root_id: int
    path: str
    size_bytes: int
    mtime_ns: int
    reason: str
