"""The items of a library -> groups of those that show the same picture, or whose files are the same."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.rerank.diversity import leaders, near_duplicate_cosine
from mmsearch.types import DuplicateGroup, Item, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder
    from mmsearch.storage.catalog import Catalog

__all__ = ["AMONG_HITS", "find_duplicates"]

AMONG_HITS = 1000
"""So many of the best hits of a query are compared with each other."""
# What a group of a library needs beyond what hits of one query need: among many photos more pairs are alike by chance.
_STRICTER = 0.01


def find_duplicates(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    *,
    item_ids: Iterable[int] | None = None,
    cosine: float | None = None,
) -> tuple[DuplicateGroup, ...]:
    """Group the items of a library that are near-duplicates, and those whose content is the same.

    The best of a group, by pixels and then by bytes, stands first, and each of the others is close to that one, so that
    no chain of small steps joins different pictures. Photos are compared by their embeddings, a block at a time;
    anything else by its content.

    Args:
        catalog: The library's.
        encoders: The first of them that sees is asked.
        item_ids: Only these; all when None.
        cosine: From which two photos are near-duplicates; None for what was measured for the encoder.

    Returns:
        Groups of two or more, those first whose others take the most bytes.
    """
    wanted = None if item_ids is None else set(item_ids)
    copies = [group if wanted is None else tuple(id_ for id_ in group if id_ in wanted) for group in catalog.copies()]
    same = {id_: number for number, group in enumerate(copies) for id_ in group if len(group) > 1}
    photos: tuple[list[int], NDArray[np.float32]] = ([], np.empty((0, 1), np.float32))
    seen = {record.encoder_id for record in catalog.collections() if record.modality is Modality.IMAGE}
    for encoder in encoders:
        if encoder.id in seen and not photos[0]:
            photos = _photos(catalog, encoder, wanted)
            cosine = near_duplicate_cosine(encoder.id) + _STRICTER if cosine is None else cosine
    owners, vectors = photos
    items = catalog.items([*owners, *same])
    order = sorted(range(len(owners)), key=lambda row: _worth(items.get(owners[row])))
    ranked = [owners[row] for row in order]
    heads = leaders(vectors[order], cosine) if cosine is not None else np.arange(len(ranked))
    groups: dict[int, list[tuple[int, float]]] = {}
    rows = np.flatnonzero(heads != np.arange(len(heads)))
    led = {ranked[row] for row in (*rows.tolist(), *heads[rows].tolist())}
    for row in rows.tolist():
        cosines = float(vectors[order[row]] @ vectors[order[heads[row]]])
        groups.setdefault(ranked[heads[row]], []).append((ranked[row], cosines))
    for group in copies:
        alone = sorted((id_ for id_ in group if id_ in items and id_ not in led), key=lambda id_: _worth(items[id_]))
        if len(alone) > 1:
            groups[alone[0]] = [(id_, 1.0) for id_ in alone[1:]]
    made = [
        DuplicateGroup(
            items=(items[head], *(items[id_] for id_, _ in others)),
            cosines=(1.0, *(min(1.0, like) for _, like in others)),
            same_content=(True, *(head in same and same.get(id_) == same[head] for id_, _ in others)),
        )
        for head, others in groups.items()
        if head in items and all(id_ in items for id_, _ in others)
    ]
    return tuple(sorted(made, key=lambda group: (-group.spare_bytes, group.items[0].id)))


def _photos(catalog: Catalog, encoder: Encoder, wanted: set[int] | None) -> tuple[list[int], NDArray[np.float32]]:
    """Photos of a library, and their embeddings (n, dim)."""
    source = catalog.vector_source(encoder.id, Modality.IMAGE)
    owners: list[int] = []
    blocks: list[NDArray[np.float32]] = []
    for ids, vectors in source.read():
        of_item = catalog.items_of(ids.tolist())
        kept = [
            (row, of_item[id_])
            for row, id_ in enumerate(ids.tolist())
            if id_ in of_item and (wanted is None or of_item[id_] in wanted)
        ]
        owners += [owner for _, owner in kept]
        blocks.append(vectors[[row for row, _ in kept]])
    return owners, np.concatenate(blocks) if blocks else np.empty((0, encoder.dim), np.float32)


def _worth(item: Item | None) -> tuple[int, int, int]:
    """Sorts the best first: the most pixels, then the most bytes, then the longest in the library."""
    if item is None:
        return 0, 0, sys.maxsize
    return -(item.info.width or 0) * (item.info.height or 0), -item.size_bytes, item.id
