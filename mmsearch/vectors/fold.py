"""Folding: bring the index files up to the catalog, atomically, with as little work as that takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.types import Progress, Watermark
from mmsearch.vectors import rule
from mmsearch.vectors.arrays import FileStamp, is_intact, read_arrays
from mmsearch.vectors.build import build, imbalance, save_exact, save_sample
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.hits import contains
from mmsearch.vectors.hnsw import HnswIndex
from mmsearch.vectors.manifest import Manifest, read_manifest, write_manifest
from mmsearch.vectors.sampling import SAMPLE_SIZE, Sampler
from mmsearch.vectors.snapshot import InvertedMain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.vectors.snapshot import Snapshot

__all__ = ["fold"]

_OWN_FILE = re.compile(r"(index|tail|sample)-(\d+)\.arr(\.\d+\.tmp)?|manifest\.json\.\d+\.tmp")
# Vectors that are compared with the catalog before files are built upon.
_COMPARED = 64
# Float16 rounding of a vector that was normalised again after it was read.
_ROUNDING = 2e-3
# Lists are trained again when they have become so much more uneven than they were.
_UNEVEN = 2.0
# Share of the main file that may be removed before it is written anew.
_MOST_REMOVED = 0.1


class Fold:
    """One fold: where it writes, what it reads and how it tells of its progress."""

    def __init__(
        self,
        folder: Path,
        encoder_id: str,
        source: VectorSource,
        state: Watermark,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.folder = folder
        self.encoder_id = encoder_id
        self.source = source
        self.state = state
        held = read_manifest(folder, encoder_id, source.dim)
        self.generation = 1 + max(_generations(folder), default=0 if held is None else held.generation)
        self._progress = progress
        self._started = time.perf_counter()

    def path(self, name: str) -> Path:
        """Where a file of this generation goes."""
        return self.folder / f"{name}-{self.generation:06d}.arr"

    def report(self, done: int, total: int) -> None:
        """Tell how many vectors were read, of how many."""
        if self._progress is not None:
            self._progress(Progress("save", min(done, total), total, time.perf_counter() - self._started))

    def read(self, after: int = 0) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The catalog's vectors after an id, up to `state`; what is committed meanwhile is left to the next fold."""
        if after >= self.state.last_segment_id:
            return
        for ids, vectors in self.source.read(after):
            count = int(np.searchsorted(ids, self.state.last_segment_id, side="right"))
            if count:
                yield ids[:count], vectors[:count]
            if count < len(ids):
                return

    def manifest(self, kind: str, index: FileStamp, indexed: int, **more: object) -> Manifest:
        """A manifest of this generation."""
        made = Manifest(
            self.encoder_id, self.source.dim, kind, "auto", self.generation, self.state, index, indexed=indexed
        )
        return replace(made, **more)  # type: ignore[arg-type]


def fold(
    folder: Path,
    encoder_id: str,
    source: VectorSource,
    state: Watermark,
    snapshot: Snapshot | None,
    *,
    kind: str = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Write files for the catalog's `state`, starting from those of `snapshot` where they can be built upon.

    A kind that was asked for by name stays when a later fold asks for ``auto``.

    Raises:
        UsageError: There is no such kind.
        StorageError: The files could not be written; those of before still hold.
    """
    job = Fold(folder, encoder_id, source, state, progress)
    asked = snapshot.manifest.asked if snapshot is not None and kind == "auto" else kind
    try:
        made = _made(job, snapshot, asked)
        if made is not None:
            write_manifest(folder, replace(made, asked=asked))
    finally:
        held = read_manifest(folder, encoder_id, source.dim)
        _clean(folder, set() if held is None else {stamp.name for stamp in held.files})


def _made(job: Fold, snapshot: Snapshot | None, asked: str) -> Manifest | None:
    """Write new files; None where those of before will do."""
    current = None if snapshot is None else snapshot.manifest.kind
    kind = rule.choose_kind(job.state.count, job.source.dim, asked=asked, current=current)
    same = snapshot is not None and snapshot.manifest.watermark.catalog == job.state.catalog
    if snapshot is not None and same and kind == current and _agrees(snapshot, job.source):
        if snapshot.manifest.watermark == job.state and snapshot.manifest.asked == asked:
            return None
        grown = _grown(job, snapshot)
        if grown is not None:
            return grown
    return build(job, kind)


def _agrees(snapshot: Snapshot, source: VectorSource) -> bool:
    """Whether files hold the same vectors as the catalog under the same ids, judged by a few."""
    found = snapshot.sample()
    if found is None:
        return snapshot.manifest.indexed == 0
    ids, halves = found
    some = np.unique(np.linspace(0, len(ids) - 1, min(_COMPARED, len(ids))).astype(np.int64))
    known, vectors = source.fetch(ids[some])
    held = halves[some][contains(known, ids[some])].astype(np.float32)
    missing = ids[some][~contains(known, ids[some])]
    lost = source.removed_since(snapshot.manifest.watermark.last_removal_id)
    gone = np.isin(missing, snapshot.removed) | np.isin(missing, lost)
    return bool(gone.all()) and bool((np.abs(held - vectors) < _ROUNDING).all())


def _grown(job: Fold, snapshot: Snapshot) -> Manifest | None:
    """Add and remove what changed; None where the files have to be built from the catalog after all."""
    old = snapshot.manifest
    lost = np.unique(job.source.removed_since(old.watermark.last_removal_id))
    tail = ExactIndex(old.dim, snapshot.tail.ids, snapshot.tail.halves)
    tail.remove(lost)
    for ids, vectors in job.read(old.watermark.last_segment_id):
        tail.add(ids, vectors)
        job.report(len(tail), job.state.count)
    main = snapshot.main
    removed = np.union1d(snapshot.removed, lost[contains(main.ids, lost)])
    if len(main.ids) - len(removed) + len(tail) != job.state.count:
        return None
    waits = len(tail) <= rule.tail_limit(old.indexed, old.dim) and len(removed) <= _MOST_REMOVED * old.indexed
    if old.kind != "flat" and waits:
        stamp = save_exact(job.path("tail"), tail, removed)
        return replace(old, generation=job.generation, watermark=job.state, tail=stamp)
    if not is_intact(job.folder, old.index):
        return None
    if isinstance(main, ExactIndex):
        whole = ExactIndex(old.dim, main.ids, main.halves)
        whole.remove(removed)
        whole.add(tail.ids, tail.halves.astype(np.float32))
        return job.manifest("flat", save_exact(job.path("index"), whole), len(whole))
    return _merged(job, snapshot, main, tail, removed)


def _merged(
    job: Fold, snapshot: Snapshot, main: HnswIndex | InvertedMain, tail: ExactIndex, removed: NDArray[np.int64]
) -> Manifest | None:
    """Write the main file anew with the tail in it."""
    old = snapshot.manifest
    sampler = Sampler(old.dim, SAMPLE_SIZE)
    found = snapshot.sample()
    if found is not None:
        kept = ~contains(removed, found[0])
        sampler.offer(found[0][kept], found[1][kept])
    sampler.offer(tail.ids, tail.halves)
    left = None
    if isinstance(main, HnswIndex):
        if len(removed) > _MOST_REMOVED * old.indexed:
            return None
        graph = HnswIndex.open(read_arrays(job.folder / old.index.name), old.dim)
        graph.add(tail.ids, tail.halves.astype(np.float32))
        stamp, indexed = graph.save(job.path("index")), len(graph)
        if len(removed):
            left = save_exact(job.path("tail"), ExactIndex(old.dim), removed)
    else:
        from mmsearch.vectors.faiss_index import FaissIndex

        index = FaissIndex.open(main.file)
        index.remove(removed)
        index.add(tail.ids, tail.halves.astype(np.float32))
        if imbalance(index.sizes()) > _UNEVEN * old.imbalance:
            return None
        stamp, indexed = index.save(job.path("index")), len(index)
    return replace(
        old,
        generation=job.generation,
        watermark=job.state,
        index=stamp,
        indexed=indexed,
        tail=left,
        sample=save_sample(job.path("sample"), sampler),
    )


def _generations(folder: Path) -> Iterator[int]:
    with suppress(OSError):
        for path in folder.iterdir():
            if (match := _OWN_FILE.fullmatch(path.name)) and match[2]:
                yield int(match[2])


def _clean(folder: Path, kept: set[str]) -> None:
    """Remove the files of former generations and of folds that did not finish."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _OWN_FILE.fullmatch(path.name) and path.name not in kept:
                # A reader on Windows may still hold it: then the next fold removes it.
                with suppress(OSError):
                    path.unlink()
