"""Where a command's words go: results to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress

import typer

__all__ = ["flush", "note", "notes", "write", "write_bytes", "write_lines"]


def write(pieces: Iterable[str]) -> None:
    """Write results to stdout; a character that its encoding lacks is escaped.

    Raises:
        typer.Exit: Nobody reads any more, as after ``| head -1``; the results were there, so the code is 0.
    """
    encoding = sys.stdout.encoding or "utf-8"
    write_bytes(piece.encode(encoding, "backslashreplace") for piece in pieces)


def write_lines(lines: Iterable[str]) -> None:
    """Write lines of results to stdout."""
    write(f"{line}\n" for line in lines)


def write_bytes(pieces: Iterable[bytes]) -> None:
    """Write results to stdout as they are."""
    try:
        sys.stdout.flush()
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise _nobody_reads() from None


def flush() -> None:
    """Bring out what other code may have left in stdout's buffer."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise _nobody_reads() from None


def note(text: str) -> None:
    """Write a line to stderr."""
    with suppress(OSError):  # a closed stderr must not end the work
        print(text, file=sys.stderr, flush=True)


def notes(lines: Iterable[str]) -> None:
    """Write lines to stderr."""
    for line in lines:
        note(line)


def _nobody_reads() -> typer.Exit:
    # The interpreter flushes stdout once more at the end, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return typer.Exit(0)
