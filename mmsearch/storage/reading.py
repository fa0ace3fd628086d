"""Reads the catalog: ids in, frozen values out.

A query runs in a process of its own and must answer in half a second, of which importing SQLAlchemy alone would take
a third. So reading talks to SQLite's driver directly, and only writing (`writing`) loads SQLAlchemy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.filters import Filters
from mmsearch.storage.encoders import collections, held
from mmsearch.storage.files import FileReader
from mmsearch.storage.roots import split
from mmsearch.types import (
    Collection,
    CollectionRecord,
    EncoderRecord,
    Item,
    LibraryStatus,
    MediaInfo,
    Modality,
    Segment,
    SegmentRecord,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.storage.facts import FactTable
    from mmsearch.storage.selection import Selection

__all__ = ["CatalogReader"]

_ITEM = """i.id, i.modality, i.root_id, i.path, i.key, i.size_bytes, i.mtime_ns, i.width, i.height, i.taken_at,
    i.camera, i.latitude, i.longitude, i.duration_ms, i.metadata"""
_SEGMENT = """s.id, s.item_id, s.ordinal, s.modality, s.start_ms, s.end_ms, s.start_char, s.end_char, s.text, s.page,
    s.shot"""
_SEGMENT_COLUMNS = 11


class CatalogReader(FileReader):
    """What can be asked of a catalog, over one connection that any thread may use.

    Args:
        session: To the catalog; closed with the reader.
    """

    # --- vectors and full text

    def encoders(self) -> tuple[EncoderRecord, ...]:
        """The encoders that the library was made with, in the order in which they were registered."""
        return held(self._session)

    def collections(self) -> tuple[CollectionRecord, ...]:
        """The collections that hold at least one vector, oldest first."""
        return collections(self._session)

    def last_segment_id(self) -> int:
        """The highest id that any segment ever had; no later one gets an id up to that."""
        found = self._session.rows("SELECT seq FROM sqlite_sequence WHERE name = 'segments'")
        return int(found[0][0]) if found else 0

    def select_segments(self, encoder_id: str, modality: Modality, filters: Filters) -> NDArray[np.int64]:
        """Sorted ids of the segments of a collection that pass the filters.

        Raises:
            EncoderMismatchError: The library was not made with the encoder.
        """
        collection = Collection(encoder_id, modality)
        if filters == Filters(filters.modalities):
            from mmsearch.storage.source import select_segments

            return select_segments(self._session, collection, filters.modalities)
        return self._selection(filters).segments(collection)

    def passing_segments(self, segment_ids: Iterable[int], filters: Filters) -> NDArray[np.int64]:
        """Those of some segments that pass the filters, sorted."""
        return self._selection(filters).passing(segment_ids)

    def select_items(self, filters: Filters, limit: int) -> list[int]:
        """Ids of items that pass the filters, the newest first."""
        return self._selection(filters).items(limit)

    def fact_table(self, encoder_id: str, modality: Modality) -> FactTable:
        """What a process that filters again and again keeps of a collection; it reads nothing yet."""
        from mmsearch.storage.facts import FactTable

        return FactTable(self._session, Collection(encoder_id, modality))

    def _selection(self, filters: Filters) -> Selection:
        from mmsearch.storage.selection import Selection

        return Selection(self._session, filters, lambda: self._root_paths)

    def vectors(self, encoder_id: str, segment_ids: Iterable[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The vectors that an encoder gave these segments, of whichever modality, as far as they are there.

        Returns:
            Ids (n,) in ascending order and L2-normalised vectors (n, dim).

        Raises:
            EncoderMismatchError: The library was not made with the encoder.
        """
        from mmsearch.storage.source import vectors_of

        return vectors_of(self._session, encoder_id, segment_ids)

    def vector_source(self, encoder_id: str, modality: Modality) -> VectorSource:
        """All vectors of a collection, for a vector index; none where the encoder has none of that modality yet.

        Raises:
            EncoderMismatchError: The library was not made with the encoder.
        """
        from mmsearch.storage.source import CatalogVectors

        return CatalogVectors(self._session, Collection(encoder_id, modality))

    def match_text(
        self, query: str, k: int, *, filters: Filters | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Full-text search among the texts of segments: any of the words, and ``"quoted words"`` as they stand.

        Args:
            query: Words; no character in it can make it wrong.
            k: At least 1.
            filters: What the segments have to pass.

        Returns:
            Ids (n,) of at most k segments, best first, and their BM25 scores (n,), higher is better.
        """
        from mmsearch.storage.passages import match_text

        condition = self._selection(filters).condition if filters else None
        return match_text(self._session, query, k, condition)

    def match_items(
        self, query: str, k: int, *, filters: Filters | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Full-text search in the names of files, folders and roots, cameras, keys and metadata, as `match_text`.

        Returns:
            Ids (n,) of at most k items, best first, and their BM25 scores (n,), higher is better.
        """
        from mmsearch.storage.passages import match_items

        condition = self._selection(filters).condition if filters else None
        return match_items(self._session, query, k, condition)

    # --- items and segments

    def segments_of(self, item_id: int) -> list[Segment]:
        """The segments of an item, in their order."""
        found = self._session.rows(
            f"SELECT {_SEGMENT} FROM segments s WHERE s.item_id = ? ORDER BY s.ordinal", (item_id,)
        )
        return [_segment(row) for row in found]

    def segment_ids_of(self, item_ids: Iterable[int]) -> NDArray[np.int64]:
        """Sorted ids of all segments of some items."""
        import numpy as np

        found = self._session.grouped_rows("SELECT id FROM segments WHERE item_id IN ({ids})", item_ids)
        return np.sort(np.fromiter((row[0] for row in found), np.int64))

    def item_of(self, segment_id: int) -> int | None:
        """The id of a segment's item, or None where there is no such segment."""
        found = self._session.rows("SELECT item_id FROM segments WHERE id = ?", (segment_id,))
        return found[0][0] if found else None

    def item_count(self) -> int:
        """How many items there are."""
        ((count,),) = self._session.rows("SELECT count(*) FROM about_docsize")
        return int(count)

    def items_with_word(self, word: str, limit: int) -> NDArray[np.int64]:
        """Ids of items that have a word in their name, folders, notes or texts, ascending; at most `limit` of them.

        Args:
            word: As `mmsearch.storage.passages.terms_of` spells it.
            limit: Where more have it, any of them.
        """
        import numpy as np

        found = self._session.rows(
            "SELECT rowid FROM about WHERE about MATCH ? UNION SELECT item_id FROM segments WHERE id IN"
            " (SELECT rowid FROM passages WHERE passages MATCH ?) LIMIT ?",
            (word, word, limit),
        )
        return np.fromiter((row[0] for row in found), np.int64, len(found))

    def count_with_word(self, word: str) -> int:
        """How many items have a word in their name, folders or notes."""
        ((count,),) = self._session.rows("SELECT count(*) FROM about WHERE about MATCH ?", (word,))
        return int(count)

    def having_word(self, word: str, item_ids: Iterable[int]) -> list[int]:
        """Those of some items that have a word in their name, folders or notes."""
        statement = "SELECT rowid FROM about WHERE rowid IN ({ids}) AND about MATCH ?"
        return [row[0] for row in self._session.grouped_rows(statement, item_ids, (word,))]

    def segments(self, ids: Iterable[int]) -> dict[int, SegmentRecord]:
        """Segments with their items; ids that are not there are left out."""
        statement = (
            f"SELECT {_SEGMENT}, {_ITEM} FROM segments s JOIN items i ON i.id = s.item_id WHERE s.id IN ({{ids}})"
        )
        return {
            row[0]: SegmentRecord(_segment(row[:_SEGMENT_COLUMNS]), self._item(row[_SEGMENT_COLUMNS:]))
            for row in self._session.grouped_rows(statement, ids)
        }

    def items(self, ids: Iterable[int]) -> dict[int, Item]:
        """Items by their ids; those that are not there are left out."""
        found = self._session.grouped_rows(f"SELECT {_ITEM} FROM items i WHERE i.id IN ({{ids}})", ids)
        return {row[0]: self._item(row) for row in found}

    def item_at(self, path: Path) -> Item | None:
        """The item of a file, or None where it was not indexed; of nested roots the innermost counts."""
        statement = f"SELECT {_ITEM} FROM items i WHERE i.root_id = ? AND i.path = ?"
        for spell in (os.path.abspath, os.path.realpath):  # as it is named, then with all links followed
            roots = [(root_id, Path(spell(root))) for root_id, root in self._root_paths.items()]
            for root_id, relative in split(Path(spell(path)), roots):
                found = self._session.rows(statement, (root_id, os.fsencode(relative)))
                if found:
                    return self._item(found[0])
        return None

    def status(self) -> LibraryStatus:
        """What the library holds; `indexes` is left empty."""
        from mmsearch.storage.overview import overview

        return overview(self._session, self.roots())

    def _item(self, row: Sequence[Any]) -> Item:
        (id_, modality, root_id, path, key, size_bytes, mtime_ns, width, height, taken_at, camera) = row[:11]
        latitude, longitude, duration_ms, metadata = row[11:]
        info = MediaInfo(
            width,
            height,
            None if taken_at is None else datetime.fromisoformat(taken_at),
            camera,
            latitude,
            longitude,
            duration_ms,
        )
        where = None if path is None else self._root_path(root_id) / os.fsdecode(path)
        return Item(id_, Modality(modality), where, key, size_bytes, mtime_ns, info, _metadata(metadata))


def _segment(row: Sequence[Any]) -> Segment:
    id_, item_id, ordinal, modality, *rest = row
    return Segment(id_, item_id, ordinal, Modality(modality), *rest)


def _metadata(text: str | None) -> Mapping[str, Any]:
    if text is None:
        return {}
    import json

    loaded: dict[str, Any] = json.loads(text)
    return loaded
