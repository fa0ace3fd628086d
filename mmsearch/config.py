"""Where a library lies and what the environment says about it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DEFAULT_MODEL", "LIBRARY_FOLDER", "cache_folder", "debug", "find_library", "offline", "processors"]

DEFAULT_MODEL = "mini"
LIBRARY_FOLDER = ".mmsearch"


def find_library(library: Path | None = None, *, start: Path | None = None) -> Path:
    """Choose the library folder; it need not exist yet.

    The first of: `library`, ``$MMSEARCH_LIBRARY``, the nearest ``.mmsearch/`` in `start` or above it, the user's
    data folder.

    Args:
        library: What the user asked for.
        start: Where to begin looking upward; the working directory when None.
    """
    if library is not None:
        return library.expanduser().absolute()
    if named := os.environ.get("MMSEARCH_LIBRARY"):
        return Path(named).expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / LIBRARY_FOLDER).is_dir():
            return folder / LIBRARY_FOLDER
    import platformdirs

    return Path(platformdirs.user_data_dir("mmsearch", appauthor=False)) / "library"


def cache_folder() -> Path:
    """Where pulled and exported models are kept: ``$MMSEARCH_CACHE``, else the user's cache folder."""
    if named := os.environ.get("MMSEARCH_CACHE"):
        return Path(named).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("mmsearch", appauthor=False))


def debug() -> bool:
    """Whether ``MMSEARCH_DEBUG`` asks for tracebacks."""
    return os.environ.get("MMSEARCH_DEBUG", "") not in ("", "0")


def offline() -> bool:
    """Whether ``MMSEARCH_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(os.environ.get(name, "") not in ("", "0") for name in ("MMSEARCH_OFFLINE", "HF_HUB_OFFLINE"))


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
