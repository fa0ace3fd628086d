"""Files that appear under their names only when all of them is on the disk; whatever lay there stays until then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mmsearch.errors import StorageError

__all__ = ["at_home", "failed", "folder_bytes", "sync_folder", "whole", "written"]

_HINT = "Free the disk, or name another place."


@contextmanager
def whole(file: Path, *, hint: str = _HINT) -> Iterator[Path]:
    """Give a path to write to; what lies there at the end takes the name of the file.

    Args:
        file: Its folder is made where it is missing.
        hint: What helps where it cannot be written.

    Raises:
        StorageError: It cannot be written; whatever lay there is still there.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            os.replace(part, file)
            sync_folder(file.parent)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise failed(file, error, hint=hint) from error


@contextmanager
def written(file: Path, *, hint: str = _HINT) -> Iterator[IO[bytes]]:
    """Open a file for writing; it appears when all of it is on the disk.

    Raises:
        StorageError: It cannot be written; whatever lay there is still there.
    """
    with whole(file, hint=hint) as part, part.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder durable where the system offers that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder_bytes(folder: Path) -> int:
    """Bytes that the files of a folder take; 0 where there is none, and without those that vanish meanwhile."""
    total = 0
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):
                total += path.stat().st_size
    return total


def failed(file: Path, error: OSError, *, hint: str = _HINT) -> StorageError:
    """The error for a file that cannot be written."""
    return StorageError(f"{file} cannot be written: {error.strerror or error}.", hint=hint)


def at_home(path: str) -> str:
    """A path with ``~`` at its beginning replaced by the home folder; as it is where no user can have that name."""
    try:
        return os.path.expanduser(path)
    except ValueError:  # a NUL in it
        return path
