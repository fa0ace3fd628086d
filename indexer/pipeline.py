"""Changes -> a library that is up to date: the one loop that takes contents, encodes them in batches and stores them.

A batch is one transaction. Whatever ends the process, the batches before it are stored and the next run goes on there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from indexer.batch import Batch, Entry, Tally
from indexer.changes import ALWAYS_RETRIED, Candidate, Changes
from indexer.embedding import embed_with_tokens
from indexer.loader import Content, Loader
from indexer.prepared import Reading
from indexer.stream import Stream
from mmsearch.storage.changes import Copy, FailedFile, Move, Touch
from mmsearch.types import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.tokens import TokenKeeper
    from mmsearch.protocols import Encoder
    from mmsearch.storage.catalog import Catalog

__all__ = ["Pipeline"]

# A word on a long file is said every so many of its segments.
_TOLD = 16


class Pipeline:
    """Brings a catalog up to date with the changes of one run.

    Args:
        catalog, encoders, loader: What it works with.
        keeper: Keeps the tokens of pictures.
        changes: What to do.
        batch_size: Images for each transaction.
        stopping: Says that the run is to end early.
        progressed: Called with the number of files that are done, and a word on one that takes long.
    """

    def __init__(
        self,
        catalog: Catalog,
        encoders: Sequence[Encoder],
        loader: Loader,
        keeper: TokenKeeper,
        changes: Changes,
        *,
        batch_size: int,
        stopping: Callable[[], bool],
        progressed: Callable[[int, str], None],
    ) -> None:
        self.tally = Tally(unchanged=changes.unchanged, skipped=list(changes.skipped))
        self._catalog = catalog
        self._encoders = encoders
        self._loader = loader
        self._keeper = keeper
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
        self._batch.entries.clear()
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
                self._batch.touched.append(_touch(own, candidate))
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
        if digest in self._batch.entries:
            self._batch.duplicates.append((candidate, digest))
            return
        if self._reuse(candidate, content.stored or self._catalog.items_with_hash(digest)):
            self._displace(candidate)
            return
        decoded = None if content.decoding is None else content.decoding.result()
        if isinstance(decoded, Reading):
            entry = self._begin(content, digest, decoded)
            for segment in decoded.segments:
                self._batch.add(entry, segment)
            entry.complete = True
        elif isinstance(decoded, Stream):
            self._take_stream(content, digest, decoded)
        elif decoded is not None:
            self._fail(content, decoded)
        elif not always:
            # The item with this content was lost between the look-up and now.
            self._again.append(candidate)

    def _begin(self, content: Content, digest: bytes, reading: Reading) -> Entry:
        """Make room for a file's segments."""
        candidate = content.candidate
        entry = self._batch.entries[digest] = Entry(candidate, digest, reading.info)
        self.tally.remarks.update(dict.fromkeys(reading.remarks))
        self._displace(candidate)
        self._batch.count(_news(candidate))
        return entry

    def _take_stream(self, content: Content, digest: bytes, stream: Stream) -> None:
        """Take segments as they are decoded; those of a long file are stored in between."""
        entry: Entry | None = None
        for taken, segment in enumerate(stream, start=1):
            entry = entry or self._begin(content, digest, stream.reading)
            self._batch.add(entry, segment)
            if self._batch.full(self._batch_size):
                self._flush()
            if self._stopping():
                stream.close()
                return
            if taken % _TOLD == 0:
                self._progressed(self._done, f"{content.candidate.file.absolute.name}: {taken:,} parts so far")
        if entry is None:
            self._fail(content, stream.reason or "nothing in it that could be found")
            return
        entry.complete = True
        if stream.reason is not None:
            remark = f"{content.candidate.file.absolute} was read in part only ({stream.reason})."
            self.tally.remarks[remark] = None

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
            self._batch.moves.append(Move(moving, candidate.root_id, file.path, file.mtime_ns, file.sidecars))
        else:
            place = (candidate.root_id, file.path, file.size_bytes, file.mtime_ns, file.sidecars)
            self._batch.copies.append(Copy(usable[0], *place))
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
        failed = FailedFile(candidate.root_id, file.path, file.size_bytes, mtime_ns, reason, file.sidecars)
        if known is None or (known.size_bytes, known.mtime_ns, known.reason, known.sidecars) != (
            failed.size_bytes,
            failed.mtime_ns,
            failed.reason,
            failed.sidecars,
        ):
            self._batch.failures.append(failed)
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
        if files:  # a batch of one long file finishes none, and what was said of it stands
            self._done += files
            self._progressed(self._done, "")

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
        segments = list(batch.segments)
        started = time.perf_counter()
        embedded = embed_with_tokens(self._encoders, segments, self._keeper.rerankers)
        self._keeper.busy_s += embedded.compressing_s
        encoded = time.perf_counter()
        self._keeper.prepare(segments, embedded.tokens)
        items, parts, completed = batch.stored(embedded.embeddings)
        copied: dict[int, int] = {}
        ids = self._catalog.write(
            items=items,
            parts=parts,
            completed=completed,
            copies=batch.copies,
            moves=batch.moves,
            touched=batch.touched,
            removed=batch.removed,
            failures=batch.failures,
            forgotten=batch.forgotten,
            copied=copied,
        )
        self.tally.encode_s += encoded - started - embedded.compressing_s
        self.tally.store_s += time.perf_counter() - encoded
        self._keeper.copy(copied)
        self._keeper.keep(segments, ids, embedded.tokens)
        self.tally.embedded.update(segment.modality.value for segment in segments)
        self._go_on(batch, ids)
        for what, count in batch.counts.items():
            setattr(self.tally, what, getattr(self.tally, what) + count)
        done = [digest for digest, entry in batch.entries.items() if entry.complete]
        self._loader.release(done)
        self._advance(len(done))

    def _go_on(self, batch: Batch, ids: tuple[int, ...]) -> None:
        """Take entries that go on into the next batch; they count when they are complete."""
        at = 0
        for digest, entry in batch.entries.items():
            if entry.item_id is None:
                if not entry.complete:
                    # Its first segment tells the item: an entry begins with one.
                    entry.item_id = self._catalog.item_of(ids[at])
                # The segments of items come before those of parts.
                at += len(entry.segments)
            entry.segments = []
            if not entry.complete:
                self._batch.entries[digest] = entry
                what = _news(entry.candidate)
                batch.counts[what] -= 1
                self._batch.count(what)

    def _remove_gone(self) -> None:
        gone = [item_id for item_id in self._changes.gone if item_id in self._free]
        self._batch.removed.extend(gone)
        self._batch.forgotten.extend(self._changes.forgotten)
        self._write()
        self.tally.removed += len(gone)


def _own_item(candidate: Candidate) -> int:
    assert candidate.known is not None and candidate.known.item_id is not None
    return candidate.known.item_id


def _touch(item_id: int, candidate: Candidate) -> Touch:
    return Touch(item_id, candidate.file.size_bytes, candidate.file.mtime_ns, candidate.file.sidecars)


def _news(candidate: Candidate) -> str:
    """What a file with other content counts as."""
    return "new" if candidate.known is None or candidate.known.item_id is None else "changed"
