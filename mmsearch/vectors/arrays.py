"""Array files: named arrays written to one file atomically and read back memory-mapped.

Layout: 8 bytes magic, 8 bytes length of the header (little endian), the header as JSON (``meta`` and, for each array,
its type, shape and offset), padding, then the arrays, each at a multiple of 64 bytes.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import StorageError

__all__ = [
    "ArrayFile",
    "DamagedFileError",
    "FileStamp",
    "Stream",
    "atomic_write",
    "checksum",
    "read_arrays",
    "write_arrays",
]

_MAGIC = b"mmsarr01"
_ALIGN = 64
_MAX_HEADER_BYTES = 1 << 20
_TYPES = {"int64": np.int64, "int32": np.int32, "float32": np.float32, "float16": np.float16, "uint8": np.uint8}


class DamagedFileError(Exception):
    """An index file is missing, cut short or not what it should be; never leaves this package."""


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What a manifest remembers of a file, to notice when it is not the same any more."""

    name: str
    size_bytes: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Stream:
    """An array that is written piece by piece, since it need not fit into memory."""

    dtype: str
    shape: tuple[int, ...]
    pieces: Iterable[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """An opened array file.

    Attributes:
        meta: What was saved beside the arrays.
        arrays: Read-only views into the mapped file.
        offsets: Where each array begins in the file, bytes.
    """

    path: Path
    size_bytes: int
    meta: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    offsets: Mapping[str, int]


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
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"The vector index in {path.parent} could not be saved: {error.strerror or error}.",
            hint="Nothing is lost; mend the disk, then run: mmsearch rebuild",
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the system offers that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any] | Stream], meta: Mapping[str, Any]) -> FileStamp:
    """Save arrays under names, atomically.

    Raises:
        StorageError: The disk is full, read-only or failing.
    """
    streams = {
        name: array if isinstance(array, Stream) else Stream(array.dtype.name, array.shape, (array,))
        for name, array in arrays.items()
    }
    layout, offset = {}, 0
    for name, stream in streams.items():
        layout[name] = {"dtype": stream.dtype, "shape": stream.shape, "offset": offset}
        offset += _padded(_size(stream.dtype, stream.shape))
    header = json.dumps({"meta": dict(meta), "arrays": layout}).encode()
    header += b" " * (_padded(16 + len(header)) - 16 - len(header))
    with atomic_write(path) as file:
        crc = written = 0

        def put(data: bytes | memoryview) -> None:
            nonlocal crc, written
            file.write(data)
            crc = zlib.crc32(data, crc)
            written += len(data)

        put(_MAGIC + len(header).to_bytes(8, "little") + header)
        for stream in streams.values():
            expected = _size(stream.dtype, stream.shape)
            before = written
            for piece in stream.pieces:
                if piece.size:
                    put(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
            if written - before != expected:
                raise ValueError(f"{path.name}: {written - before} bytes where {expected} were announced")
            put(bytes(_padded(expected) - expected))
    return FileStamp(path.name, written, crc)


def read_arrays(path: Path, size_bytes: int | None = None) -> ArrayFile:
    """Map an array file; nothing but its header is read.

    Args:
        path: The file.
        size_bytes: Its size as the manifest remembers it, or None.

    Raises:
        DamagedFileError: It is missing, has another size or does not begin as it should.
    """
    try:
        with path.open("rb") as file:
            actual = os.fstat(file.fileno()).st_size
            head = file.read(16)
            length = int.from_bytes(head[8:], "little")
            if head[:8] != _MAGIC or length > _MAX_HEADER_BYTES or size_bytes not in (None, actual):
                raise DamagedFileError(f"{path} is not the index file that was saved")
            header = json.loads(file.read(length))
            mapped = np.memmap(file, dtype=np.uint8, mode="r")
        arrays, offsets = {}, {}
        for name, entry in header["arrays"].items():
            shape = tuple(int(side) for side in entry["shape"])
            start = 16 + length + int(entry["offset"])
            stop = start + _size(entry["dtype"], shape)
            if start < 0 or stop > actual:
                raise DamagedFileError(f"{path} is cut short")
            arrays[name] = np.asarray(mapped[start:stop]).view(_TYPES[entry["dtype"]]).reshape(shape)
            offsets[name] = start
        return ArrayFile(path, actual, header["meta"], arrays, offsets)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}") from error


def checksum(path: Path, progress: Callable[[int], None] | None = None) -> FileStamp:
    """Read a whole file and stamp it.

    Raises:
        DamagedFileError: It cannot be read.
    """
    crc = size = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 22):
                crc = zlib.crc32(piece, crc)
                size += len(piece)
                if progress is not None:
                    progress(size)
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read: {error}") from error
    return FileStamp(path.name, size, crc)


def _padded(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(_TYPES[dtype]).itemsize * math.prod(shape)
