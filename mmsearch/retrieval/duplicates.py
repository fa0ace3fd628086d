"""The items of a library -> groups of those that show the same picture, or whose files are the same."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.rerank.diversity import leaders, near_duplicate_cosine
from mmsearch.retrieval.looks import LIKENESS, likeness_of
from mmsearch.types import DuplicateGroup, Item, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder
    from mmsearch.storage.catalog import Catalog

__all__ = ["AMONG_HITS", "find_duplicates"]

AMONG_HITS = 1000
"""So many of the best hits of a query are compared with each other."""
# Photos of a library that are this much further apart are looked at too: looking tells copies from what is only like.
_LOOSER = 0.03
# Where a file cannot be looked at its embedding must be this close.
_UNSEEN = 0.97


def find_duplicates(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    *,
    item_ids: Iterable[int] | None = None,
    cosine: float | None = None,
    looking: bool = True,
) -> tuple[DuplicateGroup, ...]:
    """Group the items of a library that are near-duplicates, and those whose content is the same.

    The best of a group, by pixels and then by bytes, stands first, and each of the others is close to that one, so that
    no chain of small steps joins different pictures. Photos are compared by their embeddings, a block at a time, and
    those that come close by their looks, for which their files are read; anything else by its content.

    Args:
        catalog: The library's.
        encoders: The first of them that sees is asked.
        item_ids: Only these; all when None.
        cosine: From which two photos may be near-duplicates; None for what was measured for the encoder.
        looking: Read the files of photos that come close. Without it, and where a file is not there, their embeddings
            must be closer.

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
            cosine = near_duplicate_cosine(encoder.id) - _LOOSER if cosine is None else cosine
    owners, vectors = photos
    items = catalog.items([*owners, *same])
    groups: dict[int, list[tuple[int, float]]] = {}
    left = sorted(range(len(owners)), key=lambda row: _worth(items.get(owners[row])))
    while cosine is not None and left:
        heads = leaders(vectors[left], cosine)
        pairs = [(left[row], left[head]) for row, head in enumerate(heads.tolist()) if head != row]
        near = [float(vectors[row] @ vectors[head]) for row, head in pairs]
        named = [(owners[row], owners[head]) for row, head in pairs]
        kept = _alike(named, near, items, same, looking)
        for (id_, head), close, alike in zip(named, near, kept, strict=True):
            if alike:
                groups.setdefault(head, []).append((id_, close))
        # What only came close to another picture may be a copy of a third.
        left = [row for (row, _), alike in zip(pairs, kept, strict=True) if not alike]
    led = {id_ for head, others in groups.items() for id_ in (head, *(other for other, _ in others))}
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


def _alike(
    pairs: Sequence[tuple[int, int]],
    cosines: Sequence[float],
    items: Mapping[int, Item],
    same: Mapping[int, int],
    looking: bool,
) -> list[bool]:
    """Whether each of two photos whose embeddings are close is a near-duplicate of the other."""
    known = [id_ in same and same[id_] == same.get(head) for id_, head in pairs]
    looks: list[float | None] = [None] * len(pairs)
    if looking:
        asked = [place for place, alike in enumerate(known) if not alike]
        files = [tuple(items[id_].path if id_ in items else None for id_ in pairs[place]) for place in asked]
        for place, found in zip(asked, likeness_of([(one, other) for one, other in files]), strict=True):
            looks[place] = found
    return [
        alike or (cosine >= _UNSEEN if seen is None else seen >= LIKENESS)
        for alike, cosine, seen in zip(known, cosines, looks, strict=True)
    ]


def _photos(catalog: Catalog, encoder: Encoder, wanted: set[int] | None) -> tuple[list[int], NDArray[np.float32]]:
    """Photos of a library, and their embeddings (n, dim)."""
    source = catalog.vector_source(encoder.id, Modality.IMAGE)
    owners: list[int] = []
    blocks: list[NDArray[np.float32]] = []
    for ids, vectors in source.read():
        items = catalog.items_of_segments(ids)
        kept = [row for row, item in enumerate(items.tolist()) if item >= 0 and (wanted is None or item in wanted)]
        owners += items[kept].tolist()
        blocks.append(vectors[kept])
    return owners, np.concatenate(blocks) if blocks else np.empty((0, encoder.dim), np.float32)


def _worth(item: Item | None) -> tuple[int, int, int]:
    """Sorts the best first: the most pixels, then the most bytes, then the longest in the library."""
    if item is None:
        return 0, 0, sys.maxsize
    return -(item.info.width or 0) * (item.info.height or 0), -item.size_bytes, item.id
