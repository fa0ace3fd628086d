"""What a reranker keeps of pictures: ids of segments and their tokens in, the tokens of a shortlist out.

Each collection has a folder of its own: a manifest, the rows, and their ids. It is a cache: what is missing, damaged,
or of another catalog or reranker reads as if it were not there, and can be made anew from the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.rerank.token_manifest import PAUSED, TokenManifest, read_manifest
from mmsearch.rerank.token_reading import TokenReader
from mmsearch.types import Collection, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder
    from mmsearch.rerank.token_writing import TokenWriter
    from mmsearch.types import TokenFormat

__all__ = ["TokenManifest", "TokenStore", "TokenStores"]

# Each run is searched by itself, so with more of them the rows are brought into order.
_MAX_RUNS = 8
_COPIED = 256


class TokenStore(TokenReader):
    """The tokens of one collection's pictures.

    Reading never waits for a writer and sees whole rows only. Whoever writes holds the library's writer lock, and calls
    `begin` before anything else.

    Args:
        folder: Where the tokens of all collections lie; this one gets a folder of its own below it.
        collection: Name of the collection.
        catalog: Which catalog the segments are of; rows of another one are not believed.
    """

    def __init__(self, folder: Path, collection: str, catalog: str = "") -> None:
        super().__init__(folder, collection, catalog)
        self._writer: TokenWriter | None = None

    def begin(self, reranker_id: str, format: TokenFormat, *, since: int = 0) -> bool:
        """Make it ready for appending: what a crash left is mended, and tokens of another reranker are dropped.

        Args:
            reranker_id: For which reranker the tokens are.
            format: Of the tokens.
            since: The highest segment id that there is. Where the store is begun anew, or was paused, segments up to
                there are not missed by whoever looks for gaps.

        Returns:
            Whether what was there is kept.

        Raises:
            StorageError: The files cannot be made or mended.
        """
        from mmsearch.rerank.token_writing import TokenWriter, make_files

        self.close()
        held = read_manifest(self.folder, self._collection, self._catalog)
        if held is not None and (held.reranker, held.format) == (reranker_id, format):
            with suppress(FileNotFoundError):
                self._writer = TokenWriter(self.folder, held)
                self._seen = None
                if held.since == PAUSED:
                    self._writer.miss_after(since)
                return True
            since = min(since, held.since)  # the rows are gone, and missed
        manifest = TokenManifest(
            self._collection,
            self._catalog,
            reranker_id,
            format.count,
            format.dim,
            generation=1 + max(map(_generation, self.folder.glob("*.bin")), default=0),
            since=since,
        )
        make_files(self.folder, manifest)
        self._writer = TokenWriter(self.folder, manifest)
        self._seen = None
        return False

    @property
    def begun(self) -> bool:
        """Whether `begin` was called."""
        return self._writer is not None

    def append(self, ids: NDArray[np.int64], tokens: NDArray[np.int8]) -> None:
        """Add rows and hand them to the operating system: they survive the end of this process, however it ends.

        Ids above all that are there are the common case. Others begin a new run, which is noted in the manifest before
        it is written, and takes the place of rows with the same ids.

        Args:
            ids: (n,) ascending.
            tokens: (n, count, dim).

        Raises:
            StorageError: The disk is full, read-only or failing; what was there is still there.
            ValueError: The ids do not ascend, or the tokens are of another format.
        """
        writer = self._writing()
        ids = np.asarray(ids, np.int64)
        if tokens.dtype != np.int8 or tokens.shape != (len(ids), writer.manifest.count, writer.manifest.dim):
            raise ValueError(f"tokens of {tokens.shape} {tokens.dtype} are not those of the store")
        if len(ids) and (ids[0] < 0 or (np.diff(ids) <= 0).any()):
            raise ValueError("ids do not ascend")
        if len(ids):
            writer.append(ids, tokens)

    def copy(self, pairs: Mapping[int, int]) -> None:
        """Give segments the tokens of others.

        Args:
            pairs: Segment ids -> ids of those whose tokens they share; without tokens there is nothing to share.

        Raises:
            StorageError: As `append`.
        """
        new = sorted(pairs)
        for start in range(0, len(new), _COPIED):
            part = np.array(new[start : start + _COPIED], np.int64)
            found, tokens = self.read([pairs[id_] for id_ in part.tolist()])
            if found.any():
                self.append(part[found], tokens[found])

    def save(self) -> None:
        """Bring all rows to the disk, so that they survive a power cut as well.

        Raises:
            StorageError: The disk refuses.
        """
        self._writing().save()

    def pause(self) -> None:
        """Say that what is indexed until the store is begun again goes without tokens, and is not missed.

        Raises:
            StorageError: It cannot be noted.
        """
        self._writing().miss_after(PAUSED)

    def demand_all(self) -> None:
        """Say that every segment without tokens is missed.

        Raises:
            StorageError: It cannot be noted.
        """
        self._writing().miss_after(0)

    def compact(self, living: NDArray[np.int64], *, force: bool = False) -> bool:
        """Write the rows anew without those of segments that are gone, when they are more than a quarter of all.

        The rows are brought into ascending order; so it is done as well when filled gaps have left too many runs. Until
        the new files are complete, the old ones hold.

        Args:
            living: Ids of the segments that there are.
            force: Do it in any case.

        Returns:
            Whether it was done.

        Raises:
            StorageError: There is no room for the new files; the old ones still hold.
        """
        from mmsearch.rerank.token_writing import TokenWriter

        writer = self._writing()
        ids, places = writer.order()
        alive = np.isin(ids, living)
        dead = writer.count - int(np.count_nonzero(alive))
        if not force and dead * 4 <= writer.count and len(writer.manifest.runs) <= _MAX_RUNS:
            return False
        manifest = writer.rewrite(ids[alive], places[alive])
        self._writer = TokenWriter(self.folder, manifest)
        self._seen = None
        return True

    def close(self) -> None:
        """Close what was opened for writing."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _writing(self) -> TokenWriter:
        if self._writer is None:
            raise ValueError("the store was not begun")
        return self._writer


class TokenStores:
    """Opens the tokens of a collection once, and keeps them open.

    Args:
        folder: Where the tokens of all collections lie.
        catalog: Which catalog the segments are of.
    """

    def __init__(self, folder: Path, catalog: str = "") -> None:
        self._folder = folder
        self._catalog = catalog
        self._stores: dict[str, TokenStore] = {}

    def __call__(self, encoder: Encoder, modality: Modality) -> TokenStore:
        """The tokens of the segments of a modality that an encoder embedded."""
        name = Collection(encoder.id, modality).name
        if name not in self._stores:
            self._stores[name] = TokenStore(self._folder, name, self._catalog)
        return self._stores[name]

    def close(self) -> None:
        """Close what was opened for writing."""
        for store in self._stores.values():
            store.close()


def _generation(path: Path) -> int:
    number = path.stem.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
