"""What changes an open library: files that are indexed, things that are added and removed, indexes made anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.engine.given import key_of
from mmsearch.engine.opened import OpenLibrary
from mmsearch.errors import UsageError
from mmsearch.files import written
from mmsearch.rerank import own_file
from mmsearch.types import (
    IndexSummary,
    Modality,
    Progress,
    TokenSummary,
)

if TYPE_CHECKING:
    from indexer.sync import SyncOptions
    from mmsearch.item_data import AddSummary, ItemData
    from mmsearch.protocols import Encoder

__all__ = ["Changing"]


class Changing(OpenLibrary):
    """Brings things into a library and out of it, one process at a time."""

    def add(
        self,
        items: Iterable[ItemData | Mapping[str, Any]],
        *,
        batch_size: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> AddSummary:
        """Add things without files, as they come in; one whose key is there replaces that.

        A batch is one transaction: whatever ends the process, the batches before it are stored. An item that is there
        already, equal in all, costs next to nothing and changes nothing. One that is bad is told of and passed over.

        Args:
            items: Any number, from a list or a generator; never more than a batch of them is held. A mapping has the
                fields of `ItemData`.
            batch_size: Images for each batch; the model's own when None. A text counts as a sixteenth of an image, a
                ready-made vector as a 64th.
            progress: Called from this thread as the work goes on.

        Raises:
            LibraryLockedError: Another process is writing to the library.
            EncoderError: The encoder failed; everything before that is saved.
            StorageError: The disk is full or read-only; everything before that is saved.
        """
        from indexer.additions import add_items
        from mmsearch.storage.lock import WriterLock

        with WriterLock(self.library, "SearchEngine.add"):
            self._keep_reranker()
            return add_items(
                items,
                self.catalog,
                self.encoders,
                self._stores,
                rerankers=self._rerankers,
                tokens=self._tokens,
                batch_size=batch_size,
                progress=progress,
            )

    def remove(self, keys: Iterable[str | os.PathLike[str]]) -> int:
        """Remove items by their keys, or by the paths of their files; unknown ones are passed over.

        A file that still lies in an indexed folder comes back when that is indexed again.

        Returns:
            How many items were removed.

        Raises:
            LibraryLockedError: Another process is writing to the library.
            StorageError: The disk is full or read-only.
        """
        from indexer.additions import remove_items
        from mmsearch.storage.lock import WriterLock

        if isinstance(keys, str):
            raise UsageError("The keys are one key; put it into a list.")
        with WriterLock(self.library, "SearchEngine.remove"):
            return remove_items([key_of(key) for key in keys], self.catalog, self.encoders, self._stores)

    def index(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        options: SyncOptions | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> IndexSummary:
        """Bring the library up to date with files and folders.

        Args:
            paths: Files or folders; what vanished below a folder is removed from the library.
            options: Ignore globs, batch size and so on.
            progress: Called from this thread as the work goes on.

        Raises:
            LibraryLockedError: Another process is writing to the library.
            EncoderError: The encoder failed; everything before that is saved.
            StorageError: The disk is full or read-only; everything before that is saved.
        """
        from indexer.sync import SyncOptions, sync
        from mmsearch.storage.lock import WriterLock

        options = options or SyncOptions()
        with WriterLock(self.library, "mmsearch index"):
            if not self.catalog.encoders():
                # A model whose weights do not load must not claim the library for itself.
                for encoder in self.encoders:
                    _try(encoder)
            self._keep_reranker()
            return sync(
                [Path(path) for path in paths],
                self.catalog,
                self.encoders,
                self._stores,
                rerankers=self._rerankers if options.tokens else {},
                tokens=self._tokens,
                options=options,
                progress=progress,
            )

    def _keep_reranker(self) -> None:
        """Keep a reranker that was given as a file in the library, so that it is there wherever the library goes."""
        for id_, reranker in self._named.items():
            if reranker.tokens is not None:
                target, given = own_file(self.library, id_), Path(os.fspath(self._reranker or ""))
                if not (target.exists() and target.samefile(given)):
                    with written(target) as stream:
                        stream.write(given.read_bytes())

    def rebuild(self, *, kind: str = "auto") -> tuple[dict[str, Any], ...]:
        """Make the vector indexes anew from the catalog.

        Args:
            kind: ``auto``, ``flat``, ``ivf``, ``hnsw`` or ``pq``.

        Returns:
            The new indexes as `status` shows them.
        """
        from mmsearch.storage.lock import WriterLock

        with WriterLock(self.library, "mmsearch rebuild"):
            for encoder, modality in self._collections():
                source = self.catalog.vector_source(encoder.id, modality)
                self._stores(encoder, modality).fold(source, kind=kind, force=True)
        return self._index_status()

    def rebuild_tokens(
        self,
        *,
        threads: int | None = None,
        batch_size: int | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> TokenSummary:
        """Make what rerankers keep of pictures anew, from those files that are there and as they were when indexed.

        Args:
            threads: Threads that read and decode; one for each processor when None.
            batch_size: Pictures that go through a model at once; its own when None.
            progress: Called from this thread as the work goes on.

        Raises:
            UsageError: No model of the library has a reranker that keeps tokens.
            LibraryLockedError: Another process is writing to the library.
            EncoderError: The encoder or the reranker failed; everything before that is saved.
            StorageError: The disk is full or read-only; everything before that is saved.
        """
        from indexer.filling import rebuild_tokens
        from mmsearch.storage.lock import WriterLock

        with WriterLock(self.library, "mmsearch rebuild"):
            return rebuild_tokens(
                self.catalog,
                self.encoders,
                self._rerankers,
                self._tokens,
                threads=threads,
                batch_size=batch_size,
                progress=progress,
            )


def _try(encoder: Encoder) -> None:
    """Embed something, to see that the weights are there."""
    import numpy as np
    from PIL import Image

    if Modality.IMAGE in encoder.modalities:
        side = encoder.image_size
        encoder.encode_images([encoder.prepare_image(Image.new("RGB", (side, side)))])
    elif encoder.sound is not None:
        silence = np.zeros(encoder.sound.rate * encoder.sound.window_ms // 1000, np.float32)
        encoder.encode_sounds([encoder.prepare_sound(silence)])
