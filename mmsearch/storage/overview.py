"""Counts what a library holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from mmsearch.storage.connection import CATALOG_FILE
from mmsearch.storage.encoders import held
from mmsearch.storage.session import Session
from mmsearch.types import LibraryStatus, Root

__all__ = ["overview"]


def overview(session: Session, roots: Sequence[Root]) -> LibraryStatus:
    """Count items, segments and failures; the indexes are the engine's to fill in."""
    with session.snapshot():
        items = dict(session.rows("SELECT modality, count(*) FROM items GROUP BY modality ORDER BY modality"))
        in_root = dict(session.rows("SELECT root_id, count(*) FROM items WHERE root_id IS NOT NULL GROUP BY root_id"))
        ((segments,),) = session.rows("SELECT count(*) FROM segments")
        ((failures,),) = session.rows("SELECT count(*) FROM failures")
        ((version,),) = session.rows("PRAGMA user_version")
        encoders = held(session)
        by_modality = dict(
            session.rows(
                "SELECT modality, max(vector_count) FROM collections WHERE vector_count > 0"
                " GROUP BY modality ORDER BY modality"
            )
        )
    size = 0
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            size += os.stat(session.library / (CATALOG_FILE + suffix)).st_size
    return LibraryStatus(
        path=session.library,
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
        segments_by_modality=by_modality,
    )
