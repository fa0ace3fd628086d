"""Embeddings of new segments -> rows of float16 blobs, each in the collection of its encoder and modality."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, insert

from mmsearch.errors import EncoderError
from mmsearch.storage import statements as sql
from mmsearch.storage.encoders import mismatch
from mmsearch.storage.models import collections
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
    groups: defaultdict[tuple[str, Modality], list[tuple[int, NDArray[np.float32]]]] = defaultdict(list)
    for id_, segment in enumerate(segments, start=first):
        for encoder_id, embedding in segment.embeddings.items():
            groups[encoder_id, segment.modality].append((id_, embedding))
    if not groups:
        return []
    records = [EncoderRecord(name, dim) for name, dim in connection.execute(sql.ENCODERS)]
    dims = {record.id: record.dim for record in records}
    rows: list[Mapping[str, Any]] = []
    for (encoder_id, modality), group in groups.items():
        if encoder_id not in dims:
            raise mismatch(library, records, encoder_id)
        ids, embeddings = zip(*group, strict=True)
        blobs = _blobs(embeddings, encoder_id, dims[encoder_id])
        key = _key(connection, Collection(encoder_id, modality), dims[encoder_id])
        rows += [
            {"segment_id": id_, "collection_id": key, "embedding": blob} for id_, blob in zip(ids, blobs, strict=True)
        ]
    return rows


def _key(connection: Connection, collection: Collection, dim: int) -> int:
    place = {"encoder": collection.encoder_id, "modality": collection.modality.value}
    found = connection.execute(sql.COLLECTION_KEY, place).scalar()
    if found is None:
        connection.execute(insert(collections), {**place, "name": collection.name, "dim": dim})
        found = connection.execute(sql.COLLECTION_KEY, place).scalar_one()
    return int(found)


def _blobs(embeddings: Sequence[NDArray[np.float32]], encoder_id: str, dim: int) -> list[bytes]:
    if any(embedding.shape != (dim,) for embedding in embeddings):
        raise EncoderError(f"The encoder {encoder_id} returned embeddings that are not of length {dim}.")
    stacked: NDArray[np.float32] = np.stack(embeddings)  # n x (dim,) -> (n, dim)
    if not np.isfinite(stacked).all():
        raise EncoderError(f"The encoder {encoder_id} returned embeddings that are not finite numbers.")
    packed, width = stacked.astype(np.float16).tobytes(), 2 * dim
    return [packed[start : start + width] for start in range(0, len(packed), width)]
