"""Folding: bring the index files up to the catalog, atomically."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.types import Progress, Watermark
from mmsearch.vectors.arrays import write_arrays
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.manifest import Manifest, write_manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.vectors.snapshot import Snapshot

__all__ = ["fold"]

_OWN_FILE = re.compile(r"(index|tail|sample)-(\d+)\.arr(\.\d+\.tmp)?|manifest\.json\.\d+\.tmp")


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
    """Write files for the catalog's `state`, starting from those of `snapshot` where that is possible."""
    started = time.perf_counter()

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(Progress("save", done, total, time.perf_counter() - started))

    generation = 1 + max(_generations(folder), default=0)
    if snapshot is not None and snapshot.manifest.watermark == state:
        return
    index = ExactIndex(source.dim)
    after = 0
    if snapshot is not None:
        index = snapshot.main
        after = snapshot.manifest.watermark.last_segment_id
        index = ExactIndex(source.dim, index.ids, index.halves)
        index.remove(source.removed_since(snapshot.manifest.watermark.last_removal_id))
    for ids, vectors in _new(source, after, state):
        index.add(ids, vectors)
        report(len(index), state.count)
    stamp = write_arrays(folder / f"index-{generation:06d}.arr", {"ids": index.ids, "halves": index.halves}, {})
    write_manifest(folder, Manifest(encoder_id, source.dim, "flat", kind, generation, state, stamp, indexed=len(index)))
    _clean(folder, {stamp.name})


def _new(source: VectorSource, after: int, state: Watermark) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The catalog's vectors after an id, up to `state`; what is committed meanwhile is left to the next fold."""
    if after >= state.last_segment_id:
        return
    for ids, vectors in source.read(after):
        count = int(np.searchsorted(ids, state.last_segment_id, side="right"))
        if count:
            yield ids[:count], vectors[:count]
        if count < len(ids):
            return


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
