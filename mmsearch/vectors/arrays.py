"""Array files: named arrays written to one file atomically and read back memory-mapped.

Layout: the arrays one after the other, each at a multiple of 64 bytes; then an index of them as JSON (``meta`` and, for
each array, its type, shape and offset); then 8 bytes with the length of that index (little endian) and 8 bytes magic.
The index comes last so that arrays can be streamed, and so that a file that was cut short shows it.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import StorageError
from mmsearch.files import sync_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayFile", "DamagedFileError", "FileStamp", "atomic_write", "is_intact", "read_arrays", "write_arrays"]

_MAGIC = b"mmsarr01"
_ALIGN = 64
_MAX_INDEX_BYTES = 1 << 20
_TYPES = {np.dtype(kind).name: np.dtype(kind) for kind in ("i8", "i4", "f4", "f2", "u1")}


class DamagedFileError(Exception):
    """An index file is missing, cut short or not what it should be; never leaves this package."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What a manifest remembers of a file, to notice when it is not the same any more."""

    name: str
    size_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """An opened array file.

    Attributes:
        meta: What was saved beside the arrays.
        arrays: Read-only views into the mapped file.
        inode: Which file it is, whatever its name.
    """

    path: Path
    size_bytes: int
    meta: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    inode: tuple[int, int]

    def is_in_place(self) -> bool:
        """Whether the mapped file still lies under its name, and not a later one."""
        try:
            return _inode(os.stat(self.path)) == self.inode
        except OSError:
            return False

    def array(self, name: str, dtype: str, *shape: int) -> NDArray[Any]:
        """The array of that name, which must have this type and shape (-1: any length).

        Raises:
            DamagedFileError: It is not there, or is another.
        """
        found = self.arrays.get(name)
        if (
            found is None
            or found.dtype.name != dtype
            or len(found.shape) != len(shape)
            or any(side not in (-1, actual) for side, actual in zip(shape, found.shape, strict=True))
        ):
            raise DamagedFileError(f"{self.path} has no array {name} of the type {dtype} and the shape {shape}")
        return found


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name only when all of it is on disk.

    Raises:
        StorageError: It could not be written; whatever lay at `path` is still there.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"The vector index in {path.parent} could not be saved: {error.strerror or error}.",
            hint="Nothing is lost; mend the disk, then run: mmsearch rebuild",
        ) from error


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any] | Iterable[NDArray[Any]]], meta: Mapping[str, Any]
) -> FileStamp:
    """Save arrays under names, atomically.

    Args:
        path: The file.
        arrays: An array, or the pieces of a one-dimensional array of bytes (uint8) that is streamed.
        meta: Plain JSON values.

    Raises:
        StorageError: The disk is full, read-only or failing.
    """
    crc = written = 0
    with atomic_write(path) as file:

        def put(data: bytes | NDArray[Any]) -> None:
            nonlocal crc, written
            view = data if isinstance(data, bytes) else np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
            file.write(view)
            crc = zlib.crc32(view, crc)
            written += len(view)

        layout: dict[str, Any] = {}
        for name, array in arrays.items():
            start = written
            if isinstance(array, np.ndarray):
                put(array)
                layout[name] = {"dtype": array.dtype.name, "shape": array.shape, "offset": start}
            else:
                for piece in array:
                    put(piece)
                layout[name] = {"dtype": "uint8", "shape": (written - start,), "offset": start}
            put(bytes(-written % _ALIGN))
        index = json.dumps({"meta": dict(meta), "arrays": layout}).encode()
        put(index + len(index).to_bytes(8, "little") + _MAGIC)
    return FileStamp(path.name, written, crc)


def read_arrays(path: Path, size_bytes: int | None = None) -> ArrayFile:
    """Map an array file; only its end is read.

    Args:
        path: The file.
        size_bytes: Its size as the manifest remembers it, or None.

    Raises:
        DamagedFileError: It is missing, has another size or does not end as it should.
    """
    try:
        with path.open("rb") as file:
            opened = os.fstat(file.fileno())
            size = opened.st_size
            if size < 16 or size_bytes not in (None, size):
                raise DamagedFileError(f"{path} is not as long as it was saved")
            file.seek(size - 16)
            tail = file.read(16)
            length = int.from_bytes(tail[:8], "little")
            if tail[8:] != _MAGIC or length > min(_MAX_INDEX_BYTES, size - 16):
                raise DamagedFileError(f"{path} is not an index file")
            file.seek(size - 16 - length)
            index = json.loads(file.read(length))
            mapped = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
        arrays = {}
        for name, entry in index["arrays"].items():
            kind, shape, start = _TYPES[entry["dtype"]], tuple(map(int, entry["shape"])), int(entry["offset"])
            stop = start + kind.itemsize * math.prod(shape)
            if min(shape, default=0) < 0 or start < 0 or start % _ALIGN or stop > size:
                raise DamagedFileError(f"{path} does not hold what it says")
            arrays[name] = mapped[start:stop].view(kind).reshape(shape)
        return ArrayFile(path, size, index["meta"], arrays, _inode(opened))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}") from error


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def is_intact(folder: Path, stamp: FileStamp) -> bool:
    """Whether a file is byte for byte what was saved; reads all of it."""
    crc = size = 0
    try:
        with (folder / stamp.name).open("rb") as file:
            while piece := file.read(1 << 22):
                crc = zlib.crc32(piece, crc)
                size += len(piece)
    except OSError:
        return False
    return (size, crc) == (stamp.size_bytes, stamp.crc32)
