"""Changes -> a library that is up to date: the one loop that takes contents, encodes them in batches and stores them.

A batch is one transaction. Whatever ends the process, the batches before it are stored and the next run goes on there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from indexer.batch import Batch, Tally
from indexer.changes import ALWAYS_RETRIED, Candidate, Changes
from indexer.loader import Content, Loader, Prepared
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.types import Failure, NewItem

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder
    from mmsearch.storage.catalog import Catalog

__all__ = ["Pipeline"]


class Pipeline:
    """Brings a catalog up to date with the changes of one run.

    Args:
        catalog, encoder, loader: What it works with.
        changes: What to do.
        batch_size: Images for each transaction.
        stopping: Says that the run is to end early.
        progressed: Called with the number of files that are done.
    """

    def __init__(
        self,
        catalog: Catalog,
        encoder: Encoder,
        loader: Loader,
        changes: Changes,
        *,
        batch_size: int,
        stopping: Callable[[], bool],
        progressed: Callable[[int], None],
    ) -> None:
        self.tally = Tally(unchanged=changes.unchanged, skipped=list(changes.skipped))
        self._catalog = catalog
        self._encoder = encoder
        self._loader = loader
        self._changes = changes
        self._batch_size = batch_size
        self._stopping = stopping
        self._progressed = progressed
        self._done = 0
        self._batch = Batch(failures=list(changes.failed))
        # Items whose file is gone or holds other content now: free to become those of other files.
        self._free: set[int] = set(changes.gone)
        # Items that the catalog lost in this run, or will with the next batch.
        self._lost: set[int] = set()
        self._again: list[Candidate] = []

    def run(self) -> None:
        """Do all changes, or those up to the moment at which `stopping` says so.

        New files come before changed ones, and all changed ones that need no encoder into one transaction: files that
        swapped names or were shifted by one find the items of each other.
        """
        rewritten = self._sort_changed()
        self._take_all(self._changes.new)
        loading = self._reuse_all(rewritten)
        self._take_all(loading)
        while self._again and not self._stopping():
            again, self._again = self._again, []
            self._take_all(again, always=True)
        if not self._stopping():
            self._flush()
            self._remove_gone()

    def save(self) -> None:
        """Store what is ready without the encoder, when a run ends early."""
        self._batch.images.clear()
        self._batch.duplicates.clear()
        for what in ("new", "changed"):
            self._batch.counts.pop(what, None)
        self._write()

    def _sort_changed(self) -> list[Content]:
        """Tell the files that were only touched from those with other content."""
        rewritten: list[Content] = []
        for content in self._loader.hashes(self._changes.changed):
            if self._stopping():
                break
            candidate = content.candidate
            own = _own_item(candidate)
            if content.content_hash is None:
                self._fail(content)
            elif own in content.stored:
                self._batch.touched.append(Touch(own, candidate.file.size_bytes, candidate.file.mtime_ns))
                self._finish("unchanged")
                self._flush_if_full()
            else:
                self._free.add(own)
                rewritten.append(content)
        return rewritten

    def _reuse_all(self, rewritten: Iterable[Content]) -> list[Candidate]:
        """Give changed files the items that have their content; returns those that have to be decoded."""
        if self._stopping():
            return []
        self._flush()
        reused: list[Candidate] = []
        loading: list[Candidate] = []
        for content in rewritten:
            (reused if self._reuse(content.candidate, content.stored) else loading).append(content.candidate)
        # Only now: what lay at one of these paths may have become the item of another.
        for candidate in reused:
            self._displace(candidate)
        self._flush()
        return loading

    def _take_all(self, candidates: Iterable[Candidate], *, always: bool = False) -> None:
        for content in self._loader.contents(candidates, always=always):
            if self._stopping():
                return
            self._take(content, always)
            self._flush_if_full()
        if not self._stopping():
            self._flush()

    def _take(self, content: Content, always: bool) -> None:
        candidate, digest = content.candidate, content.content_hash
        if digest is None:
            self._fail(content)
            return
        if digest in self._batch.images:
            self._batch.duplicates.append((candidate, digest))
            return
        if self._reuse(candidate, content.stored or self._catalog.items_with_hash(digest)):
            self._displace(candidate)
            return
        decoded = None if content.decoding is None else content.decoding.result()
        if isinstance(decoded, Prepared):
            self._batch.images[digest] = (candidate, decoded)
            self._displace(candidate)
            self._batch.count("new" if candidate.known is None or candidate.known.item_id is None else "changed")
        elif decoded is not None:
            self._fail(content, decoded)
        elif not always:
            # The item with this content was lost between the look-up and now.
            self._again.append(candidate)

    def _reuse(self, candidate: Candidate, stored: Iterable[int]) -> bool:
        """Give a file an item with its content, if there is one; a free one moves, any other is copied."""
        usable = [item_id for item_id in stored if item_id not in self._lost]
        if not usable:
            return False
        file = candidate.file
        moving = next((item_id for item_id in usable if item_id in self._free), None)
        if moving is not None:
            self._free.discard(moving)
            self._changes.gone.pop(moving, None)
            self._batch.moves.append(Move(moving, candidate.root_id, file.path, file.mtime_ns))
        else:
            self._batch.copies.append(Copy(usable[0], candidate.root_id, file.path, file.size_bytes, file.mtime_ns))
        self._finish("moved" if moving is not None else "copied")
        return True

    def _fail(self, content: Content, reason: str | None = None) -> None:
        """Pass a file over. One that cannot be decoded is remembered; one that cannot be read is tried every time."""
        candidate = content.candidate
        file, known = candidate.file, candidate.known
        undecodable = reason is not None
        reason = reason or content.reason or ""
        self.tally.skipped.append(Failure(file.absolute, reason))
        self._advance(1)
        if content.vanished:
            return
        mtime_ns = file.mtime_ns if undecodable else ALWAYS_RETRIED
        if known is None or (known.size_bytes, known.mtime_ns, known.reason) != (file.size_bytes, mtime_ns, reason):
            self._batch.failures.append(FailedFile(candidate.root_id, file.path, file.size_bytes, mtime_ns, reason))
        if undecodable and (own := self._displace(candidate)) is not None:
            self._batch.removed.append(own)

    def _displace(self, candidate: Candidate) -> int | None:
        """Note that a path gets other content: its item is lost, unless it became that of another file."""
        own = None if candidate.known is None else candidate.known.item_id
        if own is None or own not in self._free:
            return None
        self._free.discard(own)
        self._lost.add(own)
        return own

    def _finish(self, what: str) -> None:
        self._batch.count(what)
        self._advance(1)

    def _advance(self, files: int) -> None:
        self._done += files
        self._progressed(self._done)

    def _flush_if_full(self) -> None:
        if self._batch.full(self._batch_size):
            self._flush()

    def _flush(self) -> None:
        """Encode and store the batch; duplicates in it become copies in the next one."""
        duplicates = self._batch.duplicates
        self._write()
        for candidate, digest in duplicates:
            if self._reuse(candidate, self._catalog.items_with_hash(digest)):
                self._displace(candidate)
            else:
                self._again.append(candidate)

    def _write(self) -> None:
        batch, self._batch = self._batch, Batch()
        if batch.empty:
            return
        items = self._encode(batch)
        started = time.perf_counter()
        self._catalog.write(
            self._encoder.id,
            items=items,
            copies=batch.copies,
            moves=batch.moves,
            touched=batch.touched,
            removed=batch.removed,
            failures=batch.failures,
            forgotten=batch.forgotten,
        )
        self.tally.store_s += time.perf_counter() - started
        self.tally.embedded += len(items)
        for what, count in batch.counts.items():
            setattr(self.tally, what, getattr(self.tally, what) + count)
        self._loader.release(batch.images)
        self._advance(len(items))

    def _encode(self, batch: Batch) -> list[NewItem]:
        if not batch.images:
            return []
        started = time.perf_counter()
        embeddings = self._encoder.encode_images([prepared.image for _, prepared in batch.images.values()])  # (n, dim)
        self.tally.encode_s += time.perf_counter() - started
        return batch.items(embeddings)

    def _remove_gone(self) -> None:
        gone = [item_id for item_id in self._changes.gone if item_id in self._free]
        self._batch.removed.extend(gone)
        self._batch.forgotten.extend(self._changes.forgotten)
        self._write()
        self.tally.removed += len(gone)


def _own_item(candidate: Candidate) -> int:
    assert candidate.known is not None and candidate.known.item_id is not None
    return candidate.known.item_id
