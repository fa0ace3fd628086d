"""Makes items and libraries for the tests of the catalog."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.protocols import VectorSource
from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, MediaInfo, Modality, NewItem, NewSegment

ENCODER = "test-encoder"
DIM = 8
RECORD = EncoderRecord(ENCODER, DIM)
OTHER = "other-encoder"
OTHER_DIM = 5
OTHER_RECORD = EncoderRecord(OTHER, OTHER_DIM)


def embedding(seed: int, dim: int = DIM) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


def mixed_segment(content: int, ordinal: int) -> NewSegment:
    """What a content has at a place: an image, passages of both encoders, of one and of none, a window of the other."""
    seed, kind = content * 100 + ordinal, ordinal % 5
    text = f"content {content} word{ordinal} née" if kind in (1, 2, 4) else None
    return NewSegment(
        (Modality.IMAGE, Modality.TEXT, Modality.TEXT, Modality.AUDIO, Modality.TEXT)[kind],
        {
            encoder: embedding(seed, dim)
            for encoder, dim, kinds in ((ENCODER, DIM, (0, 1, 2)), (OTHER, OTHER_DIM, (1, 3)))
            if kind in kinds
        },
        text=text,
        page=ordinal,
    )


def image_source(catalog: Catalog) -> VectorSource:
    return catalog.vector_source(ENCODER, Modality.IMAGE)


def new_segment(seed: int, modality: Modality = Modality.IMAGE, **more: Any) -> NewSegment:
    return NewSegment(modality, {ENCODER: embedding(seed)}, **more)


def content_hash(content: int) -> bytes:
    return hashlib.blake2b(str(content).encode(), digest_size=16).digest()


def new_item(
    root_id: int | None,
    path: str | None,
    content: int = 0,
    *,
    segments: int = 1,
    modality: Modality = Modality.IMAGE,
    embedded_as: Modality | None = None,
    mtime_ns: int = 1,
    info: MediaInfo | None = None,
    **more: Any,
) -> NewItem:
    """An item whose hash and embeddings follow from a number that stands for its content."""
    return NewItem(
        modality=modality,
        segments=tuple(
            new_segment(
                content * 100 + ordinal, embedded_as or modality, start_ms=ordinal * 1000 if segments > 1 else None
            )
            for ordinal in range(segments)
        ),
        root_id=root_id,
        path=path,
        size_bytes=content,
        mtime_ns=mtime_ns,
        content_hash=content_hash(content),
        info=info or MediaInfo(),
        **more,
    )


def library_with(folder: Path, paths: list[str], *, root: Path | None = None) -> Path:
    """A library of one root with an item for each path; it is closed."""
    with Catalog.open(folder, create=True) as catalog:
        catalog.register_encoders([RECORD])
        root_id = catalog.add_root(root or Path("/photos")).id
        catalog.write(items=[new_item(root_id, path, number) for number, path in enumerate(paths, start=1)])
    return folder
