"""Rows of tokens on disk: ids and tokens -> bytes that prove themselves, and back.

A row is the id of a segment (int64), the CRC-32 of id and tokens, four bytes of nothing and the tokens, filled up to a
multiple of 64 bytes. Beside the rows lies a file of their ids alone: the rows of a hundred segments among a million are
found in 8 MB of ids, of which a search touches a few pages, instead of in 16 GB of rows.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.rerank.token_manifest import TokenManifest
    from mmsearch.types import TokenFormat

__all__ = ["ID_BYTES", "TokenFiles", "intact", "pack", "read_rows", "row_type"]

ID_BYTES = 8
_HEADER = 16
_ALIGN = 64
_seeking = threading.Lock()


def row_type(format: TokenFormat) -> np.dtype[Any]:
    """A row as NumPy sees it: ``id``, ``crc`` and ``tokens`` (count, dim)."""
    used = _HEADER + format.count * format.dim
    return np.dtype(
        {
            "names": ["id", "crc", "tokens"],
            "formats": ["<i8", "<u4", ("i1", (format.count, format.dim))],
            "offsets": [0, 8, _HEADER],
            "itemsize": used + -used % _ALIGN,
        }
    )


def pack(ids: NDArray[np.int64], tokens: NDArray[np.int8], kind: np.dtype[Any]) -> NDArray[Any]:
    """Make rows of ids (n,) and tokens (n, count, dim)."""
    rows = np.zeros(len(ids), kind)
    rows["id"], rows["tokens"] = ids, tokens
    rows["crc"] = _checksums(rows)
    return rows


def intact(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows are as they were written."""
    return np.asarray(rows["crc"] == _checksums(rows), np.bool_)


def read_rows(file: int, places: NDArray[np.int64], kind: np.dtype[Any]) -> NDArray[Any]:
    """Read rows by their places in an opened file; one that is not there reads as no row."""
    rows = np.zeros(len(places), kind)
    view, start = rows.view(np.uint8).data, 0
    breaks = np.flatnonzero(np.diff(places) != 1) + 1  # rows that lie side by side are read at once
    for end in [*breaks.tolist(), len(places)] if len(places) else []:
        part = view[start * kind.itemsize : end * kind.itemsize]
        _read_into(file, part, int(places[start]) * kind.itemsize)
        start = end
    return rows


class TokenFiles:
    """One generation of a store's files, opened for reading; others may append to them meanwhile.

    Rows are read by their places instead of through a mapping: a disk that fails, or a file that was cut short behind
    our back, then gives rows that are missing, where a mapping would end the process.

    Raises:
        OSError: A file is missing or cannot be read.
    """

    def __init__(self, folder: Path, manifest: TokenManifest) -> None:
        self.manifest = manifest
        self._type = row_type(manifest.format)
        self._rows = _opened(self, folder / manifest.rows_name)
        self._ids = _opened(self, folder / manifest.ids_name)
        self._mapped: NDArray[np.int64] = np.empty(0, np.int64)

    def count(self) -> int:
        """Whole rows in the files now."""
        rows, ids = os.fstat(self._rows).st_size, os.fstat(self._ids).st_size
        return min(rows // self._type.itemsize, ids // ID_BYTES)

    def ids(self, count: int) -> NDArray[np.int64]:
        """The ids of the first `count` rows, in the order of the rows; a view into the mapped file."""
        if count > len(self._mapped):
            mapped = mmap.mmap(self._ids, count * ID_BYTES, access=mmap.ACCESS_READ)
            self._mapped = np.frombuffer(mapped, "<i8")
        return self._mapped[:count]

    def find(self, wanted: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """The places of ids (n,) among the first `count` rows; -1 for those that are not there.

        Within a run ids ascend. Where one is in several runs, the last one holds.
        """
        ids = self.ids(count)
        places = np.full(len(wanted), -1, np.int64)
        for start, end in self._runs(count):
            run = ids[start:end]
            at = np.searchsorted(run, wanted)
            there = at < len(run)
            there[there] = run[at[there]] == wanted[there]
            places[there] = start + at[there]
        return places

    def read(self, wanted: NDArray[np.int64], count: int) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
        """Which of the ids (n,) have an intact row, and their tokens (n, count, dim), zero for the others."""
        places = self.find(wanted, count)
        asked = np.flatnonzero(places >= 0)
        asked = asked[np.argsort(places[asked], kind="stable")]
        if hasattr(os, "posix_fadvise"):  # the disk may fetch them all at once
            for place in places[asked].tolist():
                with suppress(OSError):
                    os.posix_fadvise(
                        self._rows, place * self._type.itemsize, self._type.itemsize, os.POSIX_FADV_WILLNEED
                    )
        rows = read_rows(self._rows, places[asked], self._type)
        good = intact(rows) & (rows["id"] == wanted[asked])
        found = np.zeros(len(wanted), np.bool_)
        tokens = np.zeros((len(wanted), self.manifest.count, self.manifest.dim), np.int8)
        found[asked[good]], tokens[asked[good]] = True, rows["tokens"][good]
        return found, tokens

    def _runs(self, count: int) -> list[tuple[int, int]]:
        starts = [start for start in self.manifest.runs if start < count]
        return list(zip(starts, [*starts[1:], count], strict=False))


def _checksums(rows: NDArray[Any]) -> NDArray[np.uint32]:
    used = _HEADER + rows.dtype["tokens"].itemsize
    raw = rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)
    sums = (zlib.crc32(row[_HEADER:used].data, zlib.crc32(row[:ID_BYTES].data)) for row in raw)
    return np.fromiter(sums, np.uint32, len(rows))


def _opened(owner: TokenFiles, path: Path) -> int:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    weakref.finalize(owner, os.close, handle)
    return handle


def _read_into(file: int, view: memoryview, offset: int) -> None:
    """Read what there is; a disk that fails gives nothing."""
    with suppress(OSError):
        if hasattr(os, "preadv"):
            os.preadv(file, [view], offset)
            return
        with _seeking:
            os.lseek(file, offset, os.SEEK_SET)
            data = os.read(file, len(view))
        view[: len(data)] = data
