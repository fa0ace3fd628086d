"""Paths -> a library that holds what lies there: one indexing run from the scan to the vector index."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from indexer.batch import Tally
from indexer.changes import Changes, compare, known_below
from indexer.filling import fill_gaps
from indexer.interruption import Interruption
from indexer.loader import Loader, default_threads
from indexer.pipeline import Pipeline
from indexer.reader import SegmentReader
from indexer.reporter import Reporter
from indexer.scan import DEFAULT_IGNORES, IgnoreRules, Scan
from indexer.targets import Target, plan_targets
from indexer.tokens import TokenKeeper
from mmsearch.errors import UsageError
from mmsearch.media.image import quiet_decoders
from mmsearch.types import EncoderRecord, IndexSummary, Modality, Progress

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.rerank.token_store import TokenStores
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.stores import VectorStores

__all__ = ["SyncOptions", "sync"]


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How an indexing run goes about its work.

    Attributes:
        ignore: Globs of names and paths to pass over, beside `DEFAULT_IGNORES`.
        include_hidden: Look at names that begin with a dot as well.
        prune: Remove the items of folders that are missing or empty, too.
        batch_size: Images for each batch; the encoder's own when None.
        threads: Threads that read and decode; one for each processor when None.
        retry_failed: Read files again that could not be decoded before and did not change since.
        captions: Read what is written about photos, sounds and videos, in them and in files beside them; such files
            are no documents by themselves in any case.
        tokens: Keep tokens of pictures for rerankers. What is indexed without them has none until they are made anew.
    """

    ignore: Sequence[str] = ()
    include_hidden: bool = False
    prune: bool = False
    batch_size: int | None = None
    threads: int | None = None
    retry_failed: bool = False
    captions: bool = True
    tokens: bool = True

    def __post_init__(self) -> None:
        for name, value in (("batch size", self.batch_size), ("number of threads", self.threads)):
            if value is not None and value < 1:
                raise UsageError(f"The {name} must be at least 1, not {value}.")


def sync(
    paths: Sequence[Path],
    catalog: Catalog,
    encoders: Sequence[Encoder],
    stores: VectorStores,
    *,
    rerankers: Mapping[str, Reranker] = MappingProxyType({}),
    tokens: TokenStores | None = None,
    options: SyncOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> IndexSummary:
    """Index folders and files: afterwards the library holds what lies below the paths, and nothing else from there.

    Ctrl-C ends the run after the batch in flight, with everything so far stored; a second one ends it at once. The
    caller holds the library's writer lock.

    Args:
        paths: Folders and files; a path inside a folder that was indexed before is a part of that.
        catalog: The library, open for writing.
        encoders: Whose embeddings it holds; each embeds what it can.
        stores: The vector indexes, brought up to date at the end.
        rerankers: By the ids of their encoders; for those that keep tokens of pictures, these are made as well.
        tokens: Where tokens are kept.
        options: How to go about it.
        progress: Called about ten times a second.

    Raises:
        UsageError: A path is not there.
        EncoderMismatchError: The library was made with other encoders.
        EncoderError: The encoder failed; what was stored before is kept.
        StorageError: The disk is full, read-only or failing; what was stored before is kept.
    """
    started = time.perf_counter()
    options = options or SyncOptions()
    reporter = Reporter(progress)
    targets = plan_targets(paths, [root.path for root in catalog.roots()])
    catalog.register_encoders([EncoderRecord(encoder.id, encoder.dim) for encoder in encoders])
    reader = SegmentReader(encoders, captions=options.captions)
    changes = Changes()
    with (
        Interruption() as interruption,
        quiet_decoders(),
        TokenKeeper(catalog, encoders, rerankers, tokens, paused=not options.tokens) as keeper,
    ):
        interruption.guard(lambda: _look_through(targets, catalog, reader, changes, options, reporter, interruption))
        scanned = time.perf_counter()
        pace = {"threads": options.threads, "batch_size": options.batch_size}
        interruption.guard(lambda: fill_gaps(catalog, keeper, reporter, interruption, **pace))
        tally, decode_s = _bring_up_to_date(catalog, encoders, reader, keeper, changes, options, reporter, interruption)
        if options.prune and not interruption.asked:
            _forget_roots(targets, catalog)
        stored = time.perf_counter()
        interruption.guard(lambda: _fold(catalog, encoders, stores, progress))
        folded = time.perf_counter()
        interruption.guard(keeper.finish)
    stage_seconds = {
        "scan": scanned - started,
        "decode": decode_s,
        "encode": tally.encode_s,
        "store": tally.store_s,
        "index": folded - stored,
    }
    if keeper.busy_s:
        stage_seconds["tokens"] = keeper.busy_s
    return IndexSummary(
        new=tally.new,
        changed=tally.changed,
        moved=tally.moved,
        copied=tally.copied,
        removed=tally.removed,
        unchanged=tally.unchanged,
        kept=changes.kept,
        skipped=tuple(tally.skipped),
        embedded=tally.embedded.total(),
        embedded_by=dict(tally.embedded),
        stage_seconds=stage_seconds,
        elapsed_s=time.perf_counter() - started,
        interrupted=interruption.asked,
        notices=(*changes.notices, *keeper.notices, *tally.remarks),
    )


def _look_through(
    targets: Sequence[Target],
    catalog: Catalog,
    reader: SegmentReader,
    changes: Changes,
    options: SyncOptions,
    reporter: Reporter,
    interruption: Interruption,
) -> None:
    """Scan the targets and gather what differs from the catalog."""
    rules = IgnoreRules((*DEFAULT_IGNORES, *options.ignore), include_hidden=options.include_hidden)
    roots = {Path(os.path.realpath(root.path)): root for root in catalog.roots()}
    all_roots = {*roots, *(target.root for target in targets)}
    reporter.begin("scan", None)
    done = 0
    unwanted: Counter[Modality] = Counter()
    beside = 0
    for target in targets:
        scan = Scan(
            target,
            rules,
            roots=all_roots,
            library=catalog.path,
            modalities=reader.modalities,
            captions=options.captions,
        )
        found = iter(scan)
        first = next(found, None)
        root = roots.get(target.root)
        known = {} if root is None else known_below(catalog.known_files(root.id), target.below)
        if first is None and not known:
            if scan.missing and target.named:
                raise UsageError(f"{target.absolute} does not exist.", hint="Name a folder or a file that is there.")
            unwanted.update(scan.unwanted)
            if scan.beside:
                beside += 1
            elif not (scan.missing or scan.unwanted):
                changes.notices.append(f"There is nothing to index in {target.absolute}.")
            continue
        if root is None:
            root = catalog.add_root(target.root)
        entries = found if first is None else chain([first], found)
        flags = {"prune": options.prune, "retry_failed": options.retry_failed}
        for _ in compare(changes, root, scan, entries, known, **flags):
            if interruption.asked:
                return
            done += 1
            reporter.advance(done)
        unwanted.update(scan.unwanted)
    for modality, count in sorted(unwanted.items()):
        kind = f"{modality} file" if count == 1 else f"{modality} files"
        changes.notices.append(f"{count:,} {kind} passed over: no model of this library takes any.")
    if beside:
        texts = (
            "1 text file belongs to a file beside it and is"
            if beside == 1
            else f"{beside:,} text files belong to files beside them and are"
        )
        changes.notices.append(f"{texts} read together with that.")
    reporter.end(done)


def _bring_up_to_date(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    reader: SegmentReader,
    keeper: TokenKeeper,
    changes: Changes,
    options: SyncOptions,
    reporter: Reporter,
    interruption: Interruption,
) -> tuple[Tally, float]:
    """Store the changes; returns what was done and the seconds that the loading threads were busy."""

    def stopping() -> bool:
        return interruption.asked

    batch_size = options.batch_size or max(encoder.batch_size for encoder in encoders)
    with _loading(catalog, reader, options.threads or default_threads(), 2 * batch_size) as loader:
        pipeline = Pipeline(
            catalog,
            encoders,
            loader,
            keeper,
            changes,
            batch_size=batch_size,
            stopping=stopping,
            progressed=reporter.advance,
        )

        def run() -> None:
            if total := len(changes.new) + len(changes.changed):
                reporter.begin("embed", total)
            pipeline.run()

        if not stopping():
            interruption.guard(run)
            if stopping():
                pipeline.save()
        return pipeline.tally, loader.busy_s


def _forget_roots(targets: Sequence[Target], catalog: Catalog) -> None:
    """Forget the folders that are gone, now that nothing is stored of them."""
    missing = {target.root for target in targets if not os.path.lexists(target.root)}
    for root in catalog.roots():
        if root.path in missing and not catalog.known_files(root.id):
            catalog.remove_root(root.id)


def _fold(
    catalog: Catalog,
    encoders: Sequence[Encoder],
    stores: VectorStores,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Bring the vector indexes up to the catalog, those that are not."""
    for encoder in encoders:
        for modality in Modality:
            source, store = catalog.vector_source(encoder.id, modality), stores(encoder, modality)
            if store.pending(source):
                store.fold(source, progress=progress)


@contextmanager
def _loading(catalog: Catalog, reader: SegmentReader, threads: int, ahead: int) -> Iterator[Loader]:
    loader = Loader(catalog, reader, threads=threads, ahead=ahead)
    try:
        yield loader
    except BaseException:
        loader.close(wait=False)  # an error must not wait for a large picture to be decoded
        raise
    loader.close()
