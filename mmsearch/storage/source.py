"""The vectors of one collection, read from the catalog: segment ids and normalised float32 arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.storage.encoders import dim_of
from mmsearch.storage.session import Session
from mmsearch.types import Collection, Modality, Watermark

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CatalogVectors", "key_of", "select_segments", "vectors_of"]

# Rows that are held beside the arrays that are filled from them.
PORTION = 8192

_AFTER = """SELECT segment_id, embedding FROM vectors
    WHERE segment_id > ? AND collection_id = ? ORDER BY segment_id LIMIT ?"""
_AMONG = "SELECT segment_id, embedding FROM vectors WHERE collection_id IN ({keys}) AND segment_id IN ({{ids}})"
_MARK = """SELECT value, last_segment_id, last_removal_id, vector_count
    FROM meta LEFT JOIN collections ON collections.id = ? WHERE key = 'library_id'"""


class CatalogVectors:
    """A `VectorSource` over a catalog; empty where the encoder has no vectors of the modality yet.

    Raises:
        EncoderMismatchError: The library was not made with the encoder.
    """

    def __init__(self, session: Session, collection: Collection) -> None:
        self._session = session
        self._collection = collection
        self._dim = dim_of(session, collection.encoder_id)
        self._found: int | None = None

    @property
    def encoder_id(self) -> str:
        """The name of the collection."""
        return self._collection.name

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._dim

    @property
    def _key(self) -> int:
        # A collection comes into being with its first vector, which may be stored after this was made.
        if self._found is None:
            self._found = key_of(self._session, self._collection)
        return -1 if self._found is None else self._found

    def watermark(self) -> Watermark:
        """How far the catalog has got."""
        ((catalog, last_segment, last_removal, count),) = self._session.rows(_MARK, (self._key,))
        return Watermark(last_segment or 0, last_removal or 0, count or 0, catalog)

    def read(
        self, after_segment_id: int = 0, batch_size: int = 65536
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield segment ids (n,) and vectors (n, dim) in ascending order of ids.

        Each batch is a statement of its own, so a slow caller holds up no writer; what is committed meanwhile comes
        along. Inside `Catalog.snapshot` all batches show one state.
        """
        last, more = after_segment_id, True
        while more:
            ids, vectors = np.empty(batch_size, np.int64), np.empty((batch_size, self._dim), np.float32)
            count = 0
            while more and count < batch_size:
                wanted = min(PORTION, batch_size - count)
                rows = self._session.rows(_AFTER, (last, self._key, wanted))
                if rows:
                    ids[count : count + len(rows)], vectors[count : count + len(rows)] = _arrays(rows, self._dim)
                    last = rows[-1][0]
                count += len(rows)
                more = len(rows) == wanted
            if count:
                yield ids[:count], vectors[:count]

    def fetch(self, ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Look up the vectors (n, dim) of those of the ids that exist, in ascending order of ids."""
        return _fetch(self._session, [self._key], self._dim, ids)

    def removed_since(self, removal_id: int) -> NDArray[np.int64]:
        """Segment ids whose vectors were removed after that entry of the log."""
        rows = self._session.rows(
            "SELECT segment_id FROM removals WHERE id > ? AND collection_id = ? ORDER BY id", (removal_id, self._key)
        )
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def vectors_of(session: Session, encoder_id: str, ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Look up vectors of an encoder, of whichever modality; see `CatalogVectors.fetch`."""
    dim = dim_of(session, encoder_id)
    keys = [key for (key,) in session.rows("SELECT id FROM collections WHERE encoder = ?", (encoder_id,))]
    return _fetch(session, keys, dim, ids)


def select_segments(
    session: Session, collection: Collection, modalities: frozenset[Modality] | None
) -> NDArray[np.int64]:
    """Sorted ids of the segments of a collection that are, or whose items are, of some modalities; of all when None."""
    dim_of(session, collection.encoder_id)
    key = key_of(session, collection)
    if key is None:
        return np.empty(0, np.int64)
    if modalities is None or collection.modality in modalities:
        rows = session.rows("SELECT segment_id FROM vectors WHERE collection_id = ? ORDER BY segment_id", (key,))
    else:
        # Only through their items can they pass, and few segments are of another modality than their item.
        wanted = sorted(modality.value for modality in modalities)
        rows = session.rows(
            "SELECT v.segment_id FROM segments s CROSS JOIN vectors v"
            f" WHERE s.modality = ? AND s.item_modality IN ({','.join('?' * len(wanted))})"
            " AND v.segment_id = s.id AND v.collection_id = ? ORDER BY v.segment_id",
            (collection.modality.value, *wanted, key),
        )
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def key_of(session: Session, collection: Collection) -> int | None:
    """The id of a collection; None where it holds nothing yet."""
    found = session.rows(
        "SELECT id FROM collections WHERE encoder = ? AND modality = ?",
        (collection.encoder_id, collection.modality.value),
    )
    return int(found[0][0]) if found else None


def _fetch(
    session: Session, keys: Sequence[int], dim: int, ids: Iterable[int]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    # A set, since np.unique would import NumPy's masked arrays, which costs a cold query 10 ms.
    wanted = np.sort(np.fromiter(ids, np.int64) if not isinstance(ids, np.ndarray) else ids.astype(np.int64))
    wanted = wanted[np.diff(wanted, prepend=wanted[:1] - 1) > 0]
    found = list(session.grouped_rows(_AMONG.format(keys=",".join(map(str, keys))), wanted.tolist()))
    if len(keys) > 1:
        found.sort(key=itemgetter(0))  # of one collection they come in order
    return _arrays(found, dim)


def _arrays(rows: Sequence[Any], dim: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    if not rows:
        return np.empty(0, np.int64), np.empty((0, dim), np.float32)
    ids, blobs = zip(*rows, strict=True)
    embeddings = np.frombuffer(b"".join(blobs), np.float16).reshape(len(ids), dim).astype(np.float32)
    # Rounding to float16 moves the length by up to 0.05 %, which would show as scores above 1.
    lengths = np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings))
    embeddings /= np.maximum(lengths, np.float32(1e-12))[:, None]
    return np.array(ids, np.int64), embeddings
