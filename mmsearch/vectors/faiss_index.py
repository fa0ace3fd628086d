"""Inverted lists with FAISS: vectors in, lists of compressed vectors out; training, growing and batches of queries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.vectors import gpu
from mmsearch.vectors.codes import Codes, ProductCodes, ScalarCodes
from mmsearch.vectors.faiss_import import load_faiss
from mmsearch.vectors.faiss_lists import fill_lists, id_selector, map_lists
from mmsearch.vectors.hits import NO_ID, best_rows, check_queries, contains, empty_hits
from mmsearch.vectors.inverted import InvertedFile, write_inverted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.vectors.arrays import FileStamp

__all__ = ["POINTS_PER_LIST", "FaissIndex"]

# k-means sees at most so many vectors for each list; more of them hardly move the centroids.
POINTS_PER_LIST = 64
_ROUNDS = 8
_SEED = 20_240_229
_WIDER = 0.1
_KIND = re.compile(r"ivf(\d+),(?:sq8|pq(\d+))")


class FaissIndex:
    """FAISS's inverted lists behind the protocol `VectorIndex`.

    Vectors are compressed: scores are close, not exact, and a shortlist is worth scoring again.

    Args:
        dim: Length of the vectors.
        kind: ``ivf<lists>,sq8`` or ``ivf<lists>,pq<bytes>``.

    Raises:
        UsageError: There is no such kind.
    """

    def __init__(self, dim: int, kind: str) -> None:
        faiss = load_faiss()

        match = _KIND.fullmatch(kind)
        if match is None:
            raise UsageError(f"There is no kind of index called {kind!r}.", hint="Use auto, flat, ivf, hnsw or pq.")
        self._faiss: Any = faiss
        self._kind = kind
        self._dim = dim
        self._mapped: InvertedFile | None = None
        self._highest = NO_ID
        self.nprobe = 1
        lists, metric = int(match[1]), faiss.METRIC_INNER_PRODUCT
        quantizer = faiss.IndexFlatIP(dim)
        if match[2] is None:
            coded = faiss.ScalarQuantizer.QT_8bit
            self._index: Any = faiss.IndexIVFScalarQuantizer(quantizer, dim, lists, coded, metric, True)
            # Vectors that come later may lie a little outside the ranges of the sample.
            self._index.sq.rangestat_arg = _WIDER
        else:
            self._index = faiss.IndexIVFPQ(quantizer, dim, lists, int(match[2]), 8, metric)
            self._index.by_residual = True
            self._index.pq.cp.min_points_per_centroid = 1
            self._index.pq.cp.max_points_per_centroid = POINTS_PER_LIST
            self._index.pq.cp.niter = _ROUNDS
            self._index.pq.cp.seed = _SEED
        # Below 39 points for each centroid FAISS would print a warning.
        self._index.cp.min_points_per_centroid = 1
        self._index.cp.max_points_per_centroid = POINTS_PER_LIST
        self._index.cp.niter = _ROUNDS
        self._index.cp.seed = _SEED

    @property
    def kind(self) -> str:
        """Such as ``ivf1024,sq8``."""
        return self._kind

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    def __len__(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    def sizes(self) -> NDArray[np.int64]:
        """Vectors in each list, (lists,)."""
        lists = self._index.invlists
        return np.array([lists.list_size(number) for number in range(self._index.nlist)], dtype=np.int64)

    def train(self, vectors: NDArray[np.float32]) -> None:
        """Find the centroids and the ranges of the codes from a sample (n, dim); on a GPU where there is one.

        Args:
            vectors: At least one for each list, and 256 for ``pq``.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        with gpu.for_training(self._index, self._dim):
            self._index.train(vectors)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, (n,) and (n, dim); a vector whose id is there already takes its place, the last one counts."""
        ids = np.ascontiguousarray(ids, dtype=np.int64)
        if vectors.shape != (len(ids), self._dim):
            raise ValueError(f"expected vectors of the shape ({len(ids)}, {self._dim}), not {vectors.shape}")
        if len(ids) == 0:
            return
        if len(np.unique(ids)) < len(ids):
            kept = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]
            ids, vectors = ids[kept], vectors[kept]
        # FAISS would keep both vectors under the one id.
        if int(ids.min()) <= self._highest:
            self.remove(ids)
        self._writable().add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), np.ascontiguousarray(ids))
        self._highest = max(self._highest, int(ids.max()))

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Remove the vectors with these ids, as far as they are there; returns how many were."""
        ids = np.ascontiguousarray(ids, dtype=np.int64)
        if len(ids) == 0 or len(self) == 0:
            return 0
        return int(self._writable().remove_ids(self._faiss.IDSelectorBatch(ids)))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query, as far as the codes tell; k hits come whenever k exist.

        Args:
            queries: (m, dim) float32.
            k: At least 1.
            allowed: Ids to search among, sorted; None means all.
            excluded: Ids to leave out, sorted.

        Returns:
            Ids (m, k) int64 and inner products (m, k) float32, best first, padded with id -1 and score -inf.
        """
        queries = check_queries(queries, self._dim, k)
        excluded = None if excluded is None or len(excluded) == 0 else excluded
        if allowed is not None and excluded is not None:
            allowed = allowed[~contains(excluded, allowed)]
        total = len(self) if allowed is None else min(len(self), len(allowed))
        found_ids, found_scores = empty_hits(len(queries), k)
        if total == 0 or len(queries) == 0:
            return found_ids, found_scores
        lists = int(self._index.nlist)
        # A filter leaves fewer vectors in each list: visit as many more.
        nprobe = min(lists, -(-self.nprobe * len(self) // total))
        rows = np.arange(len(queries))
        while True:
            ids, scores = self._raw_search(queries[rows], k, nprobe, allowed, excluded)
            found_ids[rows], found_scores[rows] = best_rows(ids, scores, k)
            rows = rows[(ids == NO_ID).any(axis=1)]
            if len(rows) == 0 or nprobe >= lists:
                return found_ids, found_scores
            nprobe = min(lists, 4 * nprobe)

    def _raw_search(
        self,
        queries: NDArray[np.float32],
        k: int,
        nprobe: int,
        allowed: NDArray[np.int64] | None,
        excluded: NDArray[np.int64] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if allowed is None and excluded is None:
            on_gpu = gpu.search(self._index, queries, k, nprobe)
            if on_gpu is not None:
                return on_gpu
        selector, kept = id_selector(self._faiss, allowed, excluded)
        parameters = self._faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        scores, ids = self._index.search(queries, k, params=parameters)
        del kept
        return ids, scores

    def save(self, path: Path) -> FileStamp:
        """Save it in the layout of `InvertedFile`, atomically.

        Raises:
            StorageError: The disk is full, read-only or failing.
        """
        self._writable()
        nlist = int(self._index.nlist)
        centroids = self._index.quantizer.reconstruct_n(0, nlist)
        return write_inverted(path, self._kind, centroids, self._codes(), nlist, self._content)

    def _content(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Ids (n,) and codes (n, code_bytes) of one list, not copied."""
        lists, width = self._index.invlists, int(self._index.code_size)
        count = int(lists.list_size(number))
        if count == 0:
            return np.empty(0, dtype=np.int64), np.empty((0, width), dtype=np.uint8)
        ids = self._faiss.rev_swig_ptr(lists.get_ids(number), count)
        codes = self._faiss.rev_swig_ptr(lists.get_codes(number), count * width)
        return ids, codes.reshape(count, width)

    def _codes(self) -> Codes:
        if hasattr(self._index, "sq"):
            low, span = self._faiss.vector_to_array(self._index.sq.trained).reshape(2, self._dim)
            return ScalarCodes(low, span)
        pq = self._index.pq
        return ProductCodes(self._faiss.vector_to_array(pq.centroids).reshape(pq.M, 256, pq.dsub))

    @classmethod
    def open(cls, file: InvertedFile) -> FaissIndex:
        """Search a saved index in place, the lists mapped and read-only; growing it reads them into memory first."""
        opened = cls(file.dim, file.kind)
        opened._attach(file)
        return opened

    def _attach(self, file: InvertedFile) -> None:
        index, faiss = self._index, self._faiss
        index.quantizer.add(np.ascontiguousarray(file.centroids))
        saved = file.codes.arrays()
        if "ranges" in saved:
            faiss.copy_array_to_vector(np.ascontiguousarray(saved["ranges"]).ravel(), index.sq.trained)
        else:
            faiss.copy_array_to_vector(np.ascontiguousarray(saved["parts"]).ravel(), index.pq.centroids)
        index.is_trained = True
        self._highest = int(file.ids[-1]) if len(file) else NO_ID
        if map_lists(faiss, index, file):
            self._mapped = file
        else:
            fill_lists(faiss, index, file)
        index.ntotal = len(file)

    def _writable(self) -> Any:
        """The index with its lists in memory; FAISS cannot change mapped ones."""
        if self._mapped is not None:
            total = self._index.ntotal
            fill_lists(self._faiss, self._index, self._mapped)
            self._index.ntotal = total
            self._mapped = None
        gpu.forget(self._index)
        return self._index
