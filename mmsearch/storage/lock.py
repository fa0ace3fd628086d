"""The lock that lets one process at a time write to a library."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mmsearch.errors import LibraryLockedError, StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

__all__ = ["WriterLock"]

LOCK_FILE = "writer.lock"
HOLDER_FILE = "writer.json"


class WriterLock:
    """Held while a process writes to a library; the operating system frees it when the process dies, however it does.

    Readers never take it. The library's folder is made where it is not there, since the lock comes before the catalog.
    A file beside the lock names its holder; it is for messages only, so a stale one does no harm.

    Args:
        library: Folder of the library.
        command: What the holder is doing, for the message to others, such as ``mmsearch index photos``.
    """

    def __init__(self, library: Path, command: str) -> None:
        self._library = library
        self._command = command
        self._lock: BaseFileLock | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises:
            LibraryLockedError: Another process holds it; the message says which.
            StorageError: The folder cannot be written to.
        """
        from filelock import FileLock, Timeout

        try:
            self._library.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._library / LOCK_FILE)
            lock.acquire(blocking=False)
        except Timeout as error:
            raise self._locked() from error
        except (OSError, NotImplementedError) as error:
            raise StorageError(
                f"The library in {self._library} cannot be written to ({getattr(error, 'strerror', None) or error}).",
                hint="Change the permissions of the folder, or choose another with --library.",
            ) from error
        self._lock = lock
        holder = {
            "pid": os.getpid(),
            "command": self._command,
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        unfinished = self._library / f"{HOLDER_FILE}.{os.getpid()}.tmp"
        # Without the file others learn less, no more: a full disk must not keep anyone from removing things.
        with suppress(OSError):
            unfinished.write_text(json.dumps(holder), encoding="utf-8", errors="backslashreplace")
            unfinished.replace(self._library / HOLDER_FILE)

    def release(self) -> None:
        """Give the lock back; nothing happens where it is not held."""
        if self._lock is None:
            return
        with suppress(OSError):
            (self._library / HOLDER_FILE).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def __enter__(self) -> WriterLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def _locked(self) -> LibraryLockedError:
        hint = "Wait until it is done; searching works meanwhile."
        try:
            holder = json.loads((self._library / HOLDER_FILE).read_text(encoding="utf-8"))
            since = datetime.fromisoformat(holder["since"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
            who = f"Process {int(holder['pid'])} ({holder['command']})"
        except (OSError, ValueError, KeyError, TypeError):
            return LibraryLockedError(f"Another process is writing to the library in {self._library}.", hint=hint)
        return LibraryLockedError(f"{who} has been writing to the library in {self._library} since {since}.", hint=hint)
