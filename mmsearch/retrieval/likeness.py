"""What the library knows of how alike its items are: hits -> embeddings, leaders of near-duplicates, group names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.rerank.diversity import leaders, near_duplicate_cosine
from mmsearch.types import Hit, Item, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder
    from mmsearch.storage.catalog import Catalog

__all__ = ["UNDATED", "Likeness"]

UNDATED = "no date"
_NOWHERE = "no folder"


class Likeness:
    """Compares items by the embeddings that the catalog holds of them."""

    def __init__(self, catalog: Catalog, encoders: Sequence[Encoder]) -> None:
        """Compare items of `catalog` by the first of `encoders` that embedded them."""
        self._catalog = catalog
        self._encoders = encoders

    def vectors(self, hits: Sequence[Hit]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Embeddings (n, dim) of hits, zeros where there is none, and kinds (n,) of which each can be compared.

        A photo is compared by its picture, whatever of it was found; any other item by the segment that was found.
        """
        segments = [self._segment(hit) for hit in hits]
        dim = max(encoder.dim for encoder in self._encoders)
        rows = np.zeros((len(hits), dim), np.float32)
        kinds = np.full(len(hits), -1, np.int64)
        for number, encoder in enumerate(self._encoders):
            wanted = [id_ for id_, kind in zip(segments, kinds.tolist(), strict=True) if kind < 0]
            found, vectors = self._catalog.vectors(encoder.id, wanted)
            places = {id_: place for place, id_ in enumerate(found.tolist())}
            for row, (hit, segment) in enumerate(zip(hits, segments, strict=True)):
                if kinds[row] < 0 and segment in places:
                    rows[row, : encoder.dim] = vectors[places[segment]]
                    kinds[row] = number * len(Modality) + _KINDS.index(_kind(hit))
        return rows, kinds

    def leaders(self, hits: Sequence[Hit]) -> NDArray[np.int64]:
        """For each of n hits, best first, the first one that it is a near-duplicate of, or itself: (n,) places.

        Photos are near-duplicates that look the same, and files of any kind whose content is the same.
        """
        vectors, kinds = self.vectors(hits)
        heads = np.arange(len(hits))
        for number, encoder in enumerate(self._encoders):
            places = np.flatnonzero(kinds == number * len(Modality) + _KINDS.index(Modality.IMAGE))
            if len(places) > 1:
                heads[places] = places[leaders(vectors[places], near_duplicate_cosine(encoder.id))]
        hashes = self._catalog.content_hashes([hit.item_id for hit in hits])
        first: dict[bytes, int] = {}
        for place, hit in enumerate(hits):
            content = hashes.get(hit.item_id)
            if content is not None and heads[place] == place:
                heads[place] = first.setdefault(content, place)
        return heads[heads]

    def groups(self, hits: Sequence[Hit], group_by: str) -> list[str]:
        """The name of each hit's group: ``2023-06-01``, ``2023-06``, or the path of its folder."""
        if group_by == "folder":
            return [_NOWHERE if hit.path is None else os.fspath(hit.path.parent) for hit in hits]
        items = self._catalog.items([hit.item_id for hit in hits])
        length = len("2023-06" if group_by == "month" else "2023-06-01")
        return [_day(items.get(hit.item_id))[:length] for hit in hits]

    def _segment(self, hit: Hit) -> int:
        if _kind(hit) is not Modality.IMAGE or hit.matched in (None, Modality.IMAGE):
            return hit.segment_id
        own = (part.id for part in self._catalog.segments_of(hit.item_id) if part.modality is Modality.IMAGE)
        return next(own, hit.segment_id)


_KINDS = tuple(Modality)


def _kind(hit: Hit) -> Modality:
    return Modality.IMAGE if hit.modality is Modality.IMAGE else hit.matched or hit.modality


def _day(item: Item | None) -> str:
    """When it was taken, or where no camera tells, when the file was changed last."""
    if item is None:
        return UNDATED
    taken = item.info.taken_at
    if taken is None and item.path is not None:
        taken = datetime.fromtimestamp(item.mtime_ns / 1e9)
    return UNDATED if taken is None else f"{taken:%Y-%m-%d}"
