"""Pictures that were embedded -> the token stores of their collections, in step with the catalog.

Tokens are appended after the catalog's commit, under the ids that it gave. What a kill between the two leaves without
is found by the next run: the segments that came after a store was begun and have no row in it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import StorageError
from mmsearch.filters import Filters
from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.embedding import PictureTokens
    from indexer.prepared import PreparedSegment
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.rerank.token_store import TokenStore, TokenStores
    from mmsearch.storage.catalog import Catalog

__all__ = ["PICTURES", "Gap", "TokenKeeper"]

PICTURES = (Modality.IMAGE, Modality.VIDEO)
"""What tokens are made of: whole pictures, and frames of videos."""
_NOUNS = {Modality.IMAGE: "photo", Modality.VIDEO: "frame"}


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """Segments of one collection that have no tokens.

    Attributes:
        ids: Ascending.
    """

    encoder: Encoder
    modality: Modality
    ids: NDArray[np.int64]


class TokenKeeper:
    """Keeps the token stores of a library in step with its catalog, for one run.

    Args:
        catalog: The library, open for writing.
        encoders: Those of the library.
        rerankers: By the ids of their encoders; those that keep no tokens have no part in this.
        stores: Of the library; None where nothing is kept.
        paused: The library is indexed without tokens this time.

    Attributes:
        rerankers: Those that keep tokens.
        notices: Sentences for the user.
        busy_s: Seconds spent on making and storing tokens.
    """

    def __init__(
        self,
        catalog: Catalog,
        encoders: Sequence[Encoder],
        rerankers: Mapping[str, Reranker],
        stores: TokenStores | None,
        *,
        paused: bool = False,
    ) -> None:
        self.notices: list[str] = []
        self.busy_s = 0.0
        # Whether an encoder yields patches is asked only when it embeds pictures: its tower has to be loaded to see.
        self.rerankers: dict[str, Reranker] = {}
        self._catalog = catalog
        self._encoders = {encoder.id: encoder for encoder in encoders}
        self._stores = stores
        self._paused = paused
        self._before: dict[TokenStore, int] = {}
        for encoder in encoders if stores is not None and not paused else ():
            reranker = rerankers.get(encoder.id)
            if reranker is not None and reranker.tokens is not None:
                self.rerankers[encoder.id] = reranker

    def __enter__(self) -> TokenKeeper:
        """Open the stores that were begun before, mended where a run was killed."""
        last = self._catalog.last_segment_id()
        for encoder, modality, store in self._all():
            manifest, reranker = store.manifest, self.rerankers.get(encoder.id)
            if manifest is None:
                continue
            self._before[store] = self._removals(encoder, modality)
            if self._paused or (reranker is not None and manifest.reranker == reranker.id):
                store.begin(manifest.reranker, manifest.format, since=last)
                ids = store.ids()
                if len(ids) and ids[-1] > last:
                    # The catalog is an older copy that was put back: its next ids will be those of other pictures.
                    store.compact(self._living(encoder, modality), force=True)
                if self._paused:
                    store.pause()
        return self

    def __exit__(self, *problem: object) -> None:
        """Close the stores."""
        if self._stores is not None:
            self._stores.close()

    def prepare(self, segments: Sequence[PreparedSegment], tokens: Mapping[str, PictureTokens]) -> None:
        """Begin the stores that a batch needs, before it is committed: so whatever is committed then is missed."""
        for encoder_id, made in tokens.items():
            for modality in {segments[at].modality for at in made.places}:
                self.begin(self._encoders[encoder_id], modality)

    def begin(self, encoder: Encoder, modality: Modality) -> TokenStore:
        """Make a store ready for appending, if it is not."""
        assert self._stores is not None
        store, reranker = self._stores(encoder, modality), self.rerankers[encoder.id]
        if not store.begun:
            assert reranker.tokens is not None
            kept = store.begin(reranker.id, reranker.tokens, since=self._catalog.last_segment_id())
            count = self._catalog.vector_source(encoder.id, modality).watermark().count
            if count and not kept:
                noun = _NOUNS[modality]
                what = f"1 {noun} that was" if count == 1 else f"{count:,} {noun}s that were"
                self.notices.append(
                    f"There are no tokens to rerank {what} indexed before. To make them: mmsearch rebuild --tokens"
                )
        return store

    def keep(
        self, segments: Sequence[PreparedSegment], ids: Sequence[int], tokens: Mapping[str, PictureTokens]
    ) -> None:
        """Append the tokens of a batch that was committed.

        Args:
            segments: n of them.
            ids: That the catalog gave them, ascending.
            tokens: By encoder.

        Raises:
            StorageError: The disk is full, read-only or failing; the next run makes up for it.
        """
        for encoder_id, made in tokens.items():
            for modality in PICTURES:
                rows = [row for row, at in enumerate(made.places) if segments[at].modality is modality]
                if rows:
                    chosen = np.array([ids[made.places[row]] for row in rows], np.int64)
                    self.append(self._encoders[encoder_id], modality, chosen, made.tokens[rows])

    def append(self, encoder: Encoder, modality: Modality, ids: NDArray[np.int64], tokens: NDArray[np.int8]) -> None:
        """Append tokens of segments of one collection, whose ids ascend."""
        began = time.perf_counter()
        self.begin(encoder, modality).append(ids, tokens)
        self.busy_s += time.perf_counter() - began

    def copy(self, copied: Mapping[int, int]) -> None:
        """Give copied segments the tokens of those that they were copied from."""
        for _, _, store in self._begun() if copied else ():
            began = time.perf_counter()
            store.copy(copied)
            self.busy_s += time.perf_counter() - began

    def gaps(self, *, everything: bool = False) -> list[Gap]:
        """The segments that have no tokens, and came after their store was begun.

        Args:
            everything: All segments, whether or not they have tokens.
        """
        found: list[Gap] = []
        for encoder, modality, store in self._begun():
            ids, manifest = self._living(encoder, modality), store.manifest
            assert manifest is not None
            if not everything:
                ids = np.setdiff1d(ids[ids > manifest.since], store.ids(), assume_unique=True)
            if len(ids):
                found.append(Gap(encoder, modality, ids))
        return found

    def finish(self) -> None:
        """Drop the rows of segments that are gone, when they are many, and bring the rest to the disk."""
        for encoder, modality, store in self._begun():
            manifest = store.manifest
            idle = manifest is not None and manifest.saved == len(store) and len(manifest.runs) == 1
            if self._paused or (idle and self._removals(encoder, modality) == self._before.get(store)):
                continue
            began = time.perf_counter()
            try:
                store.compact(self._living(encoder, modality))
            except StorageError as error:
                self.notices.append(f"Tokens of removed pictures could not be dropped. {error.message}")
            store.save()
            self.busy_s += time.perf_counter() - began

    def _all(self) -> list[tuple[Encoder, Modality, TokenStore]]:
        if self._stores is None:
            return []
        every = [(encoder, modality) for encoder in self._encoders.values() for modality in PICTURES]
        return [(encoder, modality, self._stores(encoder, modality)) for encoder, modality in every]

    def _begun(self) -> list[tuple[Encoder, Modality, TokenStore]]:
        return [entry for entry in self._all() if entry[2].begun]

    def _removals(self, encoder: Encoder, modality: Modality) -> int:
        return self._catalog.vector_source(encoder.id, modality).watermark().last_removal_id

    def _living(self, encoder: Encoder, modality: Modality) -> NDArray[np.int64]:
        return self._catalog.select_segments(encoder.id, modality, Filters())
