"""The changes to a library beside new items: copies, moves, touched and unreadable files, and items that grow."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmsearch.types import MediaInfo, NewSegment

__all__ = ["UNFINISHED_NS", "Completion", "Copy", "FailedFile", "Move", "Part", "Touch"]

UNFINISHED_NS = -1
"""The time under which an item is stored while it grows: an interrupted run leaves one that looks changed."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A file with the content of a stored item; becomes an item of its own that shares the embeddings.

    Attributes:
        source_item_id: The item whose segments, vectors, info and metadata are copied.
        root_id, path: Where the new file lies, relative to its root.
        size_bytes, mtime_ns, sidecars: Of the new file.
    """

    source_item_id: int
    root_id: int
    path: str
    size_bytes: int
    mtime_ns: int
    sidecars: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A stored item whose file lies elsewhere now."""

    item_id: int
    root_id: int
    path: str
    mtime_ns: int
    sidecars: int = 0


@dataclass(frozen=True, slots=True)
class Touch:
    """A stored item whose file was written again with the same content."""

    item_id: int
    size_bytes: int
    mtime_ns: int
    sidecars: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """More segments of an item that was stored before; their ordinals go on from those it has."""

    item_id: int
    segments: tuple[NewSegment, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """An item that has all its segments now, with what was left open while it grew.

    Attributes:
        content_hash, mtime_ns: Of its file.
        info: What was read from the file; takes the place of what the item had.
    """

    item_id: int
    content_hash: bytes | None
    mtime_ns: int
    info: MediaInfo = field(default_factory=MediaInfo)


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that cannot be read, remembered so that it is not tried again before it changes."""

    root_id: int
    path: str
    size_bytes: int
    mtime_ns: int
    reason: str
    sidecars: int = 0
