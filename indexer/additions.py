"""A stream of items without files -> a library that holds them: checked, embedded and stored batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from indexer.contents import BadItemError
from indexer.drafts import Draft, draft_of, item_of
from indexer.embedding import embed_with_tokens
from indexer.interruption import Interruption
from indexer.loader import default_threads
from indexer.prepared import PreparedSegment
from indexer.reader import SegmentReader
from indexer.reporter import Reporter
from indexer.tokens import TokenKeeper
from mmsearch.errors import UsageError
from mmsearch.item_data import AddSummary, ItemData, ItemFailure
from mmsearch.media.image import quiet_decoders
from mmsearch.types import EncoderRecord, MediaInfo, Modality, NewItem, NewSegment, Progress

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.rerank.token_store import TokenStores
    from mmsearch.storage.catalog import Catalog
    from mmsearch.storage.keys import AddedItem
    from mmsearch.vectors.stores import VectorStores

__all__ = ["add_items", "fold_pending", "remove_items"]

# How many texts and ready-made vectors weigh as much as an image in a batch.
_TEXTS, _VECTORS = 16, 64
# Up to so many vectors a search reads from the catalog instead: cheaper than writing files anew after every few items.
_LEFT_TO_SEARCH = 1024
_REMOVED_TOGETHER = 4096


@dataclass(slots=True)
class _Batch:
    """Items of the next transaction, by their keys."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    load: float = 0.0

    def put(self, draft: Draft) -> None:
        self.drafts[draft.item.key] = draft
        heavy = draft.item.image is not None or draft.item.audio is not None
        self.load += 1 if heavy else 1 / _VECTORS if draft.vectors else 1 / _TEXTS


@dataclass(slots=True)
class _Stored:
    """An item on its way into the catalog: segments that are to be embedded, or those that it had already."""

    draft: Draft
    info: MediaInfo
    prepared: list[PreparedSegment] = field(default_factory=list)
    kept: tuple[NewSegment, ...] = ()
    kept_ids: tuple[int, ...] = ()


def add_items(
    items: Iterable[ItemData | Mapping[str, Any]],
    catalog: Catalog,
    encoders: Sequence[Encoder],
    stores: VectorStores,
    *,
    rerankers: Mapping[str, Reranker] = MappingProxyType({}),
    tokens: TokenStores | None = None,
    batch_size: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> AddSummary:
    """Add items while they come in; one with a key that is there replaces it, one that is equal changes nothing.

    The caller holds the library's writer lock. See `SearchEngine.add`.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"The batch size must be at least 1, not {batch_size}.")
    started = time.perf_counter()
    catalog.register_encoders([EncoderRecord(encoder.id, encoder.dim) for encoder in encoders])
    with (
        Interruption() as interruption,
        quiet_decoders(),
        TokenKeeper(catalog, encoders, rerankers, tokens) as keeper,
        ThreadPoolExecutor(default_threads(), "mmsearch-add") as threads,
    ):
        size = batch_size or max(encoder.batch_size for encoder in encoders)
        adding = _Adding(catalog, encoders, keeper, threads, size, Reporter(progress))
        interruption.guard(lambda: adding.run(items, lambda: interruption.asked))
        interruption.guard(lambda: fold_pending(catalog, encoders, stores, progress))
        interruption.guard(keeper.finish)
    return AddSummary(
        adding.new,
        adding.changed,
        adding.unchanged,
        tuple(adding.failed),
        adding.embedded,
        time.perf_counter() - started,
        interruption.asked,
    )


class _Adding:
    """One run of `add_items`."""

    def __init__(
        self,
        catalog: Catalog,
        encoders: Sequence[Encoder],
        keeper: TokenKeeper,
        threads: ThreadPoolExecutor,
        batch_size: int,
        reporter: Reporter,
    ) -> None:
        self.new = self.changed = self.unchanged = self.embedded = 0
        self.failed: list[ItemFailure] = []
        self._catalog, self._encoders, self._keeper, self._threads = catalog, encoders, keeper, threads
        self._records = [EncoderRecord(encoder.id, encoder.dim) for encoder in encoders]
        self._reader = SegmentReader(encoders)
        self._batch_size, self._reporter = batch_size, reporter

    def run(self, items: Iterable[ItemData | Mapping[str, Any]], stopping: Callable[[], bool]) -> None:
        self._reporter.begin("embed", None)
        batch = _Batch()
        for given in items:
            key = given.key if isinstance(given, ItemData) else given.get("key") if isinstance(given, Mapping) else None
            try:
                draft = draft_of(item_of(given), self._records)
            except BadItemError as error:
                self._fail(key, error)
                continue
            if draft.item.key in batch.drafts or batch.load >= self._batch_size:
                self._flush(batch)
                batch = _Batch()
            batch.put(draft)
            if stopping():
                break
        self._flush(batch)
        self._reporter.end(self._done)

    @property
    def _done(self) -> int:
        return self.new + self.changed + self.unchanged + len(self.failed)

    def _fail(self, key: object, error: BadItemError) -> None:
        self.failed.append(ItemFailure(key if isinstance(key, str) else None, str(error)))

    def _flush(self, batch: _Batch) -> None:
        """Embed and store a batch as one transaction."""
        if not batch.drafts:
            return
        known = self._catalog.added_items(batch.drafts)
        entries: list[_Stored] = []
        fresh: list[Draft] = []
        for key, draft in batch.drafts.items():
            old = known.get(key)
            if old is None or old.content_hash != draft.content_hash or old.modality != draft.modality:
                fresh.append(draft)
            elif _same_facts(draft, old):
                self.unchanged += 1
            else:
                entries.append(self._with_old_content(draft, old))
        for draft, read in zip(fresh, self._threads.map(self._read, fresh), strict=True):
            if isinstance(read, BadItemError):
                self._fail(draft.item.key, read)
            else:
                entries.append(_Stored(draft, *read))
        self._write(entries)
        changed = sum(entry.draft.item.key in known for entry in entries)
        self.changed += changed
        self.new += len(entries) - changed
        self._reporter.advance(self._done)

    def _read(self, draft: Draft) -> tuple[MediaInfo, list[PreparedSegment]] | BadItemError:
        try:
            return draft.read(self._reader)
        except BadItemError as error:
            return error

    def _with_old_content(self, draft: Draft, old: AddedItem) -> _Stored:
        """An item of which only facts have changed: nothing is embedded again."""
        segments = self._catalog.segments_of(old.id)
        vectors: dict[int, dict[str, Any]] = {segment.id: {} for segment in segments}
        for record in self._records:
            for id_, vector in zip(*self._catalog.vectors(record.id, vectors), strict=True):
                vectors[int(id_)][record.id] = vector
        kept = tuple(
            NewSegment(
                segment.modality,
                vectors[segment.id],
                segment.start_ms,
                segment.end_ms,
                segment.start_char,
                segment.end_char,
                segment.text,
                segment.page,
                segment.shot,
            )
            for segment in segments
        )
        item, info = draft.item, self._catalog.items([old.id])[old.id].info
        given = MediaInfo(
            info.width,
            info.height,
            item.taken_at or info.taken_at,
            info.camera,
            info.latitude if item.latitude is None else item.latitude,
            info.longitude if item.longitude is None else item.longitude,
            info.duration_ms,
        )
        return _Stored(draft, given, kept=kept, kept_ids=tuple(segment.id for segment in segments))

    def _write(self, entries: Sequence[_Stored]) -> None:
        if not entries:
            return
        prepared = [segment for entry in entries for segment in entry.prepared]
        embedded = embed_with_tokens(self._encoders, prepared, self._keeper.rerankers)
        found = iter(embedded.embeddings)
        now = time.time_ns()
        items: list[NewItem] = []
        for entry in entries:
            draft, vectors = entry.draft, entry.draft.vectors
            made = entry.kept or tuple(segment.embedded(next(found)) for segment in entry.prepared)
            if vectors and not entry.kept:
                made = (NewSegment(draft.modality, vectors, text=draft.item.text if draft.is_text else None), *made)
            size = len(draft.item.image) if isinstance(draft.item.image, bytes) else 0
            items.append(
                NewItem(
                    draft.modality,
                    made,
                    key=draft.item.key,
                    size_bytes=size,
                    mtime_ns=now,
                    content_hash=draft.content_hash,
                    info=entry.info,
                    metadata=draft.item.metadata,
                )
            )
        self._keeper.prepare(prepared, embedded.tokens)
        ids = iter(self._catalog.write(items=items))
        prepared_ids: list[int] = []
        copied: dict[int, int] = {}
        for entry, item in zip(entries, items, strict=True):
            own = [next(ids) for _ in item.segments]
            copied.update(zip(own, entry.kept_ids, strict=False))
            prepared_ids += own[len(own) - len(entry.prepared) :] if not entry.kept else []
        self._keeper.copy(copied)
        self._keeper.keep(prepared, prepared_ids, embedded.tokens)
        self.embedded += len(prepared)


def _same_facts(draft: Draft, old: AddedItem) -> bool:
    """Whether what is said of an item is what the catalog says; a fact that is not given is left as it is."""
    item = draft.item
    return (
        item.metadata == old.metadata
        and (item.taken_at is None or item.taken_at.isoformat() == old.taken_at)
        and (item.latitude is None or (item.latitude, item.longitude) == (old.latitude, old.longitude))
    )


def remove_items(keys: Iterable[str], catalog: Catalog, encoders: Sequence[Encoder], stores: VectorStores) -> int:
    """Remove items by their keys, or by the paths of their files; returns how many were there. Holds the lock."""
    ids = catalog.ids_of_keys(list(keys))
    gone = sorted({int(id_) for id_ in ids[ids >= 0]})
    for start in range(0, len(gone), _REMOVED_TOGETHER):
        catalog.write(removed=gone[start : start + _REMOVED_TOGETHER])
    fold_pending(catalog, encoders, stores, None)
    return len(gone)


def fold_pending(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    stores: VectorStores,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Bring those vector indexes up to the catalog that are far behind it."""
    if not catalog.encoders():
        return
    for encoder in encoders:
        for modality in Modality:
            source, store = catalog.vector_source(encoder.id, modality), stores(encoder, modality)
            if store.pending(source) > _LEFT_TO_SEARCH:
                store.fold(source, progress=progress)
