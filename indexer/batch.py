"""What the next transaction will store, and what has been stored so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.changes import Candidate
from indexer.prepared import PreparedSegment
from mmsearch.storage.changes import Completion, Copy, FailedFile, Move, Part, Touch
from mmsearch.types import Failure, MediaInfo, Modality, NewItem, NewSegment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Batch", "Entry", "Tally"]

# Changes that need no encoder are cheap, so more of them go into one transaction; texts are cheaper than pictures.
_CHEAP_CHANGES = 512
_TEXTS_FOR_AN_IMAGE = 16


@dataclass(slots=True)
class Tally:
    """What has been stored so far; the numbers of `IndexSummary`."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    unchanged: int = 0
    embedded: Counter[str] = field(default_factory=Counter)
    skipped: list[Failure] = field(default_factory=list)
    remarks: dict[str, None] = field(default_factory=dict)
    encode_s: float = 0.0
    store_s: float = 0.0


@dataclass(slots=True, eq=False)
class Entry:
    """A file whose segments are stored, over as many transactions as it takes.

    Attributes:
        segments: Those that the next transaction stores.
        item_id: The item, once the first of them are stored.
        complete: No more segments follow.
    """

    candidate: Candidate
    content_hash: bytes
    info: MediaInfo
    segments: list[PreparedSegment] = field(default_factory=list)
    item_id: int | None = None
    complete: bool = False

    def new_item(self, segments: tuple[NewSegment, ...]) -> NewItem:
        """The item as it is stored at first."""
        file = self.candidate.file
        return NewItem(
            modality=file.modality,
            segments=segments,
            root_id=self.candidate.root_id,
            path=file.path,
            size_bytes=file.size_bytes,
            mtime_ns=file.mtime_ns,
            content_hash=self.content_hash,
            info=self.info,
            sidecars=file.sidecars,
            complete=self.complete,
        )


@dataclass(slots=True)
class Batch:
    """What goes into the next transaction."""

    entries: dict[bytes, Entry] = field(default_factory=dict)
    duplicates: list[tuple[Candidate, bytes]] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    touched: list[Touch] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    failures: list[FailedFile] = field(default_factory=list)
    forgotten: list[tuple[int, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _load: float = 0.0

    def add(self, entry: Entry, segment: PreparedSegment) -> None:
        """Add a segment to one of the entries."""
        entry.segments.append(segment)
        self._load += 1 / _TEXTS_FOR_AN_IMAGE if segment.modality is Modality.TEXT else 1

    def count(self, what: str) -> None:
        """Count a file, to be added to the tally when it is stored."""
        self.counts[what] = self.counts.get(what, 0) + 1

    @property
    def segments(self) -> Iterator[PreparedSegment]:
        """All segments, in the order in which `stored` takes their embeddings and the catalog gives them ids."""
        return (segment for entry in self._ordered for segment in entry.segments)

    @property
    def _ordered(self) -> list[Entry]:
        """New items come before parts of those that are stored in part."""
        return sorted(self.entries.values(), key=lambda entry: entry.item_id is not None)

    @property
    def cheap_changes(self) -> int:
        """Changes that need no encoder."""
        return len(self.copies) + len(self.moves) + len(self.touched) + len(self.failures)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.entries or self.cheap_changes or self.removed or self.forgotten)

    def full(self, batch_size: int) -> bool:
        """Whether it is time to write."""
        return self._load >= batch_size or self.cheap_changes + len(self.duplicates) >= _CHEAP_CHANGES

    def stored(
        self, embeddings: Sequence[Mapping[str, NDArray[np.float32]]]
    ) -> tuple[list[NewItem], list[Part], list[Completion]]:
        """The entries as they are stored.

        Args:
            embeddings: Of each of `segments`, by encoder.
        """
        items: list[NewItem] = []
        parts: list[Part] = []
        completed: list[Completion] = []
        found = iter(embeddings)
        for entry in self._ordered:
            segments = tuple(segment.embedded(next(found)) for segment in entry.segments)
            if entry.item_id is None:
                items.append(entry.new_item(segments))
                continue
            if segments:
                parts.append(Part(entry.item_id, segments))
            if entry.complete:
                file = entry.candidate.file
                completed.append(Completion(entry.item_id, entry.content_hash, file.mtime_ns, entry.info))
        return items, parts, completed
