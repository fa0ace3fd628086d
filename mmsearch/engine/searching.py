"""Queries of an open library: words and files in, hits out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mmsearch.engine.given import filters_from
from mmsearch.engine.opened import OpenLibrary
from mmsearch.errors import QueryError, UsageError
from mmsearch.filters import Filters
from mmsearch.query.language import Query, Term, parse
from mmsearch.retrieval import SHORTLIST
from mmsearch.types import (
    DuplicateGroup,
    Explanation,
    Hit,
    Modality,
)

if TYPE_CHECKING:
    from PIL import Image

    from mmsearch.query.trace import Trace
    from mmsearch.retrieval.shaping import Duplicates, GroupBy

__all__ = ["Searching"]


class Searching(OpenLibrary):
    """Finds items for people."""

    def search(
        self,
        query: str | Sequence[str] | Query | Image.Image,
        k: int = 10,
        *,
        filters: Filters | str | None = None,
        modalities: Iterable[Modality | str] | None = None,
        rerank: bool | None = None,
        shortlist: int = SHORTLIST,
        words: bool = True,
        min_relevance: float | None = None,
        offset: int = 0,
        diverse: float | None = None,
        group_by: GroupBy | None = None,
        duplicates: Duplicates = "fold",
        trace: Trace | None = None,
    ) -> list[Hit]:
        """Find the items that match best.

        Args:
            query: Words, a picture, the tokens of a composite query such as ``["dog", "-", "leash"]``, or a `Query`. A
                token may be the path of a picture, sound, video or text, or a filter: docs/query-language.md.
            k: How many hits, at least 1.
            filters: What every hit has to pass, beside the filters that the query holds; also as in a query:
                ``"type:image after:2023"``.
            modalities: Only items of these kinds, or found by such a part: ``text`` finds the captions of photos, and
                ``audio`` the sound of videos, too. All when None.
            rerank: Put the best hits in a better order by reading words and pictures together; None does so where the
                library has a reranker and tokens for it.
            shortlist: How many segments of each modality are read again.
            words: Find items by words in their names, folders, notes and texts as well as by meaning.
            min_relevance: Leave out what is less likely to match, 0 to 1. None cuts off where hits are no longer worth
                showing, which may leave none; 0 shows all.
            offset: How many hits to pass over; pages that follow each other are one list.
            diverse: How much to push down what is like better hits, 0 to 1; None leaves the order.
            group_by: Put hits of one ``day``, ``month`` or ``folder`` beside each other.
            duplicates: ``fold`` puts near-duplicates under the best of them, ``show`` leaves each as a hit.
            trace: Is told what was done, what each step left and how long it took.

        Returns:
            At most k hits, best first, one for each item, with its other good segments folded under the best.

        Raises:
            UsageError: A number is out of range, or reranking was asked for where there is no reranker, or are no
                tokens for it.
            QueryError: The query cannot be read, or a modality does not exist.
            EncoderError: The encoder failed.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, not {k}.")
        if shortlist < 1:
            raise UsageError(f"The shortlist must hold at least 1, not {shortlist}.")
        rerankers = {} if rerank is False else self._rerankers
        if rerank:
            self._check_reranking()
        return self._retriever.search(
            _limited(_read(query), filters, modalities),
            k,
            rerankers=rerankers,
            shortlist=shortlist,
            words=words,
            min_relevance=min_relevance,
            offset=offset,
            diverse=diverse,
            group_by=group_by,
            duplicates=duplicates,
            trace=trace,
        )

    def duplicates(
        self,
        query: str | Sequence[str] | Query | Image.Image | None = None,
        *,
        filters: Filters | str | None = None,
    ) -> tuple[DuplicateGroup, ...]:
        """Group what the library holds more than once: photos that look the same, and files of the same content.

        Args:
            query: Only among the best thousand hits of it, or all items where it has filters alone; the whole library
                when None.
            filters: Only among items that pass; also as in `search`.

        Returns:
            Groups of two or more items, the best first in each; those first whose others take the most bytes.

        Raises:
            QueryError: The query cannot be read.
            EncoderError: The encoder failed.
        """
        from mmsearch.retrieval.duplicates import AMONG_HITS, find_duplicates

        found: Iterable[int] | None = None
        limits = filters_from(filters)
        if query is not None or limits:
            asked = Query(filters=limits) if query is None else _limited(_read(query), limits, None)
            if asked.terms:
                found = [hit.item_id for hit in self._retriever.search(asked, AMONG_HITS, duplicates="show")]
            else:
                found = self.catalog.select_items(asked.filters, self.catalog.item_count())
        return find_duplicates(self.catalog, self.encoders, item_ids=found)

    def _check_reranking(self) -> None:
        """See that something can be read again."""
        if not self._rerankers:
            names = " and ".join(encoder.id for encoder in self.encoders)
            raise UsageError(
                f"There is no reranker for the model {names}.", hint="Train one: mmsearch train reranker --help"
            )
        for encoder in self.encoders:
            reranker = self._rerankers.get(encoder.id)
            if reranker is None:
                continue
            pictures = [
                self._tokens(encoder, record.modality).manifest
                for record in self.catalog.collections()
                if record.encoder_id == encoder.id and record.modality in (Modality.IMAGE, Modality.VIDEO)
            ]
            made = any(found is not None and found.reranker == reranker.id for found in pictures)
            if reranker.tokens is None or made or not pictures:
                return
        hint = "Make them: mmsearch rebuild --tokens"
        if self._reranker is not None:
            hint = (
                f"Give it to the library with mmsearch index PATH --reranker {os.fspath(self._reranker)}, then make"
                " them: mmsearch rebuild --tokens"
            )
        raise UsageError(f"The library {self.library} has no tokens for the reranker.", hint=hint)

    def explain(self, query: str | Sequence[str] | Query, picture: str | os.PathLike[str] | Image.Image) -> Explanation:
        """Tell where each word of a query looks in a picture, and what reading both together changed.

        The picture need not be in the library; the others there are what its similarity is judged by, as in `search`.

        Args:
            query: Words.
            picture: The file of a picture, or one in memory.

        Raises:
            UsageError: There is no reranker, or its words do not look at places.
            QueryError: The query is more than words or has none, or the picture cannot be read.
            EncoderError: The encoder or the reranker failed.
        """
        from mmsearch.rerank.explaining import explain, sentence_of

        sentence = sentence_of(_read(query))
        rerankers = self._named or self._rerankers
        encoder = next((encoder for encoder in self.encoders if encoder.id in rerankers), self.encoders[0])
        sample = None
        if any(record.id == encoder.id for record in self.catalog.encoders()):  # something was indexed
            source = self.catalog.vector_source(encoder.id, Modality.IMAGE)
            _, sample = self._stores(encoder, Modality.IMAGE).sample(source)
        return explain(sentence, picture, encoder, rerankers.get(encoder.id), sample)


def _limited(query: Query, filters: Filters | str | None, modalities: Iterable[Modality | str] | None) -> Query:
    """The query with further filters."""
    limited = query.filters
    if filters is not None:
        limited = limited.merged(filters_from(filters))
    if modalities is not None:
        limited = limited.merged(Filters.of(modalities=modalities))
    return query if limited == query.filters else dataclasses.replace(query, filters=limited)


def _read(query: str | Sequence[str] | Query | Image.Image) -> Query:
    if isinstance(query, Query):
        return query
    if isinstance(query, str) or (isinstance(query, Sequence) and all(isinstance(term, str) for term in query)):
        return parse(query)
    from PIL import Image

    if isinstance(query, Image.Image):
        return Query((Term(query),))
    raise QueryError(f"A query is words, a picture or a list of terms, not {type(query).__name__}.")
