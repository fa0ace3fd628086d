"""Retriever answers a query over all the collections of a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mmsearch.errors import UsageError
from mmsearch.query.cutoff import floor
from mmsearch.query.trace import Trace
from mmsearch.retrieval.grouping import group
from mmsearch.retrieval.likeness import Likeness
from mmsearch.retrieval.matching import Matcher, Parts
from mmsearch.retrieval.ranking import about_anything
from mmsearch.retrieval.reranking import SHORTLIST
from mmsearch.retrieval.shaping import Duplicates, GroupBy, shape
from mmsearch.types import Hit

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.query.language import Query
    from mmsearch.rerank.token_store import TokenStores
    from mmsearch.retrieval.filtering import LibraryFacts
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
        facts: LibraryFacts,
        tokens: TokenStores | None = None,
    ) -> None:
        """Search the vectors of `encoders` in `catalog`.

        Args:
            catalog: The library.
            encoders: Of the vectors.
            stores: Their indexes.
            facts: For filters.
            tokens: For rerankers.
        """
        self._parts = Parts(catalog, encoders, stores, facts, tokens)

    def search(
        self,
        query: Query,
        k: int,
        *,
        rerankers: Mapping[str, Reranker] | None = None,
        shortlist: int = SHORTLIST,
        words: bool = True,
        min_relevance: float | None = None,
        offset: int = 0,
        diverse: float | None = None,
        group_by: GroupBy | None = None,
        duplicates: Duplicates = "fold",
        trace: Trace | None = None,
    ) -> list[Hit]:
        """Find the k items that match best, each with its best segments.

        Args:
            query: What is looked for, and what every hit has to pass.
            k: How many items.
            rerankers: Encoder ids -> what reads the best matches of their collections again.
            shortlist: How many segments of each collection it reads.
            words: Weigh what stands in names, folders, notes and texts as well.
            min_relevance: Leave out hits below it, 0 to 1; None cuts off where hits are no longer worth showing.
            offset: How many items to pass over.
            diverse: Strength of MMR, 0 to 1.
            group_by: What to arrange the hits by.
            duplicates: Whether near-duplicates are folded; for all four see `mmsearch.retrieval.shaping.shape`.
            trace: Is told of every step.

        Raises:
            UsageError: A number is out of range.
            QueryError: A file of the query cannot be read, or no encoder takes what is looked for.
            EncoderError: An encoder failed.
        """
        if min_relevance is not None and not 0 <= min_relevance <= 1:
            raise UsageError(f"A relevance lies between 0 and 1; {min_relevance:g} does not.")
        trace = trace or Trace()
        matcher = Matcher(self._parts, query, rerankers=rerankers, shortlist=shortlist, words=words, trace=trace)

        def ranked(n: int) -> list[Hit]:
            lists = matcher.lists(n)
            with trace.step("join", f"{len(lists)} lists by item, cut off where it is not worth showing") as step:
                hits = group(lists, n)
                about = about_anything(lists)
                least = floor([hit.relevance for hit in hits], about) if min_relevance is None else min_relevance
                hits = [hit for hit in hits if hit.relevance >= least]
                step.candidates = len(hits)
            return hits

        likeness = Likeness(self._parts.catalog, self._parts.encoders)
        return shape(ranked, k, likeness, offset=offset, diverse=diverse, group_by=group_by, duplicates=duplicates)
