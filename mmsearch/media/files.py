"""A path -> an open regular file, and content -> the hash that identifies it; a FIFO or a device never blocks."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import MediaError

__all__ = ["CHUNK_BYTES", "HASH_BYTES", "content_hash", "open_regular", "reason_of", "stream_hash"]

HASH_BYTES = 16
CHUNK_BYTES = 1 << 20

# Opening a FIFO for reading waits for a writer, unless it is asked not to.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, unbuffered.

    Raises:
        OSError: It could not be opened.
        MediaError: It is a FIFO, a socket, a device or a folder.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MediaError(path, "not a regular file")
        return open(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def content_hash(data: bytes) -> bytes:
    """Identify content by 16 bytes: BLAKE2b, which is fast without special instructions as well."""
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def stream_hash(stream: BinaryIO) -> bytes:
    """Compute `content_hash` of everything that is left in a stream, without holding it in memory."""
    digest = hashlib.blake2b(digest_size=HASH_BYTES)
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while count := stream.readinto(view):  # type: ignore[attr-defined]
        digest.update(view[:count])
    return digest.digest()


def reason_of(error: OSError) -> str:
    """Say in a short phrase why the operating system refused a file."""
    match error:
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "permission denied"
        case IsADirectoryError():
            return "not a regular file"
        case _:
            return (error.strerror or str(error)).lower()
