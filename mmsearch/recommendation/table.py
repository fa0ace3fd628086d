"""The items of one collection as arrays: which there are, and the vector of each; kept in step with the library."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.types import Modality, Watermark

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.retrieval.batch import BatchRetriever

__all__ = ["ItemTable", "Items"]


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """The items of a collection at one moment; a row is one item.

    Attributes:
        ids: (n,) item ids, ascending.
        halves: (n, dim) float16, L2-normalised: of an item with several segments the direction of their mean.
        segments: (s,) segment ids, ascending.
        rows: (s,) the row of the item that each segment belongs to.
        known: Keys -> rows, filled as keys are asked for.
    """

    ids: NDArray[np.int64]
    halves: NDArray[np.float16]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]
    known: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.ids)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(..., dim) float32 of rows (...)."""
        return self.halves[rows].astype(np.float32)

    def rows_of_segments(self, segments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows (...) of segments (...), -1 where a segment is none of them."""
        if len(self.segments) == 0:
            return np.full(segments.shape, -1, np.int64)
        places = np.searchsorted(self.segments, segments)
        places[places == len(self.segments)] = 0
        return np.where(self.segments[places] == segments, self.rows[places], -1)

    def rows_of_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows (n,) of item ids (n,), -1 where there is none."""
        if len(self.ids) == 0:
            return np.full(len(ids), -1, np.int64)
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        return np.where(self.ids[places] == ids, places, -1)


class ItemTable:
    """Gives the items as the library has them now; reads what is new only.

    Args:
        arrays: Of the engine.
        modality: Which collection; the largest when None.
    """

    def __init__(self, arrays: BatchRetriever, modality: Modality | None) -> None:
        self.arrays = arrays
        self._asked = modality
        self._lock = threading.Lock()
        self._mark: Watermark | None = None
        self._items = Items(*(np.empty(0, np.int64), np.empty((0, arrays.encoder.dim), np.float16)), *_none())
        self._owners: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def modality(self) -> Modality:
        """Of the collection.

        Raises:
            UsageError: The library holds none.
        """
        if self._asked is None:
            counts = {
                record.modality: record.count
                for record in self.arrays.catalog.collections()
                if record.encoder_id == self.arrays.encoder.id
            }
            if not counts:
                raise UsageError("There is nothing in the library yet.", hint="Add items with SearchEngine.add.")
            self._asked = max(counts, key=lambda modality: counts[modality])
        return self._asked

    def now(self) -> Items:
        """The items as they are now."""
        arrays, modality = self.arrays, self.modality
        source = arrays.catalog.vector_source(arrays.encoder.id, modality)
        with self._lock:
            state, mark = source.watermark(), self._mark
            if mark == state and mark is not None and mark.catalog == state.catalog:
                return self._items
            segments, owners = self._items.segments, self._owners
            if mark is None or mark.catalog != state.catalog or mark.last_removal_id > state.last_removal_id:
                segments, owners, mark = np.empty(0, np.int64), np.empty(0, np.int64), Watermark(0, 0, 0)
            elif mark.last_removal_id != state.last_removal_id:
                kept = ~np.isin(segments, source.removed_since(mark.last_removal_id))
                segments, owners = segments[kept], owners[kept]
            new, new_owners = arrays.catalog.collection_items(arrays.encoder.id, modality, mark.last_segment_id)
            # What came after the state was asked for is left to the next time.
            count = int(np.searchsorted(new, state.last_segment_id, side="right"))
            segments = np.concatenate([segments, new[:count]])
            self._owners = np.concatenate([owners, new_owners[:count]])
            self._items, self._mark = self._made(segments), state
            return self._items

    def _made(self, segments: NDArray[np.int64]) -> Items:
        arrays, owners = self.arrays, self._owners
        source = arrays.catalog.vector_source(arrays.encoder.id, self.modality)
        store = arrays.stores(arrays.encoder, self.modality)
        there, halves = store.vectors(source, segments)
        if len(there) != len(segments):  # some were removed in this moment
            kept = np.isin(segments, there)
            segments, owners = segments[kept], owners[kept]
            self._owners = owners
        ids, rows = np.unique(owners, return_inverse=True)
        if len(ids) == len(segments):
            order = np.argsort(rows, kind="stable")
            in_order = bool((order == np.arange(len(order))).all())
            return Items(ids, halves if in_order else halves[order], segments, rows)
        order = np.argsort(rows, kind="stable")
        firsts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        means = np.empty((len(ids), halves.shape[1]), np.float16)
        ends = np.append(firsts[1:], len(order))
        for low in range(0, len(ids), _TOGETHER):
            some = slice(low, low + _TOGETHER)
            begin, end = firsts[some][0], ends[some][-1]
            sums = np.add.reduceat(halves[order[begin:end]].astype(np.float32), firsts[some] - begin, axis=0)
            means[some] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
        return Items(ids, means, segments, rows)

    def rows_of_keys(self, items: Items, keys: Iterable[str]) -> NDArray[np.int64]:
        """Rows (n,) of items by their keys or the paths of their files, -1 where there is none."""
        names = list(keys)
        unknown = list({name for name in names if name not in items.known})
        if unknown:
            found = items.rows_of_ids(self.arrays.catalog.ids_of_keys(unknown))
            items.known.update(zip(unknown, found.tolist(), strict=True))
        known = items.known
        return np.fromiter((known[name] for name in names), np.int64, len(names))


# Items whose segments are averaged at a time.
_TOGETHER = 16384


def _none() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.empty(0, np.int64), np.empty(0, np.int64)
