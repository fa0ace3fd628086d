"""Reads what the catalog remembers of folders and files: their places, and what tells whether they changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.storage.copies import content_hashes, copies
from mmsearch.storage.roots import locate
from mmsearch.storage.session import Session
from mmsearch.types import Collection, Failure, KnownFile, Modality, Root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmsearch.storage.keys import AddedItem

__all__ = ["FileReader"]

ROOT_SAMPLE = 20


class FileReader:
    """What can be asked of a catalog about files, over one connection that any thread may use.

    Args:
        session: To the catalog; closed with the reader.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def path(self) -> Path:
        """Folder of the library."""
        return self._session.library

    @property
    def library_id(self) -> str:
        """A name that this catalog alone has: files derived from another catalog do not belong to it."""
        ((found,),) = self._session.rows("SELECT value FROM meta WHERE key = 'library_id'")
        return str(found)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def snapshot(self) -> AbstractContextManager[None]:
        """Let all reads inside see one state of the library, whatever a writer does meanwhile."""
        return self._session.snapshot()

    @cached_property
    def _root_paths(self) -> dict[int, Path]:
        found: dict[int, Path] = {}
        for root_id, path, relative in self._session.rows("SELECT id, path, relative FROM roots ORDER BY id"):
            way = None if relative is None else os.fsdecode(relative)
            found[root_id] = locate(self.path, Path(os.fsdecode(path)), way, self._known_in(root_id))
        return found

    def _known_in(self, root_id: int) -> Callable[[], list[str]]:
        def known() -> list[str]:
            # Hashes are as good as random, so this is a spread sample, not twenty neighbours.
            return [
                os.fsdecode(path)
                for (path,) in self._session.rows(
                    "SELECT path FROM items WHERE root_id = ? ORDER BY content_hash LIMIT ?", (root_id, ROOT_SAMPLE)
                )
            ]

        return known

    def _forget_roots(self) -> None:
        self.__dict__.pop("_root_paths", None)

    def _root_path(self, root_id: int) -> Path:
        if root_id not in self._root_paths:
            self._forget_roots()  # another process has added it since
        return self._root_paths[root_id]

    def roots(self) -> tuple[Root, ...]:
        """The folders that were indexed, where they lie now."""
        return tuple(Root(root_id, path) for root_id, path in self._root_paths.items())

    def known_files(self, root_id: int) -> dict[str, KnownFile]:
        """Every file that is remembered below a root, by its path relative to the root.

        A file that was stored and cannot be read since has both the item and the reason, with the size, time and
        sidecars with which it failed.
        """
        # os.fsdecode says the same, and half as fast, which shows with 500,000 files.
        encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
        known = {
            path.decode(encoding, errors): KnownFile(item_id, size_bytes, mtime_ns, None, sidecars)
            for item_id, path, size_bytes, mtime_ns, sidecars in self._session.rows(
                "SELECT id, path, size_bytes, mtime_ns, sidecars FROM items WHERE root_id = ?", (root_id,)
            )
        }
        for raw, size_bytes, mtime_ns, reason, sidecars in self._session.rows(
            "SELECT path, size_bytes, mtime_ns, reason, sidecars FROM failures WHERE root_id = ?", (root_id,)
        ):
            path = os.fsdecode(raw)
            item = known.get(path)
            known[path] = KnownFile(None if item is None else item.item_id, size_bytes, mtime_ns, reason, sidecars)
        return known

    def items_with_hash(self, content_hash: bytes) -> list[int]:
        """The items with that content."""
        found = self._session.rows("SELECT id FROM items WHERE content_hash = ? ORDER BY id", (content_hash,))
        return [item_id for (item_id,) in found]

    def content_hashes(self, item_ids: Iterable[int]) -> dict[int, bytes]:
        """Item ids -> what identifies their content, of those with a file that was read as a whole."""
        return content_hashes(self._session, item_ids)

    def copies(self) -> list[tuple[int, ...]]:
        """Groups of items whose content is the same, each in the order of their ids."""
        return copies(self._session)

    def ids_of_keys(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Ids (n,) of items by their keys or by the absolute paths of their files, -1 where there is none."""
        from mmsearch.storage.keys import ids_of_keys

        return ids_of_keys(self._session, self._root_paths, keys)

    def keys_of_items(self, item_ids: Sequence[int]) -> dict[int, str]:
        """Item ids -> their keys, or the absolute paths of their files; those that are gone are absent."""
        from mmsearch.storage.keys import keys_of_items

        for root_id, *_ in self._session.rows("SELECT id FROM roots"):
            self._root_path(root_id)  # another process may have added it since
        return keys_of_items(self._session, self._root_paths, item_ids)

    def items_of_segments(self, segment_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The items (...) that segments (...) belong to, -1 where a segment is not there."""
        from mmsearch.storage.keys import items_of_segments

        return items_of_segments(self._session, segment_ids)

    def main_segments(
        self, encoder_id: str, item_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Item ids (n,), ascending, and the segments (n,) with a vector that say what they are; see `storage.keys`."""
        from mmsearch.storage.keys import main_segments

        return main_segments(self._session, encoder_id, item_ids)

    def collection_items(
        self, encoder_id: str, modality: Modality, after_segment_id: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The segments (n,) of a collection after an id, ascending, and the items (n,) that they belong to."""
        from mmsearch.storage.keys import collection_items

        return collection_items(self._session, Collection(encoder_id, modality), after_segment_id)

    def added_items(self, keys: Iterable[str]) -> dict[str, AddedItem]:
        """The items with these keys, as far as that tells whether they change; those that are not there are absent."""
        from mmsearch.storage.keys import added_items

        return added_items(self._session, keys)

    def failures(self) -> list[Failure]:
        """The files that are remembered as unreadable."""
        found = self._session.rows("SELECT root_id, path, reason FROM failures ORDER BY root_id, path")
        return [Failure(self._root_path(root_id) / os.fsdecode(path), reason) for root_id, path, reason in found]
