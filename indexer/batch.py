"""What the next transaction will store, and what has been stored so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.changes import Candidate
from indexer.loader import Prepared
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.types import Failure, NewItem, NewSegment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Batch", "Tally"]

# Changes that need no encoder are cheap, so more of them go into one transaction.
_CHEAP_CHANGES = 512


@dataclass(slots=True)
class Tally:
    """What has been stored so far; the numbers of `IndexSummary`."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    unchanged: int = 0
    embedded: int = 0
    skipped: list[Failure] = field(default_factory=list)
    encode_s: float = 0.0
    store_s: float = 0.0


@dataclass(slots=True)
class Batch:
    """What goes into the next transaction."""

    images: dict[bytes, tuple[Candidate, Prepared]] = field(default_factory=dict)
    duplicates: list[tuple[Candidate, bytes]] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    touched: list[Touch] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    failures: list[FailedFile] = field(default_factory=list)
    forgotten: list[tuple[int, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str) -> None:
        """Count a file, to be added to the tally when it is stored."""
        self.counts[what] = self.counts.get(what, 0) + 1

    @property
    def cheap_changes(self) -> int:
        """Changes that need no encoder."""
        return len(self.copies) + len(self.moves) + len(self.touched) + len(self.failures)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.images or self.cheap_changes or self.removed or self.forgotten)

    def full(self, batch_size: int) -> bool:
        """Whether it is time to write."""
        return len(self.images) >= batch_size or self.cheap_changes + len(self.duplicates) >= _CHEAP_CHANGES

    def items(self, embeddings: NDArray[np.float32]) -> list[NewItem]:
        """The images as they are stored, with their embeddings (n, dim) in the same order."""
        return [
            NewItem(
                modality=candidate.file.modality,
                segments=(NewSegment(embedding),),
                root_id=candidate.root_id,
                path=candidate.file.path,
                size_bytes=candidate.file.size_bytes,
                mtime_ns=candidate.file.mtime_ns,
                content_hash=digest,
                info=prepared.info,
            )
            for (digest, (candidate, prepared)), embedding in zip(self.images.items(), embeddings, strict=True)
        ]
