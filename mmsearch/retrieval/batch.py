"""Many things at once, as arrays: embeddings of queries, vectors of items, and the items nearest to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import QueryError, UsageError
from mmsearch.filters import Filters
from mmsearch.query.trace import Trace
from mmsearch.retrieval.filtering import FilteredStore, LibraryFacts
from mmsearch.retrieval.grouping import group
from mmsearch.retrieval.many_hits import ManyHits
from mmsearch.retrieval.ranking import CollectionRanker
from mmsearch.retrieval.terms import EmbeddedTerm
from mmsearch.types import CollectionRecord, Hit, Modality
from mmsearch.vectors.hits import best_rows, empty_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.protocols import Encoder
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.stores import VectorStores

__all__ = ["BatchRetriever"]

# An item with many segments takes many places.
_SEGMENTS_FOR_AN_ITEM = 4


class BatchRetriever:
    """Works on what one encoder has in a catalog.

    Attributes:
        catalog: The library.
        encoder: Of the vectors.
        stores: Its indexes.
        facts: For filters.
    """

    def __init__(self, catalog: Catalog, encoder: Encoder, stores: VectorStores, facts: LibraryFacts) -> None:
        self.catalog, self.encoder, self.stores, self.facts = catalog, encoder, stores, facts

    def embed(
        self,
        *,
        texts: Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        sounds: Sequence[Any] | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts, pictures or sounds as queries; see `SearchEngine.embed`."""
        given = [name for name, some in (("texts", texts), ("images", images), ("sounds", sounds)) if some is not None]
        if len(given) != 1:
            raise UsageError("Give either texts, images or sounds.", hint='For example: engine.embed(texts=["a dog"])')
        if isinstance(texts, str):
            raise UsageError("The texts are one text; put it into a list.")
        if texts is not None:
            self._check(Modality.TEXT)
            return self.encoder.encode_texts(list(texts)) if texts else self._nothing
        if images is not None:
            self._check(Modality.IMAGE)
            return self._pictures(images)
        self._check(Modality.AUDIO)
        return self._heard(sounds or ())

    @property
    def _nothing(self) -> NDArray[np.float32]:
        return np.empty((0, self.encoder.dim), np.float32)

    def _check(self, modality: Modality) -> None:
        if modality not in self.encoder.modalities:
            raise QueryError(f"The model {self.encoder.id} takes no {modality}.", hint="See: mmsearch models list")

    def _pictures(self, images: Sequence[Any]) -> NDArray[np.float32]:
        from indexer.contents import picture_of
        from indexer.reader import SegmentReader

        reader, rows = SegmentReader([self.encoder], captions=False), []
        for start in range(0, len(images), self.encoder.batch_size):
            some = [picture_of(image, reader) for image in images[start : start + self.encoder.batch_size]]
            rows.append(self.encoder.encode_images([segment.inputs[self.encoder.id] for segment in some]))
        return np.concatenate(rows) if rows else self._nothing

    def _heard(self, sounds: Sequence[Any]) -> NDArray[np.float32]:
        from indexer.contents import windows_of
        from indexer.reader import SegmentReader

        reader, rows = SegmentReader([self.encoder], captions=False, max_windows=8), []
        for sound in sounds:
            inputs = [segment.inputs[self.encoder.id] for segment in windows_of(sound, reader)]
            rows.append(_mean(self.encoder.encode_sounds(inputs)))
        return np.stack(rows) if rows else self._nothing

    def vectors(self, keys: Sequence[str], *, missing: str = "raise") -> NDArray[np.float32]:
        """The vectors (n, dim) of items by their keys; see `SearchEngine.vectors`."""
        if isinstance(keys, str):
            raise UsageError("The keys are one key; put it into a list.")
        if missing not in ("raise", "nan"):
            raise UsageError(f'Missing items can "raise" or be "nan", not {missing!r}.')
        ids = self.catalog.ids_of_keys(keys)
        found, rows = self.item_vectors(ids[ids >= 0])
        out = np.full((len(keys), self.encoder.dim), np.nan, np.float32)
        if len(found):
            places = np.searchsorted(found, ids)
            places[places == len(found)] = 0
            there = found[places] == ids
            out[there] = rows[places[there]]
        else:
            there = np.zeros(len(keys), np.bool_)
        if missing == "raise" and not there.all():
            lacking = [keys[at] for at in np.flatnonzero(~there)[:3]]
            more = int(np.count_nonzero(~there)) - len(lacking)
            names = ", ".join(repr(key) for key in lacking) + (f" and {more:,} more" if more else "")
            raise UsageError(
                f"The library has no vectors of {names}.", hint='For rows of NaN in their place: missing="nan"'
            )
        return out

    def item_vectors(self, item_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Items (n,), ascending, and their vectors (n, dim): of several segments the direction of their mean."""
        items, segments = self.catalog.main_segments(self.encoder.id, item_ids)
        known, vectors = self.catalog.vectors(self.encoder.id, segments)
        here = np.isin(segments, known)
        items, segments = items[here], segments[here]
        rows = vectors[np.searchsorted(known, segments)]
        firsts = np.flatnonzero(np.diff(items, prepend=-1))
        if len(firsts) == len(items):
            return items, rows
        sums = np.add.reduceat(rows, firsts, axis=0)
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12))
        single = np.diff(firsts, append=len(items)) == 1
        sums[single] = rows[firsts[single]]
        return items[firsts], sums

    def similar(self, key: str, k: int, filters: Filters) -> list[Hit]:
        """The items that are like one; see `SearchEngine.similar`."""
        vector = self.vectors([key])[0]
        own = int(self.catalog.ids_of_keys([key])[0])
        modality = self.catalog.items([own])[own].modality
        asked = Modality.IMAGE if modality is Modality.VIDEO else modality
        term = EmbeddedTerm(vector, asked, 1.0, "")
        lists = []
        for collection in self._collections(None, filters):
            facts = self.facts(self.encoder.id, collection.modality)
            store = self.stores(self.encoder, collection.modality)
            searcher = FilteredStore(store, facts, filters, Trace(), str(collection.modality))
            ranker = CollectionRanker(self.catalog, self.encoder, collection.modality, searcher)
            lists.append(ranker.rank([term], k + 1))
        hits = [hit for hit in group(lists, k + 1) if hit.item_id != own][:k]
        return [
            replace(hit, rank=rank, others=tuple(replace(other, rank=rank) for other in hit.others))
            for rank, hit in enumerate(hits, start=1)
        ]

    def search(
        self,
        queries: Sequence[str] | Sequence[Image.Image] | NDArray[np.floating],
        k: int,
        *,
        modality: Modality | None = None,
        filters: Filters | None = None,
    ) -> ManyHits:
        """The k best items of each query; see `SearchEngine.search_many`."""
        rows = self._rows(queries)
        parts = [
            self._search(collection, rows, k, filters or Filters())
            for collection in self._collections(modality, filters)
        ]
        items, segments, scores = parts[0] if parts else (*_no_items(len(rows), k), empty_hits(len(rows), k)[1])
        if len(parts) > 1:
            joined = [np.concatenate(side, axis=1) for side in zip(*parts, strict=True)]
            items, segments, scores = _best_items(joined[0], joined[1], joined[2], k)
        return ManyHits(items, segments, scores, self.catalog.keys_of_items)

    def _rows(self, queries: Any) -> NDArray[np.float32]:
        """Queries of any kind as (m, dim) float32, L2-normalised."""
        if isinstance(queries, np.ndarray):
            rows = np.asarray(queries)
            if rows.ndim != 2 or rows.shape[1] != self.encoder.dim or rows.dtype.kind not in "fiu":
                raise QueryError(
                    f"Vectors must be real numbers of the shape (m, {self.encoder.dim}), not {rows.dtype} of the"
                    f" shape {rows.shape}."
                )
            return _unit(rows)
        if isinstance(queries, (str, bytes)) or not isinstance(queries, Sequence):
            raise QueryError(f"Queries are a list of texts or pictures, or an array, not {type(queries).__name__}.")
        if all(isinstance(query, str) for query in queries):
            return self.embed(texts=list(queries))
        if any(isinstance(query, str) for query in queries):
            raise QueryError("Queries are all texts or all pictures.")
        return self.embed(images=queries)

    def _collections(self, modality: Modality | None, filters: Filters | None) -> list[CollectionRecord]:
        return [
            record
            for record in self.catalog.collections()
            if record.encoder_id == self.encoder.id and modality in (None, record.modality)
        ]

    def _search(
        self, collection: CollectionRecord, queries: NDArray[np.float32], k: int, filters: Filters
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Items, segments and scores (m, k) of one collection."""
        allowed = None
        if filters and filters != Filters(frozenset({collection.modality})):
            allowed = self.facts(self.encoder.id, collection.modality).select(filters, collection.count).ids
        store = self.stores(self.encoder, collection.modality)
        source = self.catalog.vector_source(self.encoder.id, collection.modality)
        out_segments, out_scores = empty_hits(len(queries), k)
        out_items = out_segments.copy()
        depth = k if collection.modality is Modality.IMAGE else _SEGMENTS_FOR_AN_ITEM * k
        rows = np.arange(len(queries))
        while len(rows):
            segments, scores = store.search(source, queries[rows], depth, allowed=allowed)
            items = self.catalog.items_of_segments(segments)
            out_items[rows], out_segments[rows], out_scores[rows] = _best_items(items, segments, scores, k)
            # Some have all that there is; of the others an item took many places: look deeper for those.
            rows = rows[(out_items[rows, -1] < 0) & (segments[:, -1] >= 0)]
            depth *= 4
        return out_items, out_segments, out_scores


def _no_items(m: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return empty_hits(m, k)[0], empty_hits(m, k)[0]


def _best_items(
    items: NDArray[np.int64], segments: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The k best items of each row with the best segment of each; equal scores in order of segments."""
    scores = np.where(items < 0, np.float32(-np.inf), scores)
    order = np.lexsort((segments, -scores, items), axis=1)  # item by item, the best segment of each first
    sorted_items = np.take_along_axis(items, order, axis=1)
    again = np.zeros(items.shape, np.bool_)
    again[:, 1:] = sorted_items[:, 1:] == sorted_items[:, :-1]
    repeated = np.zeros_like(again)
    np.put_along_axis(repeated, order, again, axis=1)
    best, values = best_rows(segments, np.where(repeated, np.float32(-np.inf), scores), k)
    # Back from segments to their items, row by row.
    order = np.argsort(segments, axis=1, kind="stable")
    known = np.take_along_axis(segments, order, axis=1)
    offsets = np.arange(len(items))[:, None]
    span = np.int64(max(int(segments.max(initial=0)), 0) + 2)
    places = np.searchsorted((known + 1 + offsets * span).ravel(), (best + 1 + offsets * span).ravel())
    found = np.take_along_axis(items, order, axis=1).ravel()[np.minimum(places, items.size - 1)].reshape(best.shape)
    return np.where(best < 0, -1, found), best, values


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    total = rows.sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    wide = rows.astype(np.float64)
    if not np.isfinite(wide).all():
        raise QueryError("The vectors hold NaN or infinity.")
    largest = np.abs(wide).max(axis=1, initial=0, keepdims=True)
    if (largest == 0).any():
        raise QueryError(f"Vector {int(np.argmax(largest == 0))} is zero, so it has no direction.")
    wide /= largest
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)
