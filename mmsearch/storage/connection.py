"""Opens the SQLite file of a library and translates what SQLite says into the errors of mmsearch.

Everything that talks to SQLite, SQLAlchemy included, gets its connections from `connect`, so the settings that
durability depends on stand here only.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from mmsearch.errors import LibraryDamagedError, LibraryLockedError, LibraryNotFoundError, MmsearchError, StorageError

__all__ = ["CATALOG_FILE", "Access", "connect", "connect_for_reading", "translated"]

CATALOG_FILE = "catalog.sqlite3"
BUSY_TIMEOUT_S = 10.0
# Blobs of 256 to 1,024 float16 numbers waste up to a third of SQLite's usual pages of 4 KiB, and 7 % of these.
PAGE_SIZE = 8192
WAL_LIMIT_BYTES = 64 * 1024 * 1024

Access = Literal["create", "write", "share", "read", "immutable"]
_MODES = {
    "create": "mode=rwc",
    "write": "mode=rw",
    "share": "mode=rw",
    "read": "mode=ro",
    "immutable": "mode=ro&immutable=1",
}


def connect(file: Path, access: Access) -> sqlite3.Connection:
    """Open a catalog in autocommit mode, usable from any thread that holds the owner's lock.

    Args:
        file: The SQLite file.
        access: ``create`` makes the file where it is not there; ``share`` reads beside a writer, and takes part in
            recovery and clean-up; ``read`` and ``immutable`` change nothing on the disk.

    Raises:
        sqlite3.Error: It cannot be opened.
    """
    uri = f"file:{quote(os.fsencode(file))}?{_MODES[access]}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        if access == "create":
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            # Written into the file: whoever opens it later reads on while another writes.
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if access in ("create", "write"):
            # In WAL mode NORMAL syncs at checkpoints only. The log is append-only and checksummed, so after kill -9
            # nothing is lost, and after a power cut the last commits may be, but always whole ones, from the end.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}").fetchone()
        else:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_for_reading(file: Path) -> sqlite3.Connection:
    """Open a catalog that will only be read, also on media where nothing can be written.

    A reader of a WAL database shares memory with the writer through a file beside it. Where that file cannot be made
    (a read-only folder or medium) nobody can write either, so the database is read as one that does not change.

    Raises:
        sqlite3.Error: It cannot be opened or read.
        StorageError: Commits wait in a log beside it, and the folder cannot be written to.
    """
    writable = os.access(file, os.W_OK)
    accesses: tuple[Access, ...] = ("share", "read") if writable else ("read",)
    for access in accesses:
        try:
            return _checked(connect(file, access))
        except sqlite3.Error as error:
            if not _may_be_read_only(error):
                raise
    if _has_content(file.with_name(file.name + "-wal")):
        raise StorageError(
            f"The library in {file.parent} was not closed, and its folder cannot be written to.",
            hint="Copy the folder to a disk that can be written to, and open the copy with --library.",
        )
    return _checked(connect(file, "immutable"))


def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
    # Opening does not touch the file yet; the first statement does.
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translated(library: Path) -> Iterator[None]:
    """Turn errors of SQLite, also those that SQLAlchemy wraps, into those of mmsearch.

    Raises:
        LibraryLockedError, LibraryDamagedError, StorageError: According to SQLite's error code.
        ValueError: The values given break a rule of the schema.
    """
    try:
        yield
    except MmsearchError:
        raise
    except Exception as error:
        cause = getattr(error, "orig", error)
        if not isinstance(cause, sqlite3.Error):
            raise
        raise _translate(cause, library) from error


def _translate(error: sqlite3.Error, library: Path) -> Exception:
    code = _primary_code(error)
    if code == sqlite3.SQLITE_FULL:
        return StorageError(
            f"The disk is full, so nothing more could be saved in {library}; what was saved before is still there.",
            hint="Free some space and run the same command again.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StorageError(
            f"The library in {library} cannot be written to: it is read-only.",
            hint="Change the permissions of the folder, or choose another with --library.",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LibraryLockedError(
            f"Another process is writing to the library in {library}.", hint="Wait until it is done, then try again."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return LibraryDamagedError(
            f"The catalog of the library in {library} is damaged ({error}).",
            hint=f"Restore {CATALOG_FILE} from a backup, or move the folder away and run: mmsearch index FOLDER",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StorageError(
            f"The catalog of the library in {library} cannot be opened or made.",
            hint=f"Look at the permissions of {library / CATALOG_FILE} and of its folder.",
        )
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ValueError(f"the batch breaks a rule of the catalog: {error}")
    return StorageError(
        f"The library in {library} could not be read or written ({error}).",
        hint="Check that its disk works and has space left for you.",
    )


def no_library(library: Path) -> LibraryNotFoundError:
    """The error for a folder that holds no library."""
    return LibraryNotFoundError(f"There is no library in {library}.", hint="Make one with: mmsearch index FOLDER")


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _may_be_read_only(error: sqlite3.Error) -> bool:
    return _primary_code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM)


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except OSError:
        return False
