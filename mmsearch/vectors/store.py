"""One encoder's vector index on disk, always in step with the catalog: vectors in, nearest segments out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.files import folder_bytes
from mmsearch.vectors.arrays import DamagedFileError
from mmsearch.vectors.delta import Delta
from mmsearch.vectors.hits import check_queries, merge_hits
from mmsearch.vectors.manifest import MANIFEST_NAME, Manifest, folder_name, read_manifest
from mmsearch.vectors.resident import Resident
from mmsearch.vectors.sampling import SAMPLE_SIZE, Sampler
from mmsearch.vectors.snapshot import Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.types import Progress, Watermark

__all__ = ["VectorStore"]

_ATTEMPTS = 5


class VectorStore:
    """The index files of one encoder, a cache of the catalog's vectors.

    A search is right at any moment, whatever the state of the files: what the catalog has gained since they were made
    is searched exactly, what it has lost is left out, and files that are missing or damaged are done without. Any
    number of threads may search at once, also while another folds.

    Args:
        folder: Where the indexes of all encoders lie; this one gets a folder of its own below it.
        encoder_id: Whose vectors they are.
        dim: Their length.
    """

    def __init__(self, folder: Path, encoder_id: str, dim: int) -> None:
        self.folder = folder / folder_name(encoder_id)
        self._encoder_id = encoder_id
        self._dim = dim
        self._seen: tuple[int, ...] | None = None
        self._snapshot: Snapshot | None = None
        self._delta: Delta | None = None
        self._resident = Resident(dim)
        # Guards what changes between searches; searching itself goes on in any number of threads.
        self._lock = threading.RLock()

    @property
    def manifest(self) -> Manifest | None:
        """What the files hold, or None where there are no usable ones."""
        with self._lock:
            snapshot = self._current()
        return None if snapshot is None else snapshot.manifest

    def search(
        self,
        source: VectorSource,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest segments of each query among all vectors that the catalog has now.

        Args:
            source: The catalog's vectors of this encoder.
            queries: (m, dim) float32, rows L2-normalised.
            k: At least 1.
            allowed: Segment ids to search among, sorted; None means all.

        Returns:
            Ids (m, k) int64 and inner products (m, k) float32, best first; where fewer than k exist, the rest is
            filled with id -1 and score -inf.

        Raises:
            StorageError: The catalog could not be read.
        """
        queries = check_queries(queries, self._dim, k)
        with self._lock:
            # Of several threads each sees at least what those before it saw.
            state = source.watermark()
            snapshot = self._usable(state)
            delta = self._delta
            if delta is None or not delta.continues(snapshot, state):
                delta = self._delta = Delta(self._dim, None if snapshot is None else snapshot.manifest.watermark)
            view = delta.at(source, state)
        parts = view.search(source, queries, k, allowed=allowed)
        if snapshot is not None:
            fetch = partial(self._resident.fetch, source)
            parts.append(snapshot.search(fetch, queries, k, allowed=allowed, excluded=view.removed))
        return merge_hits(parts, k)

    def vectors(self, source: VectorSource, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Those of the sorted `ids` that exist now (n,), and their vectors (n, dim) in half precision.

        A process that asks for a large part of them reads all into memory once, where they fit.
        """
        return self._resident.fetch(source, ids)

    def pending(self, source: VectorSource) -> int:
        """How many additions and removals of the catalog the files do not hold yet."""
        state = source.watermark()
        snapshot = self._usable(state)
        if snapshot is None:
            return state.count
        mark = snapshot.manifest.watermark
        if state == mark:
            return 0
        removed = source.removed_since(mark.last_removal_id)
        lost = int(np.count_nonzero(removed <= mark.last_segment_id))
        return lost + max(0, state.count - (mark.count - lost))

    def sample(
        self, source: VectorSource, n: int = SAMPLE_SIZE, seed: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """A deterministic sample of the stored vectors, the background of calibration.

        It is kept beside the index, so that it costs a query nothing; it may hold vectors removed since the last fold.

        Args:
            source: The catalog's vectors, read only where the files have no sample of that size and seed.
            n: How many; fewer where the catalog has fewer.
            seed: Another seed, another sample.

        Returns:
            Ids (n,) int64, ascending, and vectors (n, dim) float32.
        """
        sampler = Sampler(self._dim, n, seed)
        snapshot = self._usable(source.watermark())
        if snapshot is not None and snapshot.manifest.watermark.count:
            complete = snapshot.manifest.kind == "flat"
            found = snapshot.sample() if complete or (seed == 0 and n <= SAMPLE_SIZE) else None
            if found is not None:
                sampler.offer(*found)
                return _widened(sampler)
        return _widened(sampler.offer_all(source.read()))

    def fold(
        self,
        source: VectorSource,
        *,
        kind: str = "auto",
        force: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Manifest:
        """Bring the files up to the catalog; one process at a time, the holder of the library's writer lock.

        Whatever happens, the files of before or those of after are complete. Readers of the former ones go on.

        Args:
            source: The catalog's vectors.
            kind: ``auto``, ``flat``, ``ivf``, ``hnsw`` or ``pq``.
            force: Build everything again from the catalog.
            progress: Called with the vectors done so far.

        Raises:
            UsageError: There is no such kind.
            StorageError: The files could not be written; those of before still hold.
        """
        # A query needs none of what building an index does.
        from mmsearch.vectors.fold import fold

        state = source.watermark()
        snapshot = None if force else self._usable(state)
        fold(self.folder, self._encoder_id, source, state, snapshot, kind=kind, progress=progress)
        with self._lock:
            self._seen = None
        manifest = self.manifest
        assert manifest is not None
        return manifest

    def size_bytes(self) -> int:
        """Bytes that the files take on disk."""
        return folder_bytes(self.folder)

    def _usable(self, state: Watermark) -> Snapshot | None:
        """The opened files, unless they cannot be of the catalog as it is now, such as after a restored backup."""
        with self._lock:
            snapshot = self._current()
        if snapshot is None:
            return None
        mark = snapshot.manifest.watermark
        if state.catalog != mark.catalog or state.last_removal_id < mark.last_removal_id:
            return None
        if state.last_removal_id == mark.last_removal_id and (
            state.last_segment_id < mark.last_segment_id
            or state.count < mark.count
            or (state.last_segment_id == mark.last_segment_id and state.count != mark.count)
        ):
            return None
        return snapshot

    def _current(self) -> Snapshot | None:
        """The files as they are on disk now, opened again when another process has folded."""
        for _ in range(_ATTEMPTS):
            seen = self._stamp()
            if seen == self._seen:
                break
            self._snapshot = None
            manifest = read_manifest(self.folder, self._encoder_id, self._dim)
            if manifest is not None:
                # A fold may remove the files between our reading of its manifest and of them: then look again.
                with suppress(DamagedFileError):
                    self._snapshot = Snapshot(self.folder, manifest)
            if self._stamp() == seen:
                self._seen = seen
        return self._snapshot

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = (self.folder / MANIFEST_NAME).stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def _widened(sampler: Sampler) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids, halves = sampler.taken()
    return ids, halves.astype(np.float32)
