"""Reads a token store: ids of segments -> their tokens, while another process may write."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.files import folder_bytes
from mmsearch.rerank.token_manifest import MANIFEST_NAME, TokenManifest, read_manifest
from mmsearch.rerank.token_rows import TokenFiles
from mmsearch.vectors.manifest import folder_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TokenReader"]

_ATTEMPTS = 5


class TokenReader:
    """The tokens of one collection's pictures, for reading; `TokenStore` writes them as well.

    It never waits for a writer and sees whole rows only.
    """

    def __init__(self, folder: Path, collection: str, catalog: str = "") -> None:
        self.folder = folder / folder_name(collection)
        self._collection = collection
        self._catalog = catalog
        self._seen: tuple[int, ...] | None = None
        self._manifest: TokenManifest | None = None
        self._files: TokenFiles | None = None

    @property
    def manifest(self) -> TokenManifest | None:
        """Whose tokens the files hold, or None where there are none that can be used."""
        self._look()
        return self._manifest

    def __len__(self) -> int:
        """Rows in the files, those of segments that are gone included."""
        return self._state()[1]

    def ids(self) -> NDArray[np.int64]:
        """The ids that have a row, ascending."""
        files, count = self._state()
        if files is None:
            return np.empty(0, np.int64)
        ids = np.sort(files.ids(count), kind="stable").astype(np.int64)  # np.unique is slow where they ascend already
        return ids[np.append(ids[1:] != ids[:-1], True)] if len(ids) else ids

    def count_among(self, ids: NDArray[np.int64]) -> int:
        """How many of some ids have a row."""
        return int(np.isin(ids, self.ids()).sum())

    def read(self, ids: Iterable[int] | NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int8]]:
        """Look up the tokens of segments.

        Args:
            ids: n of them, in any order.

        Returns:
            Which have tokens (n,), and the tokens (n, count, dim), zero for the others. A row that is damaged counts as
            none.
        """
        wanted = ids.astype(np.int64) if isinstance(ids, np.ndarray) else np.fromiter(ids, np.int64)
        files, count = self._state()
        if files is not None:
            return files.read(wanted, count)
        manifest = self._manifest
        shape = (len(wanted), 0, 0) if manifest is None else (len(wanted), manifest.count, manifest.dim)
        return np.zeros(len(wanted), np.bool_), np.zeros(shape, np.int8)

    def size_bytes(self) -> int:
        """Bytes that the files take on disk."""
        return folder_bytes(self.folder)

    def _state(self) -> tuple[TokenFiles | None, int]:
        """The files, and how many of their rows go with the manifest that we know."""
        for _ in range(_ATTEMPTS):
            self._look()
            if self._files is None:
                break
            try:
                count = self._files.count()
            except OSError:
                break
            if self._stamp() == self._seen:  # no run was begun while we counted
                return self._files, count
        return None, 0

    def _look(self) -> None:
        """Read the manifest and open the files again if another process, or we, wrote it."""
        for _ in range(_ATTEMPTS):
            seen = self._stamp()
            if seen == self._seen:
                return
            self._files = None
            self._manifest = read_manifest(self.folder, self._collection, self._catalog)
            if self._manifest is not None:
                # They may be removed between our reading of the manifest and of them: then look again.
                with suppress(OSError):
                    self._files = TokenFiles(self.folder, self._manifest)
            if self._stamp() == seen:
                self._seen = seen

    def _stamp(self) -> tuple[int, ...]:
        try:
            found = (self.folder / MANIFEST_NAME).stat()
        except OSError:
            return ()
        return (found.st_ino, found.st_mtime_ns, found.st_size)
