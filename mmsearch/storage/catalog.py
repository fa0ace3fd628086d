"""The catalog of a library: the truth about its items, segments and vectors, kept in SQLite.

New items and changes in, frozen values out; rows, connections and statements never leave this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from mmsearch.errors import StorageError
from mmsearch.storage.connection import CATALOG_FILE, connect, connect_for_reading, no_library, translated
from mmsearch.storage.encoders import mismatch_of_sets
from mmsearch.storage.migrations import current_version, migrate, version_of
from mmsearch.storage.reading import CatalogReader
from mmsearch.storage.roots import relative_path
from mmsearch.storage.session import Session
from mmsearch.types import EncoderRecord, Root

if TYPE_CHECKING:
    from mmsearch.storage.changes import Completion, Copy, FailedFile, Move, Part, Touch
    from mmsearch.storage.writing import CatalogWriter
    from mmsearch.types import NewItem

__all__ = ["Catalog"]


class Catalog(CatalogReader):
    """An open catalog; make one with `Catalog.open`.

    Reading is safe from many threads and goes on while another process writes. Whoever writes holds the `WriterLock`.
    """

    def __init__(self, session: Session, *, read_only: bool) -> None:
        super().__init__(session)
        self._read_only = read_only
        self._writer: CatalogWriter | None = None

    @classmethod
    def open(cls, library: Path, *, create: bool = False, read_only: bool = False) -> Catalog:
        """Open the catalog of a library and bring it up to date where an older version made it.

        Args:
            library: Folder of the library.
            create: Make the folder and the catalog where they are not there.
            read_only: Refuse to write; works on read-only media as well.

        Raises:
            LibraryNotFoundError: There is none, and `create` is False.
            LibraryTooNewError: A newer version of mmsearch made it.
            LibraryDamagedError: The file is not a catalog, or damaged.
            StorageError: It cannot be opened, made or brought up to date.
        """
        library = Path(os.path.abspath(library))
        file = library / CATALOG_FILE
        create = create and not read_only
        with translated(library):
            if not _exists(file):
                if not create:
                    raise no_library(library)
                _create(library)
            connection = connect_for_reading(file)
            try:
                version = version_of(connection, library)
                if version == 0:
                    # Whoever made the file was stopped before anything was in it.
                    if not create:
                        raise no_library(library)
                    _create(library)
                elif version < current_version():
                    _upgrade(library)
            except BaseException:
                connection.close()
                raise
        return cls(Session(connection, library), read_only=read_only)

    def close(self) -> None:
        """Close all connections."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        super().close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def register_encoders(self, records: Sequence[EncoderRecord]) -> None:
        """Say whose vectors the library is going to hold; nothing changes where it holds those already.

        Args:
            records: The encoders, in the order in which `encoders` is to give them.

        Raises:
            EncoderMismatchError: It was made with other encoders, or with vectors of another length.
        """
        held = self.encoders()
        if set(held) == set(records):
            return
        if held:
            raise mismatch_of_sets(self.path, held, records)
        from sqlalchemy import insert

        from mmsearch.storage.models import encoders

        with self._writing().transaction() as connection:
            connection.execute(insert(encoders), [{"name": record.id, "dim": record.dim} for record in records])

    def add_root(self, path: Path) -> Root:
        """Remember a folder; one that is remembered already, also under another name, is returned."""
        path = Path(os.path.abspath(path))
        roots = self.roots()
        for root in roots:
            if root.path == path:
                return root
        real = os.path.realpath(path)
        for root in roots:
            if os.path.realpath(root.path) == real:
                return root
        from sqlalchemy import insert

        from mmsearch.storage.models import roots as table

        relative = relative_path(self.path, path)
        with self._writing().transaction() as connection:
            connection.execute(
                insert(table),
                {"path": os.fsencode(path), "relative": None if relative is None else os.fsencode(relative)},
            )
        self._forget_roots()
        return next(root for root in self.roots() if root.path == path)

    def remove_root(self, root_id: int) -> int:
        """Forget a folder and all its items.

        Returns:
            The number of items that were removed.
        """
        from sqlalchemy import delete, func, select

        from mmsearch.storage.models import items
        from mmsearch.storage.models import roots as table

        with self._writing().transaction() as connection:
            count = connection.execute(select(func.count()).where(items.c.root_id == root_id)).scalar_one()
            connection.execute(delete(items).where(items.c.root_id == root_id))
            connection.execute(delete(table).where(table.c.id == root_id))
        self._forget_roots()
        return int(count)

    def write(
        self,
        *,
        items: Sequence[NewItem] = (),
        parts: Sequence[Part] = (),
        completed: Sequence[Completion] = (),
        copies: Sequence[Copy] = (),
        moves: Sequence[Move] = (),
        touched: Sequence[Touch] = (),
        removed: Iterable[int] = (),
        failures: Sequence[FailedFile] = (),
        forgotten: Iterable[tuple[int, str]] = (),
        copied: MutableMapping[int, int] | None = None,
    ) -> tuple[int, ...]:
        """Store one batch as one transaction: all of it, or nothing.

        Applied in this order: removed, forgotten, moves, touched, copies, items, parts, completed, failures. What
        comes to lie at a root and path replaces the item there and ends its failure.

        Args:
            items: New items with their segments, which hold embeddings of any encoders of the library, or none.
            parts: More segments of items that were stored as not complete.
            completed: Items that have all their segments now. Until then an item has no content hash and a time that
                no file has: a run that was interrupted finds it changed, and nothing is copied from it.
            copies: Files with the content of a stored item: new items, new segments, the same vectors.
            moves: Items whose file lies elsewhere now; they may swap places.
            touched: Items whose file was written again with the same content.
            removed: Ids of items that are gone; unknown ones are passed over.
            failures: Files to remember as unreadable. An item at the same place stays unless it is in `removed`.
            forgotten: (root_id, path) of unreadable files that are gone.
            copied: Filled with the segment ids of `copies`, each with the id that it was copied from, for whoever keeps
                something of segments beside the catalog.

        Returns:
            The segment ids of `items`, then those of `parts`, in order.

        Raises:
            StorageError: The disk is full, read-only or failing; everything stored before is still there.
            EncoderMismatchError: An encoder was not registered.
            EncoderError: An embedding is of the wrong length or not finite.
            ValueError: A copy has no source, an item to move, continue or complete is not there, or two items have
                the same place.
        """
        from mmsearch.storage import additions, batch
        from mmsearch.storage.values import last_id

        with self._writing().transaction() as connection:
            last_item, last_segment = last_id(connection, "items"), last_id(connection, "segments")
            batch.remove_items(connection, removed)
            batch.forget_failures(connection, forgotten)
            batch.move_items(connection, moves)
            batch.touch_items(connection, touched)
            pairs = batch.copy_items(connection, copies)
            ids = additions.add_items(connection, self.path, items)
            ids += additions.add_parts(connection, self.path, parts)
            additions.complete_items(connection, completed)
            batch.add_failures(connection, failures)
            batch.index_texts(connection, last_item, last_segment)
        if copied is not None:
            copied.update(pairs)
        return ids

    def _writing(self) -> CatalogWriter:
        if self._read_only:
            raise StorageError(f"The library in {self.path} was opened for reading only.")
        if self._writer is None:
            from mmsearch.storage.writing import CatalogWriter

            self._writer = CatalogWriter(self.path)
        return self._writer


def _exists(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(
            f"The library in {file.parent} cannot be opened ({error.strerror}).",
            hint="Look at the permissions of the folder, or choose another with --library.",
        ) from error
    return True


def _create(library: Path) -> None:
    try:
        library.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The library folder {library} cannot be made ({error.strerror}).", hint="Choose another with --library."
        ) from error
    with closing(connect(library / CATALOG_FILE, "create")) as connection:
        migrate(connection, library)


def _upgrade(library: Path) -> None:
    try:
        with translated(library), closing(connect(library / CATALOG_FILE, "write")) as connection:
            migrate(connection, library)
    except StorageError as error:
        raise StorageError(
            f"The library in {library} was made by an older mmsearch and must be brought up to date, but it cannot be"
            " written to.",
            hint="Make the folder writable, or copy it to where it is and choose the copy with --library.",
        ) from error
