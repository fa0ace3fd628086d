"""Inverted lists in a file, searched with NumPy: opening reads next to nothing and imports no FAISS.

A query that stands alone, such as that of a command line, reads the centroids and the few lists it visits. FAISS maps
the same bytes (`mmsearch.vectors.faiss_index`) for batches of queries.

The array ``lists`` holds, for each list, its codes and then its ids (int64), list after list: the layout of FAISS's
``OnDiskInvertedLists``. ``ids`` and ``places`` lead from a sorted id to the place of its code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.vectors.arrays import ArrayFile, DamagedFileError, FileStamp, read_arrays, write_arrays
from mmsearch.vectors.codes import Codes, ProductCodes, ScalarCodes
from mmsearch.vectors.hits import Members, best_first, check_queries, contains, empty_hits, nearly_best

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Scorer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    Kept = Callable[[NDArray[np.int64]], NDArray[np.bool_]]

__all__ = ["NARROW", "SEEN_PER_HIT", "InvertedFile", "write_inverted"]

# Up to so many allowed ids are looked up one by one; beyond, visiting lists is cheaper.
NARROW = 32768
# A search goes on visiting lists until it has seen so many candidates for each hit that is wanted.
SEEN_PER_HIT = 32


def write_inverted(
    path: Path,
    kind: str,
    centroids: NDArray[np.float32],
    codes: Codes,
    count: int,
    content: Callable[[int], tuple[NDArray[np.int64], NDArray[np.uint8]]],
) -> FileStamp:
    """Save inverted lists atomically.

    Args:
        path: The file.
        kind: What the index calls itself.
        centroids: (nlist, dim).
        codes: How to read the codes.
        count: Number of lists.
        content: Gives the ids (n,) and codes (n, code_bytes) of one list.

    Raises:
        StorageError: The disk is full, read-only or failing.
    """
    by_list = [content(number)[0] for number in range(count)]
    sizes = np.array([len(ids) for ids in by_list], dtype=np.int64)
    ids = np.concatenate(by_list)
    order = np.argsort(ids, kind="stable")
    pieces = (part.reshape(-1).view(np.uint8) for number in range(count) for part in reversed(content(number)))
    arrays = {
        "lists": pieces,
        "sizes": sizes,
        "ids": ids[order],
        "places": order.astype(np.int32 if len(ids) < 2**31 else np.int64),
        "centroids": centroids,
        **codes.arrays(),
    }
    return write_arrays(path, arrays, {"kind": kind})


class InvertedFile:
    """A mapped file of inverted lists.

    Raises:
        DamagedFileError: The file is missing or damaged.
    """

    def __init__(self, path: Path, dim: int, size_bytes: int | None = None) -> None:
        file = read_arrays(path, size_bytes)
        self.file = file
        self.kind = str(file.meta.get("kind"))
        self.dim = dim
        self.ids: NDArray[np.int64] = file.array("ids", "int64", -1)
        self.sizes: NDArray[np.int64] = file.array("sizes", "int64", -1)
        self.centroids: NDArray[np.float32] = file.array("centroids", "float32", len(self.sizes), dim)
        # Where nothing was ever removed, an id says its place.
        self._unbroken = len(self.ids) > 0 and int(self.ids[-1]) - int(self.ids[0]) + 1 == len(self.ids)
        self.codes = _codes(file, dim)
        self._places = file.array("places", "int64" if len(self.ids) >= 2**31 else "int32", len(self.ids))
        self._first = np.concatenate([[0], np.cumsum(self.sizes)])  # (nlist + 1,) place of each list's first vector
        self._lists = file.array("lists", "uint8", len(self.ids) * (self.codes.code_bytes + 8))
        if int(self._first[-1]) != len(self.ids) or (self.sizes < 0).any():
            raise DamagedFileError(f"{path} does not hold as many vectors as it says")

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.ids)

    def content(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Ids (n,) and codes (n, code_bytes) of one list, mapped."""
        width = self.codes.code_bytes
        start, count = int(self._first[number]) * (width + 8), int(self.sizes[number])
        middle, stop = start + count * width, start + count * (width + 8)
        return self._lists[middle:stop].view(np.int64), self._lists[start:middle].reshape(count, width)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        nprobe: int,
        allowed: NDArray[np.int64] | None = None,
        excluded: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the k nearest of each query as far as the codes tell; k hits come whenever k exist.

        Args:
            queries: (m, dim) float32.
            k: At least 1.
            nprobe: Lists to visit; more where a filter leaves too little of them.
            allowed: Ids to search among, sorted; None means all.
            excluded: Ids to leave out, sorted.

        Returns:
            Ids (m, k) and approximate inner products (m, k), best first, padded with id -1 and score -inf.
        """
        queries = check_queries(queries, self.dim, k)
        found_ids, found_scores = empty_hits(len(queries), k)
        narrow, kept, nprobe = self.sieve(nprobe, allowed, excluded)
        wanted = k * SEEN_PER_HIT
        for row, query in enumerate(queries):
            coarse = self.centroids @ query  # (nlist,)
            scorer = self.codes.scorer(query)
            if narrow is not None:
                ids, scores = narrow, self._score(narrow, coarse, scorer)
            else:
                visited = list(self._visit(coarse, scorer, nprobe, wanted, kept))
                if not visited:
                    continue
                ids = np.concatenate([part[0] for part in visited])
                scores = np.concatenate([part[1] for part in visited])
            best = nearly_best(scores, k, 0.0)
            found_ids[row], found_scores[row] = best_first(ids[best], scores[best], k)
        return found_ids, found_scores

    def sieve(
        self, nprobe: int, allowed: NDArray[np.int64] | None, excluded: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64] | None, Kept | None, int]:
        """Sorted ids to search among and to leave out -> how to search.

        Returns:
            The ids to look up where they are few; else what says which ids pass, or None where all do, and how many
            lists to visit, so as to see as many that pass as without a filter.
        """
        excluded = None if excluded is None or len(excluded) == 0 else excluded
        nprobe = min(len(self.sizes), max(1, nprobe))
        if allowed is None:
            return None, None if excluded is None else lambda ids: ~contains(excluded, ids), nprobe
        if excluded is not None:
            allowed = allowed[~contains(excluded, allowed)]
        if len(allowed) <= NARROW:
            return allowed[self._has(allowed)], None, nprobe
        share = -(-nprobe * len(self) // min(len(self), len(allowed)))
        return None, Members(allowed), min(len(self.sizes), share)

    def _visit(
        self, coarse: NDArray[np.float32], scorer: Scorer, nprobe: int, wanted: int, passes: Kept | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield ids and scores of lists from the nearest on, until enough candidates came."""
        seen = 0
        for visits, number in enumerate(_nearest_first(coarse, nprobe)):
            if visits >= nprobe and seen >= wanted:
                return
            ids, codes = self.content(number)
            kept = None if passes is None else passes(ids)
            if kept is not None and not kept.all():
                ids, codes = ids[kept], codes[kept]
            if len(ids):
                seen += len(ids)
                yield ids, scorer(codes) + coarse[number]

    def _score(self, ids: NDArray[np.int64], coarse: NDArray[np.float32], scorer: Scorer) -> NDArray[np.float32]:
        """Scores of ids that are all here."""
        scores = np.empty(len(ids), dtype=np.float32)
        for low in range(0, len(ids), 1024):
            numbers, codes = self.codes_of(ids[low : low + 1024])
            scores[low : low + len(codes)] = scorer(codes) + coarse[numbers]
        return scores

    def _has(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each of some ids whether it is here."""
        if self._unbroken:
            return np.asarray((ids >= self.ids[0]) & (ids <= self.ids[-1]))
        return contains(self.ids, ids)

    def codes_of(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """List numbers (n,) and codes (n, code_bytes) of ids that are all here."""
        rows = ids - self.ids[0] if self._unbroken and len(ids) else np.searchsorted(self.ids, ids)
        places = self._places[rows].astype(np.int64)
        numbers = np.searchsorted(self._first, places, side="right") - 1
        width = self.codes.code_bytes
        starts = self._first[numbers] * (width + 8) + (places - self._first[numbers]) * width
        if len(ids) == 0:
            return numbers, np.empty((0, width), dtype=np.uint8)
        codes = np.lib.stride_tricks.sliding_window_view(self._lists, width)  # a code from every byte on
        # A damaged place may not lead out of the file.
        return np.minimum(numbers, len(self.sizes) - 1), codes[np.clip(starts, 0, len(codes) - 1)]


def _nearest_first(coarse: NDArray[np.float32], nprobe: int) -> Iterator[int]:
    """List numbers in descending order of their centroid's score; the far ones are sorted only when asked for."""
    count = len(coarse)
    near = min(count, max(1, nprobe))
    split = np.argpartition(-coarse, near - 1) if near < count else np.arange(count)
    for part in (split[:near], split[near:]):
        yield from part[np.argsort(-coarse[part], kind="stable")].tolist()


def _codes(file: ArrayFile, dim: int) -> Codes:
    if "ranges" in file.arrays:
        low, span = file.array("ranges", "float32", 2, dim)
        return ScalarCodes(low, span)
    parts = file.array("parts", "float32", -1, 256, -1)
    if parts.shape[0] * parts.shape[2] != dim:
        raise DamagedFileError(f"{file.path} was made for vectors of another length")
    return ProductCodes(parts)
