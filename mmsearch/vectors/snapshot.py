"""An opened generation of an index: its files, searched together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmsearch.vectors import gpu, rule
from mmsearch.vectors.arrays import DamagedFileError, FileStamp, is_intact, read_arrays
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.hits import NO_ID, distinct, merge_hits
from mmsearch.vectors.hnsw import HNSW_KIND, HnswIndex
from mmsearch.vectors.inverted import NARROW, SEEN_PER_HIT, InvertedFile
from mmsearch.vectors.listwise import search_listwise
from mmsearch.vectors.rescoring import scored_again

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.vectors.faiss_index import FaissIndex
    from mmsearch.vectors.manifest import Manifest
    from mmsearch.vectors.rescoring import Fetch

__all__ = ["InvertedMain", "Main", "Snapshot", "open_exact"]

# From so many queries at once, or since the index was opened, importing FAISS pays: it is two to three times as fast
# as NumPy, and uses all cores for a batch.
_BATCH = 16
_OFTEN = 64
# From so many queries at once, going through the lists with all of them together beats FAISS.
_MANY = 256
# How many times more candidates than are needed the visited lists hold on average, so that none is short of them.
_PLENTY = 2
# Two codes' scores are off from each other by less than twice so many standard errors of one.
_ERRORS = 5


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
    """Inverted lists: a few queries are answered by NumPy, many by FAISS over the same mapped bytes, batches together.

    All visit the same lists, so that it does not matter for what they find.
    """

    def __init__(self, file: InvertedFile, nprobe: int) -> None:
        self.file = file
        self.ids = file.ids
        self._nprobe = max(1, nprobe)
        self._faiss: FaissIndex | None = None
        self._lock = threading.Lock()
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
        few = len(queries) < _BATCH
        narrow = allowed is not None and len(allowed) <= NARROW
        # FAISS visits so many lists and no more, also where a small index holds too little in them.
        plenty = self._nprobe * len(self.file) > _PLENTY * SEEN_PER_HIT * k * len(self.file.sizes)
        if few and (narrow or not plenty or self._answered <= _OFTEN):
            return self.file.search(queries, k, nprobe=self._nprobe, allowed=allowed, excluded=excluded)
        if narrow or not plenty or (len(queries) >= _MANY and (allowed is not None or gpu.count() == 0)):
            return search_listwise(self.file, queries, k, nprobe=self._nprobe, allowed=allowed, excluded=excluded)
        with self._lock:
            if self._faiss is None:
                from mmsearch.vectors.faiss_index import FaissIndex

                opened = FaissIndex.open(self.file)
                opened.nprobe = self._nprobe
                self._faiss = opened
        return self._faiss.search(queries, k, allowed=allowed, excluded=excluded)

    def contenders(
        self, queries: NDArray[np.float32], ids: NDArray[np.int64], scores: NDArray[np.float32], k: int
    ) -> NDArray[np.int64]:
        """The ids (m, any) that can be among the k best by exact scores: those far below the k-th best cannot."""
        if ids.shape[1] <= k:
            return ids
        floor = scores[:, k - 1] - 2 * _ERRORS * self.file.codes.error(queries)  # (m,)
        return np.where(scores >= floor[:, None], ids, NO_ID)


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
        fetch: Fetch,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None,
        excluded: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query among the vectors of the files; scores are exact for every kind.

        `fetch` gives the catalog's vectors, see `scored_again`.
        """
        gone = distinct(np.concatenate([self.removed, excluded])) if len(self.removed) else excluded
        wanted = rule.shortlist(self.manifest.kind, k)
        hits = self.main.search(queries, wanted, allowed=allowed, excluded=gone)
        if isinstance(self.main, InvertedMain):
            hits = self._scored_again(fetch, queries, hits, k)
        if len(self.tail) == 0:
            return hits
        return merge_hits([hits, self.tail.search(queries, k, allowed=allowed, excluded=excluded)], k)

    def _scored_again(
        self, fetch: Fetch, queries: NDArray[np.float32], found: tuple[NDArray[np.int64], NDArray[np.float32]], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k best of shortlists of the main file, of which those that have a chance are looked up."""
        assert isinstance(self.main, InvertedMain)
        chosen = self.main.contenders(queries, *found, k)
        ids, scores = scored_again(fetch, queries, chosen, k)
        # What another process has removed in this moment leaves a place to one that seemed to have none.
        short = np.flatnonzero((ids[:, -1] == NO_ID) & (chosen != found[0]).any(axis=1))
        if len(short):
            ids[short], scores[short] = scored_again(fetch, queries[short], found[0][short], k)
        return ids, scores
