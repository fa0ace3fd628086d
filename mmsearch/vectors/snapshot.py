"""An opened generation of an index: its files, searched together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.arrays import DamagedFileError, FileStamp, read_arrays
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.hits import merge_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.vectors.manifest import Manifest

__all__ = ["Snapshot", "open_exact"]


def open_exact(folder: Path, stamp: FileStamp, dim: int) -> tuple[ExactIndex, NDArray[np.int64]]:
    """Map a file of plain vectors: those vectors, and the ids it says were removed elsewhere.

    Raises:
        DamagedFileError: It is not such a file.
    """
    file = read_arrays(folder / stamp.name, stamp.size_bytes)
    try:
        ids, halves = file.arrays["ids"], file.arrays["halves"]
        removed = file.arrays.get("removed", np.empty(0, dtype=np.int64))
        if ids.dtype != np.int64 or halves.dtype != np.float16 or removed.dtype != np.int64:
            raise DamagedFileError(f"{file.path} holds other types")
        return ExactIndex(dim, ids, halves), removed
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"{file.path} holds something else: {error}") from error


class Snapshot:
    """The files of one manifest, opened; they stay readable after a later fold has removed their names.

    Raises:
        DamagedFileError: A file is missing or damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.main, self.removed = open_exact(folder, manifest.index, manifest.dim)
        self.tail = ExactIndex(manifest.dim)
        if manifest.tail is not None:
            self.tail, self.removed = open_exact(folder, manifest.tail, manifest.dim)

    def search(
        self,
        source: VectorSource,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None,
        excluded: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query among the vectors of the files; see `ExactIndex.search`."""
        gone = np.union1d(self.removed, excluded) if len(self.removed) else excluded
        hits = self.main.search(queries, k, allowed=allowed, excluded=gone)
        if len(self.tail) == 0:
            return hits
        return merge_hits([hits, self.tail.search(queries, k, allowed=allowed, excluded=excluded)], k)
