"""SearchEngine opens a library and composes the parts; each part does its own work.

with SearchEngine.open(Path("photos/.mmsearch")) as engine:
    hits = engine.search("a dog on the beach", k=10)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mmsearch.config import DEFAULT_MODEL, find_library
from mmsearch.errors import EncoderMismatchError, LibraryNotFoundError, QueryError, UsageError
from mmsearch.query.language import Query, Term, parse
from mmsearch.retrieval import Retriever
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Hit, IndexSummary, LibraryStatus, Modality, Progress
from mmsearch.vectors.store import VectorStore

if TYPE_CHECKING:
    from PIL import Image

    from indexer.sync import SyncOptions
    from mmsearch.protocols import Encoder, VectorSource

__all__ = ["SearchEngine"]

_VECTORS = "vectors"


class SearchEngine:
    """One library, opened: search it, add to it, ask how it is.

    Opening reads the catalog's header only. Towers and index files load when they are first used.
    """

    def __init__(self, catalog: Catalog, encoder: Encoder) -> None:
        """Compose an engine from an open catalog and the encoder that it belongs to."""
        self.catalog = catalog
        self.encoder = encoder
        self._resources = ExitStack()
        self._resources.callback(catalog.close)

    @classmethod
    def open(
        cls,
        library: str | os.PathLike[str] | None = None,
        *,
        model: str | None = None,
        create: bool = False,
        read_only: bool = True,
        offline: bool = False,
        device: str | None = None,
        precision: str | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Self:
        """Open a library.

        Args:
            library: Its folder; None chooses as the command line does (see `mmsearch.config.find_library`).
            model: The encoder, needed only when the library is new; the library remembers its own.
            create: Make the library where there is none.
            read_only: Open it for searching alone. An engine that indexes needs False.
            offline: Never fetch a model.
            device: Where the encoder runs, such as ``cuda``; chosen by the machine when None.
            precision: ``fp32``, ``fp16`` or ``bf16``; chosen by the machine when None.
            notify: Called with a sentence before something that takes long, such as fetching a model.

        Raises:
            LibraryNotFoundError: There is no library and `create` is False.
            EncoderMismatchError: The library was made with another encoder than `model`.
            UnknownEncoderError: There is no encoder of that name.
        """
        from mmsearch.encoders import load_encoder

        folder = find_library(None if library is None else Path(library))
        there = (folder / "catalog.sqlite3").exists()
        # An encoder that does not exist must not leave an empty library behind.
        options: dict[str, Any] = {
            "offline": offline,
            "device": device,
            "precision": precision,
            "notify": notify,
        }
        wanted = load_encoder(model or DEFAULT_MODEL, **options) if model is not None or not there else None
        if not there and not create:
            raise LibraryNotFoundError(f"There is no library at {folder}.", hint="To make one: mmsearch index ./photos")
        catalog = Catalog.open(folder, create=create, read_only=read_only)
        try:
            known = catalog.encoders()
            if wanted is not None and known and all(record.id != wanted.id for record in known):
                raise EncoderMismatchError(
                    f"The library {folder} was made with the model {known[0].id}, not with {wanted.id}.",
                    hint=f"Leave --model out to use {known[0].id}, or choose another --library.",
                )
            if wanted is None:
                wanted = load_encoder(known[0].id if known else DEFAULT_MODEL, **options)
        except BaseException:
            catalog.close()
            raise
        return cls(catalog, wanted)

    def close(self) -> None:
        """Close the catalog; the engine cannot be used afterwards."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def library(self) -> Path:
        """The library's folder."""
        return self.catalog.path

    @cached_property
    def _store(self) -> VectorStore:
        return VectorStore(self.library / _VECTORS, self.encoder.id, self.encoder.dim)

    @property
    def _source(self) -> VectorSource:
        return self.catalog.vector_source(self.encoder.id)

    @cached_property
    def _retriever(self) -> Retriever:
        return Retriever(self.catalog, self.encoder, self._store)

    def search(
        self,
        query: str | Sequence[str] | Query | Image.Image,
        k: int = 10,
        *,
        modalities: Iterable[Modality | str] | None = None,
        rerank: bool | None = None,
    ) -> list[Hit]:
        """Find the items that match best.

        Args:
            query: Words, a picture, the tokens of a composite query such as ``["dog", "-", "leash"]``, or a `Query`.
            k: How many hits, at least 1.
            modalities: Only items of these kinds; all when None.
            rerank: Re-read the best hits with a cross-encoder; None does so where the library has one.

        Returns:
            At most k hits, best first, one for each item.

        Raises:
            UsageError: k is below 1, a modality does not exist, or reranking was asked for where there is no reranker.
            QueryError: The query cannot be read.
            EncoderError: The encoder failed.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, not {k}.")
        if rerank:
            raise UsageError(f"There is no reranker for the model {self.encoder.id}.", hint="Leave --rerank out.")
        return self._retriever.search(_read(query), k, modalities)

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
        from PIL import Image

        from indexer.sync import SyncOptions, sync
        from mmsearch.storage.lock import WriterLock

        with WriterLock(self.library, "mmsearch index"):
            if not self.catalog.encoders():
                # A model whose weights do not load must not claim the library for itself.
                side = self.encoder.image_size
                self.encoder.encode_images([self.encoder.prepare_image(Image.new("RGB", (side, side)))])
            return sync(
                [Path(path) for path in paths],
                self.catalog,
                self.encoder,
                self._store,
                options=options or SyncOptions(),
                progress=progress,
            )

    def rebuild(self, *, kind: str = "auto", progress: Callable[[Progress], None] | None = None) -> dict[str, Any]:
        """Make the vector index anew from the catalog.

        Args:
            kind: ``auto``, ``flat``, ``ivf``, ``hnsw`` or ``pq``.
            progress: Called as the vectors are read.

        Returns:
            The new index as `status` shows it.
        """
        from mmsearch.storage.lock import WriterLock

        with WriterLock(self.library, "mmsearch rebuild"):
            self._store.fold(self._source, kind=kind, force=True)
        return self._index_status()

    def status(self) -> LibraryStatus:
        """What the library holds."""
        return dataclasses.replace(self.catalog.status(), indexes=(self._index_status(),))

    def _index_status(self) -> dict[str, Any]:
        manifest = self._store.manifest
        return {
            "encoder": self.encoder.id,
            "kind": None if manifest is None else manifest.kind,
            "vectors": 0 if manifest is None else manifest.watermark.count,
            "pending": self._store.pending(self._source),
            "size_bytes": self._store.size_bytes(),
        }


def _read(query: str | Sequence[str] | Query | Image.Image) -> Query:
    if isinstance(query, Query):
        return query
    if isinstance(query, str) or (isinstance(query, Sequence) and all(isinstance(term, str) for term in query)):
        return parse(query)
    from PIL import Image

    if isinstance(query, Image.Image):
        return Query((Term(query),))
    raise QueryError(f"A query is words, a picture or a list of terms, not {type(query).__name__}.")
