"""Writes the catalog: the one transaction manager, over SQLAlchemy Core."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import StaticPool

from mmsearch.storage.connection import CATALOG_FILE, connect, translated

__all__ = ["CatalogWriter"]


class CatalogWriter:
    """Owns the connection that writes; readers have others and never wait for it.

    Args:
        library: Folder of the library, which is there and up to date.
    """

    def __init__(self, library: Path) -> None:
        self._library = library
        self._lock = threading.Lock()
        self._engine = create_engine(
            "sqlite://", creator=lambda: connect(library / CATALOG_FILE, "write"), poolclass=StaticPool
        )
        # The driver runs in autocommit mode. Taking the write lock at the start, not at the first change, leaves no
        # moment at which another writer could make a transaction fail half way.
        event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commit what happens inside as a whole, or nothing of it.

        Raises:
            StorageError, LibraryLockedError, LibraryDamagedError: Translated from SQLite.
            ValueError: The values break a rule of the schema.
        """
        with self._lock, translated(self._library), self._engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock, translated(self._library):
            self._engine.dispose()
