"""Segments without tokens -> tokens, made of their files again where these are as they were when they were indexed."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from indexer.embedding import encode_pictures
from indexer.interruption import Interruption
from indexer.prepared import Reading
from indexer.reader import SegmentReader
from indexer.reporter import Reporter
from indexer.tokens import PICTURES, Gap, TokenKeeper
from mmsearch.config import processors
from mmsearch.errors import MediaError, UsageError
from mmsearch.media.image import quiet_decoders
from mmsearch.types import Failure, Item, Progress, Segment, TokenSummary

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.rerank.token_store import TokenStores
    from mmsearch.storage.catalog import Catalog

__all__ = ["Filling", "fill_gaps", "rebuild_tokens"]

# Segments that are looked up at once.
_PORTION = 2048

_Read = Reading | Failure | Literal["missing", "changed"]


@dataclass(slots=True)
class Filling:
    """Makes tokens of segments that were stored without.

    Args:
        catalog, keeper: The library.
        stopping: Says that the run is to end early.
        progressed: Called with the number of segments that are done.

    Attributes:
        made: Segments that have tokens now.
        missing, changed: Items whose files are gone, or other than when they were indexed.
        skipped: Files that could not be read.
    """

    catalog: Catalog
    keeper: TokenKeeper
    stopping: Callable[[], bool]
    progressed: Callable[[int], None]
    threads: int | None = None
    batch_size: int | None = None
    made: int = 0
    missing: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    skipped: dict[int, Failure] = field(default_factory=dict)
    _done: int = 0

    def fill(self, gaps: Sequence[Gap]) -> None:
        """Make tokens, in ascending order of ids: what fills a gap at the end of a store is a part of its last run."""
        for gap in gaps:
            if not self.stopping():
                self._fill(gap)

    def _fill(self, gap: Gap) -> None:
        encoder, size = gap.encoder, self.batch_size or gap.encoder.batch_size
        pending: list[tuple[int, Any]] = []
        for item, segments, read in self._read(gap, size):
            if self.stopping():
                break
            try:
                for id_, inputs in self._pictures(item, segments, read):
                    pending.append((id_, inputs[encoder.id]))
                    if len(pending) >= size:
                        self._make(gap, pending)
            except MediaError as error:
                self.skipped[item.id] = Failure(item.path or Path(), error.reason)
            except MemoryError:
                self.skipped[item.id] = Failure(item.path or Path(), "not enough memory to decode it")
            self._done += len(segments)
            self.progressed(self._done)
        self._make(gap, pending)

    def _pictures(self, item: Item, segments: Sequence[Segment], read: _Read) -> Iterator[tuple[int, Any]]:
        if isinstance(read, Failure):
            self.skipped[item.id] = read
        elif isinstance(read, Reading):
            ids = {segment.start_ms: segment.id for segment in segments}
            for picture in read.segments:
                if not ids or picture.modality is not segments[0].modality:
                    break  # the pictures of a file come before its sounds and texts
                if picture.start_ms in ids:
                    yield ids.pop(picture.start_ms), picture.inputs
        else:
            (self.missing if read == "missing" else self.changed).add(item.id)

    def _make(self, gap: Gap, pending: list[tuple[int, Any]]) -> None:
        """Make tokens of the pictures that wait, and empty the list."""
        if not pending:
            return
        pending.sort(key=lambda entry: entry[0])
        began = time.perf_counter()
        reranker = self.keeper.rerankers[gap.encoder.id]
        _, tokens, _ = encode_pictures(gap.encoder, reranker, [inputs for _, inputs in pending])
        self.keeper.busy_s += time.perf_counter() - began
        self.keeper.append(gap.encoder, gap.modality, np.array([id_ for id_, _ in pending], np.int64), tokens)
        self.made += len(pending)
        pending.clear()

    def _read(self, gap: Gap, size: int) -> Iterator[tuple[Item, Sequence[Segment], _Read]]:
        """The files of segments, read on threads a little ahead; a video is decoded as its frames are taken."""
        reader = SegmentReader([gap.encoder], captions=False)
        waiting: deque[tuple[Item, Sequence[Segment], Future[_Read]]] = deque()
        pool = ThreadPoolExecutor(self.threads or min(32, processors()), thread_name_prefix="mmsearch-fill")
        try:
            for item, segments in self._items(gap):
                waiting.append((item, segments, pool.submit(_read, reader, item)))
                if len(waiting) >= 2 * size:
                    item, segments, future = waiting.popleft()
                    yield item, segments, future.result()
            while waiting:
                item, segments, future = waiting.popleft()
                yield item, segments, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _items(self, gap: Gap) -> Iterator[tuple[Item, Sequence[Segment]]]:
        for start in range(0, len(gap.ids), _PORTION):
            records = self.catalog.segments(gap.ids[start : start + _PORTION].tolist())
            groups: dict[int, tuple[Item, list[Segment]]] = {}
            for id_ in sorted(records):
                record = records[id_]
                groups.setdefault(record.item.id, (record.item, []))[1].append(record.segment)
            yield from groups.values()


def fill_gaps(
    catalog: Catalog,
    keeper: TokenKeeper,
    reporter: Reporter,
    interruption: Interruption,
    *,
    threads: int | None = None,
    batch_size: int | None = None,
) -> None:
    """Make the tokens that an earlier run was kept from storing."""
    gaps = [] if interruption.asked else keeper.gaps()
    if not gaps:
        return
    reporter.begin("tokens", sum(len(gap.ids) for gap in gaps))
    filling = Filling(catalog, keeper, lambda: interruption.asked, reporter.advance, threads, batch_size)
    filling.fill(gaps)
    if filling.made:
        pictures = "1 picture that had" if filling.made == 1 else f"{filling.made:,} pictures that had"
        keeper.notices.append(f"Made the tokens of {pictures} none.")


def rebuild_tokens(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    rerankers: Mapping[str, Reranker],
    stores: TokenStores,
    *,
    threads: int | None = None,
    batch_size: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> TokenSummary:
    """Make the tokens of every picture anew whose file is there; the caller holds the library's writer lock.

    Tokens of pictures whose files are not there now are kept, unless they are of another reranker. Ctrl-C ends the run
    after the batch in flight; the next indexing run makes those that are missing then.

    Raises:
        UsageError: No encoder has a reranker that keeps tokens.
        EncoderError: A tower or a reranker failed; what was stored before is kept.
        StorageError: The disk is full, read-only or failing; what was stored before is kept.
    """
    started = time.perf_counter()
    reporter = Reporter(progress)
    usable = {
        encoder.id: reranker
        for encoder in encoders
        if (reranker := rerankers.get(encoder.id)) is not None
        and reranker.tokens is not None
        and encoder.patches is not None
    }
    if not usable:
        names = " and ".join(encoder.id for encoder in encoders)
        raise UsageError(
            f"There are no tokens to make for the model {names}, which has no reranker that keeps any.",
            hint="Leave --tokens out.",
        )
    with Interruption() as interruption, quiet_decoders(), TokenKeeper(catalog, encoders, usable, stores) as keeper:
        held = {(record.encoder_id, record.modality) for record in catalog.collections()}
        for encoder in encoders:
            for modality in PICTURES:
                if encoder.id in keeper.rerankers and (encoder.id, modality) in held:
                    keeper.begin(encoder, modality).demand_all()
        filling = Filling(catalog, keeper, lambda: interruption.asked, reporter.advance, threads, batch_size)

        def run() -> None:
            gaps = keeper.gaps(everything=True)
            reporter.begin("tokens", sum(len(gap.ids) for gap in gaps))
            filling.fill(gaps)

        interruption.guard(run)
        interruption.guard(keeper.finish)
    return TokenSummary(
        made=filling.made,
        missing=len(filling.missing),
        changed=len(filling.changed),
        skipped=tuple(filling.skipped.values()),
        elapsed_s=time.perf_counter() - started,
        interrupted=interruption.asked,
    )


def _read(reader: SegmentReader, item: Item) -> _Read:
    if item.path is None:
        return "missing"
    try:
        status = os.stat(item.path)
    except OSError:
        return "missing"
    if (status.st_size, status.st_mtime_ns) != (item.size_bytes, item.mtime_ns):
        return "changed"
    try:
        return reader.read(item.path, item.modality)
    except MediaError as error:
        return Failure(item.path, error.reason)
    except MemoryError:
        return Failure(item.path, "not enough memory to decode it")
