"""What the catalog has gained and lost since the index files were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.types import Watermark
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.hits import distinct, merge_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.vectors.snapshot import Snapshot

__all__ = ["Delta"]

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

    def search(
        self,
        source: VectorSource,
        state: Watermark,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None,
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Read what is new, then search it exactly; `state` was taken before anything else was read from `source`.

        Returns:
            Pairs of ids (m, k) and scores (m, k), best first, of disjoint sets of vectors.
        """
        if self._all_kept and state == self._state:
            return [self._kept.search(queries, k, allowed=allowed)]
        if state.last_removal_id != self._state.last_removal_id:
            lost = source.removed_since(self._state.last_removal_id)
            self.removed = distinct(np.concatenate([self.removed, lost]))
            self._kept.remove(self.removed)
        room = _KEPT_BYTES // (2 * self._dim)
        self._all_kept = True
        best = []
        for ids, vectors in source.read(self._last_id):
            if self._all_kept and len(self._kept) + len(ids) <= room:
                self._kept.add(ids, vectors)
                self._last_id = int(ids[-1])
                continue
            self._all_kept = False
            batch = ExactIndex(self._dim)
            batch.add(ids, vectors)
            best.append(batch.search(queries, k, allowed=allowed))
            best = [merge_hits(best, k)]
        self._state = state
        best.append(self._kept.search(queries, k, allowed=allowed))
        return best
