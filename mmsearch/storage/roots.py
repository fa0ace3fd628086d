"""How roots are written down so that a library can move with its files.

The absolute path of a root is always stored. Where the library lies inside the root (``photos/.mmsearch``), the way
from the library to the root is stored as well, and finds the root again after the whole tree was moved or mounted
elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["locate", "relative_path", "split"]


def relative_path(library: Path, root: Path) -> str | None:
    """The way from the library's folder to a root that contains it; None for any other root.

    The root of the file system is no tree that moves.
    """
    if root == root.parent or not library.is_relative_to(root):
        return None
    return os.path.relpath(root, library)


def locate(library: Path, stored: Path, relative: str | None, known: Callable[[], Iterable[str]]) -> Path:
    """Find out where a root lies now.

    Args:
        library: Where the library lies now.
        stored: Absolute path of the root when it was added.
        relative: What `relative_path` said then.
        known: Gives the paths of some items of the root; asked for only where the library was moved.

    Returns:
        The root beside the library, unless none of its items are there: then the library alone was moved, and the
        root is still where it was. Taking the wrong folder would make all items look deleted.
    """
    if relative is None:
        return stored
    beside = Path(os.path.normpath(library / relative))
    if beside == stored:
        return stored
    paths = list(known())
    if not paths or any(os.path.lexists(beside / path) for path in paths):
        return beside
    return stored


def split(path: Path, roots: Iterable[tuple[int, Path]]) -> list[tuple[int, str]]:
    """Every (root id, path relative to it) that stands for an absolute path, innermost root first."""
    inside = [(root_id, root) for root_id, root in roots if path.is_relative_to(root) and path != root]
    inside.sort(key=lambda entry: len(entry[1].parts), reverse=True)
    return [(root_id, path.relative_to(root).as_posix()) for root_id, root in inside]
