"""Retriever answers a query over all the collections of a library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError, UsageError
from mmsearch.filters import Filters
from mmsearch.retrieval.grouping import group
from mmsearch.retrieval.ranking import CollectionRanker, Match
from mmsearch.retrieval.reranking import SHORTLIST, ShortlistReranker
from mmsearch.retrieval.terms import TermEmbedder
from mmsearch.types import CollectionRecord, Hit, Modality

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.query.language import Query
    from mmsearch.rerank.token_store import TokenStore, TokenStores
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.stores import VectorStores

__all__ = ["Retriever"]


class Retriever:
    """Searches what some encoders have in a catalog; what the query holds is embedded by each that can take it."""

    def __init__(
        self,
        catalog: Catalog,
        encoders: Sequence[Encoder],
        stores: VectorStores,
        tokens: TokenStores | None = None,
    ) -> None:
        """Search the vectors of `encoders` in `catalog`, with `stores` as their indexes and `tokens` for rerankers."""
        self._catalog = catalog
        self._encoders = encoders
        self._stores = stores
        self._tokens = tokens

    def search(
        self,
        query: Query,
        k: int,
        modalities: Iterable[Modality | str] | None = None,
        *,
        rerankers: Mapping[str, Reranker] | None = None,
        shortlist: int = SHORTLIST,
    ) -> list[Hit]:
        """Find the k items that match best, each with its best segments.

        Args:
            query: What is looked for.
            k: How many items.
            modalities: Kinds to search among; all when None.
            rerankers: Encoder ids -> what reads the best matches of their collections again.
            shortlist: How many segments of each collection it reads.

        Raises:
            UsageError: A modality does not exist.
            QueryError: A file of the query cannot be read, or no encoder takes what is looked for.
            EncoderError: An encoder failed.
        """
        filters = Filters() if modalities is None else Filters(frozenset(map(_modality, modalities)))
        collections = self._catalog.collections()
        lists: list[list[Match]] = []
        answered = False
        problems: list[QueryError] = []
        for encoder in self._encoders:
            embedder = TermEmbedder(self._catalog, encoder)
            reranker = (rerankers or {}).get(encoder.id)
            try:
                terms = embedder.embed(query.terms)
            except QueryError as error:  # a video without a picture is nothing to one that only sees
                problems.append(error)
                continue
            if not terms:
                continue
            answered = True
            for collection in collections:
                if collection.encoder_id != encoder.id:
                    continue
                allowed = self._allowed(collection, filters)
                if allowed is not None and not allowed.size:
                    continue
                store = self._stores(encoder, collection.modality)
                ranker = CollectionRanker(self._catalog, encoder, collection.modality, store)
                reading = self._reading(encoder, collection.modality, reranker, shortlist)
                if reading is None or not reading.reads(terms):
                    lists.append(ranker.rank(terms, k, allowed))
                else:
                    matches = ranker.rank(terms, k, allowed, segments=shortlist)
                    lists.append(reading.rerank(terms, matches, embedder))
        if not answered and problems:
            raise problems[0]
        if not answered:
            names = " and ".join(encoder.id for encoder in self._encoders)
            raise QueryError(
                f"The library was made with {names}, which cannot take all of this query.",
                hint="Ask with words, or make a library with a model that takes such files: mmsearch models list",
            )
        return group(lists, k)

    def _reading(
        self, encoder: Encoder, modality: Modality, reranker: Reranker | None, shortlist: int
    ) -> ShortlistReranker | None:
        """What reads a collection's matches again; None where nothing can."""
        if reranker is None:
            return None
        # Texts are read beside the picture that asks, which may be one of the library.
        store = self._tokens_for(reranker, encoder, Modality.IMAGE if modality is Modality.TEXT else modality)
        if store is None and reranker.tokens is not None and modality is not Modality.TEXT:
            return None
        pictures = self._stores(encoder, Modality.VIDEO if modality is Modality.VIDEO else Modality.IMAGE)
        return ShortlistReranker(self._catalog, encoder, modality, reranker, pictures, store, shortlist)

    def _tokens_for(self, reranker: Reranker, encoder: Encoder, modality: Modality) -> TokenStore | None:
        """The tokens that were made for a reranker; None where there are none."""
        if reranker.tokens is None or self._tokens is None:
            return None
        store = self._tokens(encoder, modality)
        return store if store.manifest is not None and store.manifest.reranker == reranker.id else None

    def _allowed(self, collection: CollectionRecord, filters: Filters) -> NDArray[np.int64] | None:
        """The segments of a collection that pass, or None where all do."""
        if filters.modalities is None or collection.modality in filters.modalities:
            return None
        return self._catalog.select_segments(collection.encoder_id, collection.modality, filters)


def _modality(name: Modality | str) -> Modality:
    try:
        return Modality(str(name))
    except ValueError:
        kinds = ", ".join(sorted(str(kind) for kind in Modality))
        raise UsageError(f"There is no type {str(name)!r}.", hint=f"Types: {kinds}.") from None
