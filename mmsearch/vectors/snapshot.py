"""An opened generation of an index: its files, searched together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmsearch.vectors import rule
from mmsearch.vectors.arrays import DamagedFileError, FileStamp, is_intact, read_arrays
from mmsearch.vectors.exact import ExactIndex, exact_scores
from mmsearch.vectors.halves import to_halves
from mmsearch.vectors.hits import NO_ID, best_first, contains, distinct, empty_hits, merge_hits
from mmsearch.vectors.hnsw import HNSW_KIND, HnswIndex
from mmsearch.vectors.inverted import NARROW, InvertedFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import VectorSource
    from mmsearch.vectors.faiss_index import FaissIndex
    from mmsearch.vectors.manifest import Manifest

__all__ = ["InvertedMain", "Main", "Snapshot", "open_exact"]

# From so many queries at once, or since the index was opened, importing FAISS pays: it is two to three times as fast
# as NumPy, and uses all cores for a batch.
_BATCH = 16
_OFTEN = 64
# Queries whose shortlists are scored again at a time.
_RESCORED = 256


class Main(Protocol):
    """The main file of an index, searched."""

    ids: NDArray[np.int64]

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `ExactIndex.search`."""


class InvertedMain:
    """Inverted lists: a few queries are answered by NumPy, batches and many by FAISS over the same mapped bytes."""

    def __init__(self, file: InvertedFile, nprobe: int) -> None:
        self.file = file
        self.ids = file.ids
        self._nprobe = max(1, nprobe)
        self._faiss: FaissIndex | None = None
        self._answered = 0

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """See `ExactIndex.search`; scores are those of the codes."""
        self._answered += len(queries)
        often = len(queries) >= _BATCH or self._answered > _OFTEN
        if not often or (allowed is not None and len(allowed) <= NARROW):
            return self.file.search(queries, k, nprobe=self._nprobe, allowed=allowed, excluded=excluded)
        if self._faiss is None:
            from mmsearch.vectors.faiss_index import FaissIndex

            self._faiss = FaissIndex.open(self.file)
            self._faiss.nprobe = self._nprobe
        return self._faiss.search(queries, k, allowed=allowed, excluded=excluded)


def open_exact(folder: Path, stamp: FileStamp, dim: int) -> tuple[ExactIndex, NDArray[np.int64]]:
    """Map a file of plain vectors: those vectors, and the ids it says were removed from the main file.

    Raises:
        DamagedFileError: It is not such a file.
    """
    file = read_arrays(folder / stamp.name, stamp.size_bytes)
    ids = file.array("ids", "int64", -1)
    return ExactIndex(dim, ids, file.array("halves", "float16", len(ids), dim)), file.array("removed", "int64", -1)


class Snapshot:
    """The files of one manifest, opened; they stay readable after a later fold has removed their names.

    Raises:
        DamagedFileError: A file is missing or damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.tail = ExactIndex(manifest.dim)
        self.removed: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.main: ExactIndex | HnswIndex | InvertedMain = self._open_main()
        if len(self.main.ids) != manifest.indexed:
            raise DamagedFileError(f"{folder / manifest.index.name} does not hold what the manifest says")
        if manifest.tail is not None:
            self.tail, self.removed = open_exact(folder, manifest.tail, manifest.dim)

    def _open_main(self) -> ExactIndex | HnswIndex | InvertedMain:
        manifest, stamp = self.manifest, self.manifest.index
        if manifest.kind == "flat":
            return open_exact(self.folder, stamp, manifest.dim)[0]
        if manifest.kind == HNSW_KIND:
            # FAISS would follow the links of a damaged graph out of its memory.
            if not is_intact(self.folder, stamp):
                raise DamagedFileError(f"{stamp.name} is not what was saved")
            graph = HnswIndex.open(read_arrays(self.folder / stamp.name, stamp.size_bytes), manifest.dim)
            graph.ef_search = max(1, manifest.effort)
            return graph
        file = InvertedFile(self.folder / stamp.name, manifest.dim, stamp.size_bytes)
        if file.kind != manifest.kind:
            raise DamagedFileError(f"{stamp.name} is of the kind {file.kind}")
        return InvertedMain(file, manifest.effort)

    def sample(self) -> tuple[NDArray[np.int64], NDArray[np.float16]] | None:
        """The sample that lies beside the index, or the vectors themselves where they are all there."""
        if isinstance(self.main, ExactIndex):
            return self.main.ids, self.main.halves
        if self.manifest.sample is None:
            return None
        try:
            found = open_exact(self.folder, self.manifest.sample, self.manifest.dim)[0]
        except DamagedFileError:
            return None
        return found.ids, found.halves

    def search(
        self,
        source: VectorSource,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None,
        excluded: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query among the vectors of the files; scores are exact for every kind."""
        gone = distinct(np.concatenate([self.removed, excluded])) if len(self.removed) else excluded
        wanted = rule.shortlist(self.manifest.kind, k)
        hits = self.main.search(queries, wanted, allowed=allowed, excluded=gone)
        if isinstance(self.main, InvertedMain):
            hits = _scored_again(source, queries, hits[0], k)
        if len(self.tail) == 0:
            return hits
        return merge_hits([hits, self.tail.search(queries, k, allowed=allowed, excluded=excluded)], k)


def _scored_again(
    source: VectorSource, queries: NDArray[np.float32], ids: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of each shortlist (m, any) by the catalog's own vectors; what is not there any more drops out."""
    out_ids, out_scores = empty_hits(len(queries), k)
    for low in range(0, len(queries), _RESCORED):
        part = ids[low : low + _RESCORED]
        known, vectors = source.fetch(distinct(part[part != NO_ID]))
        halves = to_halves(vectors)
        for row, line in enumerate(part, start=low):
            line = line[contains(known, line)]
            scores = exact_scores(queries[row], halves, np.searchsorted(known, line))
            out_ids[row], out_scores[row] = best_first(line, scores, k)
    return out_ids, out_scores
