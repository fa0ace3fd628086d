"""Vectors for scoring shortlists again: from the catalog, and from memory in a process that asks for very many."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.halves import to_halves
from mmsearch.vectors.hits import contains, distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.types import Watermark

__all__ = ["Resident"]

# Looking a vector up in the catalog takes about two and a half times as long as reading it with all the others: after
# so large a share of them has been looked up, reading all would have been cheaper.
_SHARE = 0.4
# Nor are more held than so many bytes, and a part of the machine's memory.
_MOST_BYTES = 2 << 30
_PART_OF_MEMORY = 8


class Resident:
    """Stored vectors by their ids; safe to use from many threads.

    Args:
        dim: Length of the vectors.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._lock = threading.Lock()
        self._asked = 0
        self._mark: Watermark | None = None
        self._ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._halves: NDArray[np.float16] = np.empty((0, dim), dtype=np.float16)

    def fetch(self, source: VectorSource, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Those of the sorted `ids` that exist, and their vectors in half precision."""
        state = source.watermark()
        with self._lock:
            self._asked += len(ids)
            if self._worth(state):
                self._bring_up(source, state)
            mark, held, halves = self._mark, self._ids, self._halves
        if mark is None or mark.last_removal_id > state.last_removal_id:
            known, vectors = source.fetch(ids)
            return known, to_halves(vectors)
        here = contains(held, ids)
        found = ids[here]
        places = np.searchsorted(held, found)
        later = ids[ids > mark.last_segment_id]
        if len(later) == 0:
            return found, halves[places]
        known, vectors = source.fetch(later)
        return np.concatenate([found, known]), np.concatenate([halves[places], to_halves(vectors)])

    def _worth(self, state: Watermark) -> bool:
        if self._mark is not None:
            return True
        fits = 2 * self._dim * state.count <= min(_MOST_BYTES, _memory_bytes() // _PART_OF_MEMORY)
        return fits and self._asked > _SHARE * state.count

    def _bring_up(self, source: VectorSource, state: Watermark) -> None:
        """Read what is lacking, drop what was removed; what comes after `state` is left to a later call."""
        mark = self._mark
        if mark is not None and mark == state and mark.catalog == state.catalog:
            return
        if mark is not None and mark.catalog == state.catalog and mark.last_removal_id > state.last_removal_id:
            return  # another thread has seen more of the catalog than this one
        if mark is None or mark.catalog != state.catalog:
            self._ids, self._halves = np.empty(0, dtype=np.int64), np.empty((0, self._dim), dtype=np.float16)
            parts = [(ids, to_halves(vectors)) for ids, vectors in source.read()]
        else:
            if mark.last_removal_id != state.last_removal_id:
                kept = ~contains(distinct(source.removed_since(mark.last_removal_id)), self._ids)
                if not kept.all():
                    self._ids, self._halves = self._ids[kept], self._halves[kept]
            if state.last_segment_id - mark.last_segment_id < _SHARE * max(1, len(self._ids)) / 8:
                self._mark = _until(state, mark.last_segment_id)
                return
            parts = [(ids, to_halves(vectors)) for ids, vectors in source.read(mark.last_segment_id)]
        if parts:
            self._ids = np.concatenate([self._ids, *(ids for ids, _ in parts)])
            self._halves = np.concatenate([self._halves, *(halves for _, halves in parts)])
        self._mark = _until(state, int(self._ids[-1]) if len(self._ids) else 0)


def _until(state: Watermark, last_segment_id: int) -> Watermark:
    """A state of the catalog of which the vectors up to an id are held."""
    from dataclasses import replace

    return replace(state, last_segment_id=last_segment_id)


def _memory_bytes() -> int:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 8 << 30
