"""Embeddings of new segments -> rows of float16 blobs, each in the collection of its encoder and modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert, select

from mmsearch.errors import EncoderError
from mmsearch.storage.encoders import mismatch
from mmsearch.storage.models import collections, encoders
from mmsearch.types import Collection, EncoderRecord, Modality, NewSegment

__all__ = ["vector_rows"]


def vector_rows(
    connection: Connection, library: Path, first: int, segments: Sequence[NewSegment]
) -> list[Mapping[str, Any]]:
    """Rows of the table of vectors; a collection is made when it is first needed.

    Args:
        connection: With a transaction open.
        library: Folder of the library, for messages.
        first: Id of the first segment; those of the others follow.
        segments: With embeddings of any of the library's encoders, or none.

    Raises:
        EncoderMismatchError: The library was not made with an encoder.
        EncoderError: An embedding is of the wrong length or not finite.
    """
    groups: dict[tuple[str, Modality], tuple[list[int], list[NDArray[np.float32]]]] = {}
    for id_, segment in enumerate(segments, start=first):
        for encoder_id, embedding in segment.embeddings.items():
            ids, embeddings = groups.setdefault((encoder_id, segment.modality), ([], []))
            ids.append(id_)
            embeddings.append(embedding)
    if not groups:
        return []
    found = connection.execute(select(encoders.c.name, encoders.c.dim).order_by(encoders.c.id))
    records = [EncoderRecord(name, dim) for name, dim in found]
    dims = {record.id: record.dim for record in records}
    rows: list[Mapping[str, Any]] = []
    for (encoder_id, modality), (ids, embeddings) in groups.items():
        if encoder_id not in dims:
            raise mismatch(library, records, encoder_id)
        blobs = _blobs(embeddings, encoder_id, dims[encoder_id])
        key = _key(connection, Collection(encoder_id, modality), dims[encoder_id])
        rows += [
            {"segment_id": id_, "collection_id": key, "embedding": blob} for id_, blob in zip(ids, blobs, strict=True)
        ]
    return rows


def _key(connection: Connection, collection: Collection, dim: int) -> int:
    found = connection.execute(
        select(collections.c.id).where(
            collections.c.encoder == collection.encoder_id, collections.c.modality == collection.modality.value
        )
    ).scalar()
    if found is None:
        values = {
            "name": collection.name,
            "dim": dim,
            "encoder": collection.encoder_id,
            "modality": collection.modality.value,
        }
        (found,) = connection.execute(insert(collections), values).inserted_primary_key or (None,)
    assert found is not None
    return int(found)


def _blobs(embeddings: Sequence[NDArray[np.float32]], encoder_id: str, dim: int) -> list[bytes]:
    if any(embedding.shape != (dim,) for embedding in embeddings):
        raise EncoderError(f"The encoder {encoder_id} returned embeddings that are not of length {dim}.")
    stacked: NDArray[np.float32] = np.stack(embeddings)  # n x (dim,) -> (n, dim)
    if not np.isfinite(stacked).all():
        raise EncoderError(f"The encoder {encoder_id} returned embeddings that are not finite numbers.")
    packed, width = stacked.astype(np.float16).tobytes(), 2 * dim
    return [packed[start : start + width] for start in range(0, len(packed), width)]
