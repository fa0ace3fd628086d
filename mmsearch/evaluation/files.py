"""Pictures that an evaluation leaves behind: the place is tried before the work."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmsearch.errors import UsageError
from mmsearch.files import failed

__all__ = ["check_place"]


def check_place(file: Path, suffixes: Sequence[str]) -> None:
    """Make sure that a file can be written there, before hours of work are to end in it.

    Args:
        file: That is to be written; what lies there is left as it is.
        suffixes: That it may have, such as ``.png``.

    Raises:
        UsageError: It has another suffix, its folder is missing, or it is a folder.
        StorageError: Nothing can be written there.
    """
    if file.suffix.lower() not in suffixes:
        raise UsageError(f"Cannot tell what to write to {file}.", hint=f"Let its name end in {' or '.join(suffixes)}.")
    if file.is_dir():
        raise UsageError(f"{file} is a folder.", hint="Give the name of a file.")
    if not file.parent.is_dir():
        raise UsageError(f"There is no folder {file.parent}.", hint=f"Make it first: mkdir -p {file.parent}")
    try:
        # Only an attempt tells: a disk that is mounted read-only or full refuses what the permissions allow.
        with tempfile.TemporaryFile(dir=file.parent) as trial:
            trial.write(b"\0")
    except OSError as error:
        raise failed(file, error) from error
