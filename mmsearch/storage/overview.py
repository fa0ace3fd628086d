"""Counts what a library holds."""

from __future__ import annotations

import os
from contextlib import suppress

from mmsearch.storage.connection import CATALOG_FILE
from mmsearch.storage.reading import CatalogReader
from mmsearch.types import LibraryStatus

__all__ = ["overview"]


def overview(reader: CatalogReader) -> LibraryStatus:
    """Count items, segments and failures; the indexes are the engine's to fill in."""
    with reader.snapshot():
        items = dict(reader.rows("SELECT modality, count(*) FROM items GROUP BY modality ORDER BY modality"))
        in_root = dict(reader.rows("SELECT root_id, count(*) FROM items WHERE root_id IS NOT NULL GROUP BY root_id"))
        ((segments,),) = reader.rows("SELECT count(*) FROM segments")
        ((failures,),) = reader.rows("SELECT count(*) FROM failures")
        ((version,),) = reader.rows("PRAGMA user_version")
        encoders, roots = reader.encoders(), reader.roots()
    size = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            size += os.stat(reader.library / (CATALOG_FILE + suffix)).st_size
    return LibraryStatus(
        path=reader.library,
        version=version,
        items=items,
        segments=segments,
        failures=failures,
        encoders=encoders,
        indexes=(),
        roots=tuple(
            {"path": os.fspath(root.path), "items": in_root.get(root.id, 0), "present": root.path.is_dir()}
            for root in roots
        ),
        catalog_bytes=size,
    )
