"""Writes the files of a token store: rows appended, what a crash left mended, all of it written anew without the dead.

One process at a time, the holder of the library's writer lock; readers go on meanwhile.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from mmsearch.files import failed
from mmsearch.rerank.token_manifest import HINT, TokenManifest, write_manifest
from mmsearch.rerank.token_rows import ID_BYTES, intact, pack, read_rows, row_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TokenWriter", "make_files", "remove_others"]

# Rows that are looked at, or copied, at once.
_PORTION_BYTES = 8 << 20


class TokenWriter:
    """The files of one generation, opened for appending; what a crash left of a last row is cut off.

    Args:
        folder: The store's folder.
        manifest: What lies there.

    Raises:
        FileNotFoundError: There are no rows.
        StorageError: The files cannot be read or mended.
    """

    def __init__(self, folder: Path, manifest: TokenManifest) -> None:
        self.manifest = manifest
        self.count, self._last = 0, -1
        self._folder = folder
        self._type = row_type(manifest.format)
        self._portion = max(1, _PORTION_BYTES // self._type.itemsize)
        if not (folder / manifest.rows_name).exists():
            raise FileNotFoundError(folder / manifest.rows_name)
        with _saving(folder), ExitStack() as opened:
            (folder / manifest.ids_name).touch()
            self._rows = opened.enter_context((folder / manifest.rows_name).open("r+b", buffering=0))
            self._ids = opened.enter_context((folder / manifest.ids_name).open("r+b", buffering=0))
            self._mend()
            remove_others(folder, manifest)
            self._closing = weakref.finalize(self, opened.pop_all().close)

    def close(self) -> None:
        """Close the files."""
        self._closing()

    def append(self, ids: NDArray[np.int64], tokens: NDArray[np.int8]) -> None:
        """Add rows; see `TokenStore.append`."""
        if ids[0] <= self._last:
            self._note(replace(self.manifest, runs=(*self.manifest.runs, self.count)))
        rows = pack(ids, tokens, self._type)
        with _saving(self._folder):
            try:
                _write_at(self._rows, self.count * self._type.itemsize, rows.view(np.uint8).data)
                _write_at(self._ids, self.count * ID_BYTES, ids.astype("<i8").view(np.uint8).data)
            except OSError:
                with suppress(OSError):
                    self._ids.truncate(self.count * ID_BYTES)
                    self._rows.truncate(self.count * self._type.itemsize)
                raise
        self.count += len(ids)
        self._last = int(ids[-1])

    def save(self) -> None:
        """Bring all rows to the disk, so that they survive a power cut."""
        if self.manifest.saved == self.count:
            return
        with _saving(self._folder):
            os.fsync(self._rows.fileno())
            os.fsync(self._ids.fileno())
        self._note(replace(self.manifest, saved=self.count))

    def miss_after(self, segment_id: int) -> None:
        """Set the id up to which no tokens are missed."""
        if segment_id != self.manifest.since:
            self._note(replace(self.manifest, since=segment_id))

    def order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ids that have rows, ascending, and the place of the row that holds for each."""
        ids = self._read_ids(self.count)
        places = np.argsort(ids, kind="stable")
        ids = ids[places]
        holding = np.ones(len(ids), np.bool_)
        holding[:-1] = ids[1:] != ids[:-1]
        return ids[holding], places[holding]

    def rewrite(self, ids: NDArray[np.int64], places: NDArray[np.int64]) -> TokenManifest:
        """Write the rows at these places to files of a new generation, in one ascending run, but for damaged ones.

        Returns:
            The manifest of the new files; this writer is closed.
        """
        manifest = replace(self.manifest, generation=self.manifest.generation + 1, runs=(0,))
        new = [self._folder / name for name in (manifest.rows_name, manifest.ids_name)]
        held = False
        kept = 0
        try:
            with _saving(self._folder), new[0].open("wb") as rows_file, new[1].open("wb") as ids_file:
                for start in range(0, len(ids), self._portion):
                    part = slice(start, start + self._portion)
                    rows = read_rows(self._rows.fileno(), places[part], self._type)
                    rows = rows[intact(rows) & (rows["id"] == ids[part])]
                    rows_file.write(rows.view(np.uint8).data)
                    ids_file.write(rows["id"].astype("<i8").view(np.uint8).data)
                    kept += len(rows)
                for file in (rows_file, ids_file):
                    file.flush()
                    os.fsync(file.fileno())
            manifest = replace(manifest, saved=kept)
            held = True  # from here on the files may be those of the manifest, even where writing it failed
            write_manifest(self._folder, manifest)
        finally:
            if not held:
                for path in new:
                    with suppress(OSError):
                        path.unlink()
        self.close()
        remove_others(self._folder, manifest)
        return manifest

    def _mend(self) -> None:
        """Find the rows that are whole, and bring ids and runs in step with them."""
        size = self._type.itemsize
        rows = os.fstat(self._rows.fileno()).st_size // size
        ids = self._read_ids(rows)
        # Rows that were saved are taken as they are: those that went bad since are missing to a reader, one by one.
        whole, found = self._whole_rows(min(self.manifest.saved, len(ids)), rows, ids)
        if not _rising(found, self.manifest.runs):
            whole, found = self._whole_rows(0, rows, ids[:0])  # the file of ids is damaged
        self._rows.truncate(whole * size)
        if not np.array_equal(found, ids):
            _write_at(self._ids, 0, found.astype("<i8").view(np.uint8).data)
        self._ids.truncate(whole * ID_BYTES)
        self.count = whole
        self._last = int(found[-1]) if whole else -1
        runs = (0, *(start for start in self.manifest.runs if 0 < start < whole))
        if not _rising(found, runs):
            runs = (0, *(np.flatnonzero(np.diff(found) <= 0) + 1).tolist())
        saved = min(self.manifest.saved, whole)
        if (runs, saved) != (self.manifest.runs, self.manifest.saved):
            self._note(replace(self.manifest, runs=runs, saved=saved))

    def _whole_rows(self, first: int, rows: int, ids: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
        """How many rows are whole, taking the first ones for granted, and the ids of all of them."""
        found = [ids[:first]]
        for start in range(first, rows, self._portion):
            places = np.arange(start, min(start + self._portion, rows))
            read = read_rows(self._rows.fileno(), places, self._type)
            good = intact(read)
            stop = len(read) if good.all() else int(np.argmin(good))
            found.append(read["id"][:stop].astype(np.int64))
            if stop < len(read):
                return start + stop, np.concatenate(found)
        return max(first, rows), np.concatenate(found)

    def _read_ids(self, most: int) -> NDArray[np.int64]:
        self._ids.seek(0)
        raw = self._ids.read(most * ID_BYTES)
        return np.frombuffer(raw[: len(raw) - len(raw) % ID_BYTES], "<i8").astype(np.int64)

    def _note(self, manifest: TokenManifest) -> None:
        write_manifest(self._folder, manifest)
        self.manifest = manifest


def make_files(folder: Path, manifest: TokenManifest) -> None:
    """Make the files of an empty store.

    Raises:
        StorageError: They could not be made; what was there before still holds.
    """
    with _saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (manifest.rows_name, manifest.ids_name):
            (folder / name).write_bytes(b"")
    write_manifest(folder, manifest)
    remove_others(folder, manifest)


def remove_others(folder: Path, manifest: TokenManifest) -> None:
    """Remove the files of other generations, and what a crash left of new ones, unless the system refuses."""
    kept = (manifest.rows_name, manifest.ids_name)
    for pattern in ("rows-*.bin", "ids-*.bin", ".*.part"):
        for path in folder.glob(pattern):
            if path.name not in kept:
                with suppress(OSError):
                    path.unlink()


def _rising(ids: NDArray[np.int64], runs: tuple[int, ...]) -> bool:
    """Whether ids ascend within runs."""
    falls = np.flatnonzero(np.diff(ids) <= 0) + 1
    return bool(np.isin(falls, runs).all()) and not (len(ids) and ids.min() < 0)


def _write_at(file: IO[bytes], offset: int, data: memoryview) -> None:
    """Write all of it; a disk that is nearly full takes a part first."""
    file.seek(offset)
    while len(data):
        data = data[file.write(data) :]


@contextmanager
def _saving(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise failed(folder, error, hint=HINT) from error
