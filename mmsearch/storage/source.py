"""The vectors of one encoder, read from the catalog: segment ids and normalised float32 arrays out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.storage.encoders import key_and_dim
from mmsearch.storage.session import Session
from mmsearch.types import Filters, Modality, Watermark

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CatalogVectors", "select_segments"]

# Rows that are held beside the arrays that are filled from them.
PORTION = 8192

_AFTER = """SELECT segment_id, embedding FROM vectors
    WHERE segment_id > ? AND encoder_id = ? ORDER BY segment_id LIMIT ?"""
_AMONG = "SELECT segment_id, embedding FROM vectors WHERE encoder_id = {key} AND segment_id IN ({{ids}})"


class CatalogVectors:
    """A `VectorSource` over a catalog.

    Raises:
        EncoderMismatchError: The library holds no vectors of the encoder.
    """

    def __init__(self, session: Session, encoder_id: str) -> None:
        self._session = session
        self._encoder_id = encoder_id
        self._key, self._dim = key_and_dim(session, encoder_id)

    @property
    def encoder_id(self) -> str:
        """Whose vectors these are."""
        return self._encoder_id

    @property
    def dim(self) -> int:
        """Their length."""
        return self._dim

    def watermark(self) -> Watermark:
        """How far the catalog has got."""
        ((last_segment, count, last_removal, catalog),) = self._session.rows(
            "SELECT last_segment_id, vector_count, (SELECT max(id) FROM removals),"
            " (SELECT value FROM meta WHERE key = 'library_id') FROM encoders WHERE id = ?",
            (self._key,),
        )
        return Watermark(last_segment, last_removal or 0, count, catalog)

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
                    ids[count : count + len(rows)], vectors[count : count + len(rows)] = self._arrays(rows)
                    last = rows[-1][0]
                count += len(rows)
                more = len(rows) == wanted
            if count:
                yield ids[:count], vectors[:count]

    def fetch(self, ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Look up the vectors (n, dim) of those of the ids that exist, in ascending order of ids."""
        # A set, since np.unique would import NumPy's masked arrays, which costs a cold query 10 ms.
        wanted = sorted(set(np.fromiter(ids, np.int64).tolist()))
        found = self._session.grouped_rows(_AMONG.format(key=self._key), wanted)
        return self._arrays(sorted(found, key=itemgetter(0)))

    def removed_since(self, removal_id: int) -> NDArray[np.int64]:
        """Segment ids that were removed after that entry of the log."""
        rows = self._session.rows("SELECT segment_id FROM removals WHERE id > ? ORDER BY id", (removal_id,))
        return np.fromiter((row[0] for row in rows), np.int64, len(rows))

    def _arrays(self, rows: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if not rows:
            return np.empty(0, np.int64), np.empty((0, self._dim), np.float32)
        ids, blobs = zip(*rows, strict=True)
        stored = np.frombuffer(b"".join(blobs), np.float16).reshape(len(ids), self._dim)
        embeddings = stored.astype(np.float32)
        # Rounding to float16 moves the length by up to 0.05 %, which would show as scores above 1.
        lengths = np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings))
        embeddings /= np.maximum(lengths, np.float32(1e-12))[:, None]
        return np.array(ids, np.int64), embeddings


def select_segments(session: Session, encoder_id: str, filters: Filters) -> NDArray[np.int64]:
    """Sorted ids of the segments that have a vector of the encoder and whose items pass the filters."""
    key, _ = key_and_dim(session, encoder_id)
    conditions, values = _conditions(session, filters)
    join = "JOIN segments s ON s.id = v.segment_id JOIN items i ON i.id = s.item_id" if conditions else ""
    where = " AND ".join(["v.encoder_id = ?", *conditions])
    rows = session.rows(
        f"SELECT v.segment_id FROM vectors v {join} WHERE {where} ORDER BY v.segment_id", [key, *values]
    )
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def _conditions(session: Session, filters: Filters) -> tuple[list[str], list[Any]]:
    """Conditions on items ``i``; none where all items pass, since joining half a million takes a third of a second."""
    if filters.modalities is None:
        return [], []
    others = [(modality.value,) for modality in Modality if modality not in filters.modalities]
    if not any(session.rows("SELECT 1 FROM items WHERE modality = ? LIMIT 1", other) for other in others):
        return [], []
    wanted = sorted(modality.value for modality in filters.modalities)
    return [f"i.modality IN ({','.join('?' * len(wanted))})"], wanted
