"""Where a command's words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import typer

from mmsearch.errors import StorageError

__all__ = ["flush", "note", "notes", "write", "write_bytes", "write_lines"]


def write(pieces: Iterable[str]) -> None:
    """Write results to stdout; a character that its encoding lacks is escaped.

    Raises:
        typer.Exit: Nobody reads any more, as after ``| head -1``; the results were there, so the code is 0.
        StorageError: They go to a file, and the disk is full.
    """
    encoding = sys.stdout.encoding or "utf-8"
    write_bytes(piece.encode(encoding, "backslashreplace") for piece in pieces)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines of results to stdout."""
    write(f"{line}\n" for line in lines)


def write_bytes(pieces: Iterable[bytes]) -> None:
    """Write results to stdout as they are."""
    with _writing():
        sys.stdout.flush()
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def flush() -> None:
    """Bring out what other code may have left in stdout's buffer."""
    with _writing():
        sys.stdout.flush()


def note(text: str) -> None:
    """Write a line to stderr."""
    with suppress(OSError):  # a closed stderr must not end the work
        print(text, file=sys.stderr, flush=True)


def notes(lines: Iterable[str]) -> None:
    """Write lines to stderr."""
    for line in lines:
        note(line)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # The interpreter flushes stdout once more at the end, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(0) from None
        raise StorageError(f"The results cannot be written ({error.strerror}).") from error
