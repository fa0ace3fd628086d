"""Candidates -> their content, hashed, looked up and, where it is new, decoded and prepared; on threads, in order.

A few batches are looked ahead, never more, and every file is read once. Content that the catalog has, or that another
file of the same run has brought, is not decoded again.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from indexer.changes import Candidate
from indexer.prepared import Reading
from indexer.reader import SegmentReader, salt_of
from indexer.stream import Room, Stream
from mmsearch.config import processors
from mmsearch.errors import MediaError
from mmsearch.media.files import HASH_BYTES, content_hash, open_regular, reason_of, stream_hash
from mmsearch.types import Modality

if TYPE_CHECKING:
    from mmsearch.storage.catalog import Catalog

__all__ = ["MAX_IMAGE_BYTES", "Content", "Loader", "default_threads"]

MAX_IMAGE_BYTES = 1 << 30
# A larger file is hashed and decoded from the disk, instead of being held in memory: by each thread a photo, by each
# file that is looked ahead at a text.
_HELD_BYTES = {Modality.IMAGE: 64 << 20, Modality.TEXT: 256 << 10}


@dataclass(frozen=True, slots=True)
class Content:
    """What reading a candidate gave.

    Attributes:
        content_hash: 16 bytes, or None where the file could not be read.
        stored: Items of the catalog with the same content, when it was looked up.
        decoding: What becomes of the content: a photo's segments, a stream of those of another file, or a reason why it
            cannot be decoded, or None where the catalog has it. The same for all candidates with that content.
        reason: Why the file could not be read.
        vanished: It was deleted since the scan.
    """

    candidate: Candidate
    content_hash: bytes | None = None
    stored: tuple[int, ...] = ()
    decoding: Future[Reading | Stream | str | None] | None = None
    reason: str | None = None
    vanished: bool = False


def default_threads() -> int:
    """As many threads as there are processors for this process, within reason."""
    return min(32, processors())


class Loader:
    """Reads candidates ahead of the one loop that encodes and stores them.

    Args:
        catalog: Asked for items with the same content.
        reader: Decodes files and lays out their segments.
        threads: How many files are read and decoded at once.
        ahead: How many candidates are worked on before the first of them is taken.
    """

    def __init__(self, catalog: Catalog, reader: SegmentReader, *, threads: int, ahead: int) -> None:
        self._catalog = catalog
        self._reader = reader
        self._room = Room()
        self._ahead = max(ahead, threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="mmsearch-load")
        self._lock = threading.Lock()
        self._decodings: dict[bytes, Future[Reading | Stream | str | None]] = {}
        self._busy_s = 0.0

    @property
    def busy_s(self) -> float:
        """Seconds spent on reading, hashing, decoding and preparing, added up over the threads."""
        return self._busy_s

    def hashes(self, candidates: Iterable[Candidate]) -> Iterator[Content]:
        """Read and look up candidates without decoding any, in order."""
        return self._in_order(self._hash, candidates)

    def contents(self, candidates: Iterable[Candidate], *, always: bool = False) -> Iterator[Content]:
        """Read candidates and decode what is new, in order.

        Args:
            candidates: The files.
            always: Decode also what the catalog has.
        """
        return self._in_order(lambda candidate: self._load(candidate, always), candidates)

    def release(self, content_hashes: Iterable[bytes]) -> None:
        """Let go of contents that are in the catalog now; a later file with one of them finds it there."""
        with self._lock:
            for digest in content_hashes:
                self._decodings.pop(digest, None)

    def close(self, *, wait: bool = True) -> None:
        """Stop; photos that are being read are finished, or left to end by themselves, longer files are broken off."""
        self._room.close()
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _in_order(self, function: Callable[[Candidate], Content], candidates: Iterable[Candidate]) -> Iterator[Content]:
        waiting: deque[Future[Content]] = deque()
        try:
            for candidate in candidates:
                waiting.append(self._pool.submit(function, candidate))
                if len(waiting) >= self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _hash(self, candidate: Candidate) -> Content:
        started = time.perf_counter()
        try:
            read = self._read(candidate, keep=False)
            if isinstance(read, Content):
                return read
            digest, _ = read
            return Content(candidate, digest, tuple(self._catalog.items_with_hash(digest)))
        finally:
            self._add_busy(started)

    def _load(self, candidate: Candidate, always: bool) -> Content:
        started = time.perf_counter()
        try:
            read = self._read(candidate, keep=True)
            if isinstance(read, Content):
                return read
            digest, data = read
            with self._lock:
                decoding = self._decodings.get(digest)
                mine = decoding is None
                if decoding is None:
                    decoding = self._decodings[digest] = Future()
            if not mine:
                return Content(candidate, digest, decoding=decoding)
            # Only after the claim: content is released when it has been committed, so that whoever finds no claim
            # finds it in the catalog.
            stored = () if always else tuple(self._catalog.items_with_hash(digest))
            if stored:
                decoding.set_result(None)
                self.release([digest])
                return Content(candidate, digest, stored)
            try:
                decoding.set_result(self._decode(candidate, data))
            except BaseException as error:
                decoding.set_exception(error)
                raise
            return Content(candidate, digest, decoding=decoding)
        finally:
            self._add_busy(started)

    def _decode(self, candidate: Candidate, data: bytes | None) -> Reading | Stream | str:
        file = candidate.file
        try:
            reading = self._reader.read(file.absolute, file.modality, data, beside=file.sidecars != 0)
        except MediaError as error:
            return error.reason
        except MemoryError:
            return "not enough memory to decode it"
        if file.modality is Modality.IMAGE:
            return reading
        stream = Stream(reading, self._submit, self._room)
        stream.start()
        return stream

    def _submit(self, step: Callable[[], None]) -> None:
        def timed() -> None:
            started = time.perf_counter()
            step()
            self._add_busy(started)

        self._pool.submit(timed)

    def _read(self, candidate: Candidate, *, keep: bool) -> Content | tuple[bytes, bytes | None]:
        """The hash of a file and, where it is to be kept and not too large, its bytes; or why it cannot be read."""
        path, modality = candidate.file.absolute, candidate.file.modality
        try:
            with open_regular(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > MAX_IMAGE_BYTES and modality is Modality.IMAGE:
                    return Content(candidate, reason=f"larger than {MAX_IMAGE_BYTES >> 30} GiB")
                if size == 0:
                    return Content(candidate, reason="empty file")
                # Sounds and videos are decoded by seeking in the file.
                if not keep or size > _HELD_BYTES.get(modality, 0):
                    return self._identity(candidate, stream_hash(file)), None
                data = file.read()
                return self._identity(candidate, content_hash(data)), data
        except FileNotFoundError:
            return Content(candidate, reason="vanished", vanished=True)
        except MediaError as error:
            return Content(candidate, reason=error.reason)
        except OSError as error:
            return Content(candidate, reason=reason_of(error))
        except MemoryError:
            return Content(candidate, reason="not enough memory to read it")

    def _identity(self, candidate: Candidate, digest: bytes) -> bytes:
        """The hash of all that a file's segments are made of: its content, how it is read, and what lies beside it."""
        file = candidate.file
        salt = salt_of(file.absolute, file.modality)
        beside = self._reader.written_beside(file.absolute) if file.sidecars else ()
        if not salt and not beside:
            return digest
        whole = blake2b(digest, digest_size=HASH_BYTES)
        for part in (salt, *beside):
            whole.update(len(part).to_bytes(8) + part)
        return whole.digest()

    def _add_busy(self, started: float) -> None:
        seconds = time.perf_counter() - started
        with self._lock:
            self._busy_s += seconds
