"""One connection that reads, shared by all threads of a process."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmsearch.storage.connection import translated

__all__ = ["GROUP", "Session"]

# Ids are asked for in groups: SQLite limits the parameters of a statement, and equal statements are prepared once.
GROUP = 500


class Session:
    """Runs statements that read; the rows they give stay inside this package.

    Args:
        connection: Closed with the session.
        library: Folder of the library, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, library: Path) -> None:
        self._connection = connection
        self.library = library
        self._lock = threading.RLock()
        self._snapshots = 0
        self._defined: set[str] = set()

    def close(self) -> None:
        """Close the connection."""
        with self._lock, translated(self.library):
            self._connection.close()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of one statement."""
        with self._lock, translated(self.library):
            return self._connection.execute(statement, values).fetchall()

    def streamed(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of one statement, fetched as they are taken: for more than should be held at once.

        To be used inside `snapshot`, by one thread.
        """
        with translated(self.library):
            yield from self._connection.execute(statement, values)

    def define(self, name: str, arguments: int, function: Callable[..., Any]) -> None:
        """Let statements call a function of that name, whose result depends on its arguments alone."""
        if name not in self._defined:
            with self._lock, translated(self.library):
                self._connection.create_function(name, arguments, function, deterministic=True)
            self._defined.add(name)

    def grouped_rows(self, statement: str, ids: Iterable[int], values: Sequence[Any] = ()) -> Iterator[Any]:
        """The rows of a statement that holds ``{ids}``, run once for each group of ids.

        Args:
            statement: The ids come before all other parameters in it.
            ids: Any number of them.
            values: Of the other parameters.
        """
        wanted = [int(id_) for id_ in ids]
        for start in range(0, len(wanted), GROUP):
            group = wanted[start : start + GROUP]
            yield from self.rows(statement.format(ids=",".join("?" * len(group))), [*group, *values])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all statements inside see one state of the database, whatever a writer does meanwhile."""
        with self._lock:
            if self._snapshots == 0:
                self.rows("BEGIN")
            self._snapshots += 1
            try:
                yield
            finally:
                self._snapshots -= 1
                if self._snapshots == 0 and self._connection.in_transaction:
                    self.rows("COMMIT")
