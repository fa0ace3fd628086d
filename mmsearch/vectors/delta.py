"""What the catalog has gained and lost since the index files were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.types import Watermark
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.hits import distinct, merge_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.vectors.snapshot import Snapshot

__all__ = ["Delta", "DeltaView"]

# Bytes of vectors that a delta keeps between searches; what goes beyond is read again by every search.
_KEPT_BYTES = 64 << 20


class Delta:
    """The vectors after a watermark and the ids removed after it, kept in step with the catalog.

    Args:
        dim: Length of the vectors.
        base: What the index files hold, or None where they are not used.
    """

    def __init__(self, dim: int, base: Watermark | None) -> None:
        self._dim = dim
        self._base = base
        self._state = base or Watermark(0, 0, 0)
        self._kept = ExactIndex(dim)
        self._last_id = self._state.last_segment_id
        self._all_kept = True
        self.removed: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def continues(self, snapshot: Snapshot | None, state: Watermark) -> bool:
        """Whether it belongs to these files, and to this catalog as it went on."""
        base = None if snapshot is None else snapshot.manifest.watermark
        same_catalog = self._state.catalog in ("", state.catalog)
        same_log = state.last_removal_id == self._state.last_removal_id
        return (
            self._base == base
            and same_catalog
            and state.last_removal_id >= self._state.last_removal_id
            and not (same_log and (state.count < self._state.count))
        )

    def at(self, source: VectorSource, state: Watermark) -> DeltaView:
        """Read what is new, for one thread at a time; `state` was taken before anything else was read from `source`.

        Returns:
            What any thread may search, which does not change any more.
        """
        if not (self._all_kept and state == self._state):
            if state.last_removal_id != self._state.last_removal_id:
                lost = source.removed_since(self._state.last_removal_id)
                self.removed = distinct(np.concatenate([self.removed, lost]))
                self._kept.remove(self.removed)
            room = _KEPT_BYTES // (2 * self._dim)
            self._all_kept = True
            for ids, vectors in source.read(self._last_id):
                if len(self._kept) + len(ids) > room:
                    self._all_kept = False
                    break
                self._kept.add(ids, vectors)
                self._last_id = int(ids[-1])
            self._state = state
        kept = ExactIndex(self._dim, self._kept.ids, self._kept.halves)
        return DeltaView(kept, self.removed, None if self._all_kept else self._last_id)


@dataclass(frozen=True, slots=True, eq=False)
class DeltaView:
    """A delta at one moment.

    Attributes:
        kept: New vectors that are held.
        removed: Ids that are gone since the watermark.
        beyond: Vectors after that id are not held, but read by every search; None where all are.
    """

    kept: ExactIndex
    removed: NDArray[np.int64]
    beyond: int | None

    def search(
        self, source: VectorSource, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.int64] | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Search the new vectors exactly: pairs of ids (m, k) and scores (m, k), of disjoint sets of vectors."""
        found = [self.kept.search(queries, k, allowed=allowed)]
        for ids, vectors in source.read(self.beyond) if self.beyond is not None else ():
            batch = ExactIndex(self.kept.dim)
            batch.add(ids, vectors)
            found = [merge_hits([*found, batch.search(queries, k, allowed=allowed)], k)]
        return found
