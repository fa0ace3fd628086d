"""A query -> a ranked list of matches for each collection that can be asked, as deep as is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError
from mmsearch.filters import Filters
from mmsearch.query.trace import Trace
from mmsearch.retrieval.filtering import FilteredStore, LibraryFacts
from mmsearch.retrieval.ranking import CollectionRanker, Match
from mmsearch.retrieval.reranking import SHORTLIST, ShortlistReranker
from mmsearch.retrieval.terms import EmbeddedTerm, TermEmbedder
from mmsearch.retrieval.wording import Wording, first_segments
from mmsearch.types import CollectionRecord, Modality

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.query.language import Query
    from mmsearch.rerank.token_store import TokenStore, TokenStores
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.stores import VectorStores

__all__ = ["Matcher", "Parts"]

# A text may have the exact words in many passages.
_PASSAGES_FOR_AN_ITEM = 8


@dataclass(slots=True, eq=False)
class Parts:
    """What searches of one library share.

    Attributes:
        catalog, encoders, stores: The library, its encoders and their indexes.
        facts: Of its collections, for filters.
        tokens: For rerankers, if they keep any.
    """

    catalog: Catalog
    encoders: Sequence[Encoder]
    stores: VectorStores
    facts: LibraryFacts
    tokens: TokenStores | None = None


class Matcher:
    """Finds what matches one query; what it embedded and looked up serves for every depth.

    Args:
        parts: Of the library.
        query: What is looked for, and what every match has to pass.
        rerankers: Encoder ids -> what reads the best matches of their collections again.
        shortlist: How many segments of each collection it reads.
        words: Weigh what stands in names, folders, notes and texts as well.
        trace: Is told of every step.
    """

    def __init__(
        self,
        parts: Parts,
        query: Query,
        *,
        rerankers: Mapping[str, Reranker] | None = None,
        shortlist: int = SHORTLIST,
        words: bool = True,
        trace: Trace | None = None,
    ) -> None:
        self._parts = parts
        self._query = query
        self._filters = query.filters
        self._rerankers = rerankers or {}
        self._shortlist = shortlist
        self._words = words
        self._trace = trace or Trace()
        self._searchers: dict[tuple[str, str | None], FilteredStore] = {}

    def lists(self, items: int) -> list[list[Match]]:
        """The matches of each collection, best first, of at least so many items where there are as many.

        Raises:
            QueryError: A file of the query cannot be read, or no encoder takes what is looked for.
            EncoderError: An encoder failed.
        """
        if not self._query.terms:
            return [self._listed(items)]
        lists = [
            self._ranked(encoder, embedder, terms, collection, items)
            for encoder, embedder, terms in self._asked
            for collection in self._collections
            if collection.encoder_id == encoder.id
        ]
        if self._wording:
            lists.append(self._wording.remaining(self._parts.catalog, lists, self._filters))
        return lists

    @cached_property
    def _collections(self) -> tuple[CollectionRecord, ...]:
        return self._parts.catalog.collections()

    @cached_property
    def _asked(self) -> list[tuple[Encoder, TermEmbedder, tuple[EmbeddedTerm, ...]]]:
        """The encoders that take the query, and what they made of it."""
        found = []
        problems: list[QueryError] = []
        for encoder in self._parts.encoders:
            embedder = TermEmbedder(self._parts.catalog, encoder)
            with self._trace.step("embed", f"{len(self._query.terms)} terms", encoder.id):
                try:
                    terms = embedder.embed(self._query.terms)
                except QueryError as error:  # a video without a picture is nothing to one that only sees
                    problems.append(error)
                    continue
            if terms:
                found.append((encoder, embedder, terms))
        if not found and problems:
            raise problems[0]
        if not found:
            names = " and ".join(encoder.id for encoder in self._parts.encoders)
            raise QueryError(
                f"The library was made with {names}, which cannot take all of this query.",
                hint="Ask with words, or make a library with a model that takes such files: mmsearch models list",
            )
        return found

    @cached_property
    def _wording(self) -> Wording:
        if not self._words:
            return Wording()
        with self._trace.step("words", "names, folders, notes and texts that hold words of the query") as step:
            found = Wording.of(self._parts.catalog, self._query)
            step.candidates = len(found.items)
            if found.broad:
                step.detail = f"{len(found.broad)} words of many items beside these"
        return found

    def _ranked(
        self,
        encoder: Encoder,
        embedder: TermEmbedder,
        terms: tuple[EmbeddedTerm, ...],
        collection: CollectionRecord,
        items: int,
    ) -> list[Match]:
        modality = collection.modality
        searcher = self._searcher(encoder, collection)
        ranker = CollectionRanker(self._parts.catalog, encoder, modality, searcher)
        reading = self._reading(encoder, modality)
        reads = reading is not None and reading.reads(terms)
        matches = ranker.rank(terms, items, segments=self._shortlist if reads else 0)
        if self._wording:
            named = self._parts.catalog.segment_ids_of(self._wording.candidates().tolist())
            found = ranker.rank(terms, items, named, segments=self._shortlist) if len(named) else []
            for word, _ in self._wording.broad:
                having = self._searcher(encoder, collection, word)
                found += ranker.behind(having).rank(terms, items)
            known = {match.record.segment.id: match for match in (*found, *matches)}
            matches = self._worded_first(list(known.values()))
        if reading is not None and reads:
            where = str(modality)
            with self._trace.step("rerank", f"the best {self._shortlist} read with the words", where) as step:
                matches = reading.rerank(terms, matches, embedder)
                step.candidates = len(matches)
        return self._wording.weighed(self._parts.catalog, matches)

    def _worded_first(self, matches: list[Match]) -> list[Match]:
        """In the order that words and embeddings give together, each with the score that it had."""
        known = {match.record.segment.id: match for match in matches}
        best = sorted(matches, key=lambda match: (-match.score, match.record.segment.id))
        return [known[match.record.segment.id] for match in self._wording.weighed(self._parts.catalog, best)]

    def _searcher(self, encoder: Encoder, collection: CollectionRecord, word: str | None = None) -> FilteredStore:
        """The index of a collection behind the filters of the query, and one more for items that have a word."""
        name = (collection.name, word)
        if name not in self._searchers:
            filters, modality = self._filters, collection.modality
            if filters.modalities is not None and modality in filters.modalities:
                filters = replace(filters, modalities=None)  # all of the collection are of one that is wanted
            if word is not None:
                filters = filters.merged(Filters(phrases=(word.strip('"'),)))
            facts = self._parts.facts(encoder.id, modality)
            store = self._parts.stores(encoder, modality)
            self._searchers[name] = FilteredStore(store, facts, filters, self._trace, str(modality))
        return self._searchers[name]

    def _listed(self, items: int) -> list[Match]:
        """What passes the filters of a query that looks for nothing else."""
        if self._filters.phrases:
            return self._worded(items)
        catalog = self._parts.catalog
        with self._trace.step("filter", "all that pass, the newest first") as step:
            found = catalog.select_items(self._filters, items)
            step.candidates = len(found)
        records = first_segments(catalog, found, self._filters)
        return [Match(records[item], 0.0, 1.0, "filter") for item in found if item in records]

    def _worded(self, items: int) -> list[Match]:
        """What has the exact words of a query that looks for nothing else, by BM25, each item where it has them."""
        catalog, filters = self._parts.catalog, self._filters
        words = " ".join(f'"{phrase}"' for phrase in filters.phrases)
        with self._trace.step("words", "exact words in names, notes and texts") as step:
            passages = zip(*catalog.match_text(words, _PASSAGES_FOR_AN_ITEM * items, filters=filters), strict=True)
            named = dict(zip(*catalog.match_items(words, items, filters=filters), strict=True))
            scores = {int(segment): float(score) for segment, score in passages}
            records = catalog.segments(scores)
            first = first_segments(catalog, [int(item) for item in named], filters)
            matches = [Match(records[id_], score, 1.0, "text") for id_, score in scores.items() if id_ in records]
            matches += [Match(first[item], float(score), 1.0, "text") for item, score in named.items() if item in first]
            step.candidates = len(matches)
        return sorted(matches, key=lambda match: (-match.score, match.record.segment.id))

    def _reading(self, encoder: Encoder, modality: Modality) -> ShortlistReranker | None:
        """What reads a collection's matches again; None where nothing can."""
        reranker = self._rerankers.get(encoder.id)
        if reranker is None:
            return None
        # Texts are read beside the picture that asks, which may be one of the library.
        store = self._tokens_for(reranker, encoder, Modality.IMAGE if modality is Modality.TEXT else modality)
        if store is None and reranker.tokens is not None and modality is not Modality.TEXT:
            return None
        pictures = self._parts.stores(encoder, Modality.VIDEO if modality is Modality.VIDEO else Modality.IMAGE)
        return ShortlistReranker(self._parts.catalog, encoder, modality, reranker, pictures, store, self._shortlist)

    def _tokens_for(self, reranker: Reranker, encoder: Encoder, modality: Modality) -> TokenStore | None:
        """The tokens that were made for a reranker; None where there are none."""
        if reranker.tokens is None or self._parts.tokens is None:
            return None
        store = self._parts.tokens(encoder, modality)
        return store if store.manifest is not None and store.manifest.reranker == reranker.id else None
