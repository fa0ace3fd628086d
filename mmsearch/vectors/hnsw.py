"""A graph over half-precision vectors with FAISS's HNSW: for processes that stay and have the memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.vectors.arrays import ArrayFile, DamagedFileError, FileStamp, write_arrays
from mmsearch.vectors.exact import ExactIndex, exact_scores
from mmsearch.vectors.faiss_import import load_faiss
from mmsearch.vectors.halves import to_halves
from mmsearch.vectors.hits import best_first, check_queries, contains, empty_hits

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HNSW_KIND", "HnswIndex"]

HNSW_KIND = "hnsw32"
_LINKS = 32
_EF_CONSTRUCTION = 80
# A graph search that may return less than this share of the vectors loses some of them: scan the allowed ones instead.
_LEAST_SHARE = 0.3
# The graph is built again when so large a share of it was removed; FAISS cannot take nodes out of it.
_MOST_REMOVED = 0.25


class HnswIndex:
    """FAISS's HNSW (Malkov and Yashunin, TPAMI 2020) behind the protocol `VectorIndex`.

    Removed vectors stay in the graph as way-points and are left out of the hits; ids that come in ascending order are
    appended, any other addition builds the graph again. Scores are exact for the vectors rounded to float16.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._graph: Any = None
        self._mapped: NDArray[np.uint8] | None = None
        self._reader: Any = None
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._removed: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.ef_search = 64

    @property
    def kind(self) -> str:
        """Always ``hnsw32``."""
        return HNSW_KIND

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    def __len__(self) -> int:
        """Number of vectors, without the removed ones."""
        return len(self.ids) - len(self._removed)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, (n,) and (n, dim); a vector whose id is there already takes its place, the last one counts."""
        new = ExactIndex(self._dim)
        new.add(ids, vectors)
        if len(new) == 0:
            return
        if len(self.ids) and new.ids[0] <= self.ids[-1]:
            whole = self._whole()
            whole.remove(self._removed)
            whole.add(new.ids, new.halves.astype(np.float32))
            self._build(whole)
            return
        graph = self._writable()
        graph.add(new.halves.astype(np.float32))
        self.ids = np.concatenate([self.ids, new.ids])

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove the vectors with these ids, as far as they are there; returns how many were."""
        ids = np.unique(np.asarray(ids, dtype=np.int64))
        ids = ids[contains(self.ids, ids) & ~contains(self._removed, ids)]
        self._removed = np.union1d(self._removed, ids)
        if len(self._removed) > _MOST_REMOVED * len(self.ids):
            whole = self._whole()
            whole.remove(self._removed)
            self._build(whole)
        return len(ids)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query; k hits come whenever k exist.

        Args:
            queries: (m, dim) float32.
            k: At least 1.
            allowed: Ids to search among, sorted; None means all.
            excluded: Ids to leave out, sorted.

        Returns:
            Ids (m, k) int64 and inner products (m, k) float32, best first, padded with id -1 and score -inf.
        """
        queries = check_queries(queries, self._dim, k)
        found_ids, found_scores = empty_hits(len(queries), k)
        if len(self) == 0 or len(queries) == 0:
            return found_ids, found_scores
        gone = self._removed if excluded is None else np.union1d(self._removed, excluded)
        passing = np.ones(len(self.ids), dtype=np.bool_) if allowed is None else contains(allowed, self.ids)
        if len(gone):
            passing &= ~contains(gone, self.ids)
        count = int(np.count_nonzero(passing))
        whole = self._whole()
        missing = np.arange(len(queries))
        if count >= _LEAST_SHARE * len(self.ids):
            places = self._graph_search(queries, k, passing, count)
            for row, line in enumerate(places):
                line = line[line >= 0]
                found_ids[row], found_scores[row] = best_first(
                    self.ids[line], exact_scores(queries[row], whole.halves, line), k
                )
            missing = np.flatnonzero((found_ids >= 0).sum(axis=1) < min(k, count))
        if len(missing):
            found_ids[missing], found_scores[missing] = whole.search(queries[missing], k, allowed=self.ids[passing])
        return found_ids, found_scores

    def _graph_search(
        self, queries: NDArray[np.float32], k: int, passing: NDArray[np.bool_], count: int
    ) -> NDArray[np.int64]:
        """Places (m, about k) of the vectors that the graph leads to, -1 where there are fewer."""
        faiss = load_faiss()

        effort = max(self.ef_search, 2 * k) * len(self.ids) // count
        selector = None
        if count < len(self.ids):
            bits = np.packbits(passing, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        parameters = faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        _, places = self._graph.search(queries, min(k, count), params=parameters)
        return np.asarray(places)

    def _whole(self) -> ExactIndex:
        """The vectors that the graph holds, removed ones included, not copied."""
        if len(self.ids) == 0:
            return ExactIndex(self._dim)
        faiss = load_faiss()

        storage = faiss.downcast_index(self._graph.storage)
        codes = faiss.rev_swig_ptr(storage.codes.data(), len(self.ids) * self._dim * 2)
        return ExactIndex(self._dim, self.ids, codes.view(np.float16).reshape(len(self.ids), self._dim))

    def _writable(self) -> Any:
        """The graph in memory of its own; FAISS aborts the process when a mapped one is to grow."""
        faiss = load_faiss()

        if self._mapped is not None:
            self._graph = faiss.deserialize_index(np.array(self._mapped))
            self._mapped = self._reader = None
        if self._graph is None:
            half = faiss.ScalarQuantizer.QT_fp16
            self._graph = faiss.IndexHNSWSQ(self._dim, half, _LINKS, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = _EF_CONSTRUCTION
        return self._graph

    def _build(self, whole: ExactIndex) -> None:
        # The vectors may lie in the graph that is about to go.
        ids, vectors = whole.ids.copy(), whole.halves.astype(np.float32)
        self._graph = self._mapped = self._reader = None
        self.ids, self._removed = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        self.add(ids, to_halves(vectors).astype(np.float32))

    def save(self, path: Path) -> FileStamp:
        """Save it atomically.

        Raises:
            StorageError: The disk is full, read-only or failing.
        """
        faiss = load_faiss()

        graph = faiss.serialize_index(self._writable())
        return write_arrays(
            path, {"graph": graph, "ids": self.ids, "removed": self._removed}, {"kind": self.kind, "dim": self._dim}
        )

    @classmethod
    def open(cls, file: ArrayFile, dim: int) -> HnswIndex:
        """Search a saved graph in place. The file must be intact: FAISS trusts what it reads.

        Raises:
            DamagedFileError: It holds something else.
        """
        faiss = load_faiss()

        opened = cls(dim)
        opened.ids = file.array("ids", "int64", -1)
        opened._removed = file.array("removed", "int64", -1)
        opened._mapped = file.array("graph", "uint8", -1)
        opened._reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(opened._mapped), len(opened._mapped))
        try:
            opened._graph = faiss.read_index(opened._reader)
        except RuntimeError as error:
            raise DamagedFileError(f"{file.path} is not a graph: {error}") from error
        if opened._graph.ntotal != len(opened.ids) or opened._graph.d != dim:
            raise DamagedFileError(f"{file.path} holds other vectors")
        return opened
