"""A library that is open: its catalog and encoders, and the parts that are made of them when they are first used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mmsearch.config import DEFAULT_MODEL, find_library
from mmsearch.errors import EncoderMismatchError, LibraryNotFoundError, UsageError
from mmsearch.filters import Filters
from mmsearch.rerank import load_reranker
from mmsearch.rerank.token_store import TokenStores
from mmsearch.retrieval import Retriever
from mmsearch.retrieval.filtering import LibraryFacts
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality
from mmsearch.vectors.stores import VectorStores

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker

__all__ = ["OpenLibrary"]

_VECTORS = "vectors"
_TOKENS = "tokens"


class OpenLibrary:
    """A library, its encoders, and what was made of them."""

    def __init__(
        self, catalog: Catalog, encoders: Sequence[Encoder], reranker: str | os.PathLike[str] | None = None
    ) -> None:
        """Compose an engine from an open catalog, encoders that it belongs to, and a reranker, see `open`."""
        self.catalog = catalog
        self.encoders = tuple(encoders)
        self._reranker = reranker
        self._resources = ExitStack()
        self._resources.callback(catalog.close)

    @classmethod
    def open(
        cls,
        library: str | os.PathLike[str] | None = None,
        *,
        model: str | Sequence[str] | None = None,
        create: bool = False,
        read_only: bool = True,
        offline: bool = False,
        device: str | None = None,
        precision: str | None = None,
        reranker: str | os.PathLike[str] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Self:
        """Open a library.

        Args:
            library: Its folder; None chooses as the command line does (see `mmsearch.config.find_library`).
            model: The encoder, or several, needed only when the library is new; the library remembers its own. With
                several, each embeds what it can, and a search asks all that can take the query. In a library of
                several one of them may be named to search with it alone.
            create: Make the library where there is none.
            read_only: Open it for searching alone. An engine that indexes needs False.
            offline: Never fetch a model.
            device: Where the encoder runs, such as ``cuda``; chosen by the machine when None.
            precision: ``fp32``, ``fp16`` or ``bf16``; chosen by the machine when None.
            reranker: The file of a reranker, or ``coca/...`` or ``blip/...``; None takes the one that the library was
                given when it was indexed, else the built-in one for ``mini``.
            notify: Called with a sentence before something that takes long, such as fetching a model.

        Raises:
            LibraryNotFoundError: There is no library and `create` is False.
            EncoderMismatchError: The library was made with other encoders than `model`.
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
        names = [model] if isinstance(model, str) else list(model or ())
        if not names and not there:
            names = [DEFAULT_MODEL]
        wanted = {encoder.id: encoder for encoder in (load_encoder(name, **options) for name in names)}
        if not there and not create:
            raise LibraryNotFoundError(f"There is no library at {folder}.", hint="To make one: mmsearch index ./photos")
        catalog = Catalog.open(folder, create=create, read_only=read_only)
        try:
            known = [record.id for record in catalog.encoders()]
            if known and not wanted.keys() <= set(known):
                raise EncoderMismatchError(
                    f"The library {folder} was made with the model {' and '.join(known)}, not with"
                    f" {' and '.join(wanted)}.",
                    hint=f"Leave --model out to use {' and '.join(known)}, or choose another --library.",
                )
            if not wanted:
                wanted = {id_: load_encoder(id_, **options) for id_ in known or [DEFAULT_MODEL]}
        except BaseException:
            catalog.close()
            raise
        return cls(catalog, list(wanted.values()), reranker)

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
    def _stores(self) -> VectorStores:
        return VectorStores(self.library / _VECTORS)

    @cached_property
    def _facts(self) -> LibraryFacts:
        return LibraryFacts(self.catalog)

    @cached_property
    def _tokens(self) -> TokenStores:
        return TokenStores(self.library / _TOKENS, self.catalog.library_id)

    @cached_property
    def _rerankers(self) -> dict[str, Reranker]:
        found = {
            encoder.id: self._named.get(encoder.id) or load_reranker(None, encoder, library=self.library)
            for encoder in self._seeing
        }
        return {id_: reranker for id_, reranker in found.items() if reranker is not None}

    @cached_property
    def _named(self) -> dict[str, Reranker]:
        """The reranker that was asked for, by the encoders whose shortlists it reads."""
        found: dict[str, Reranker] = {}
        refusal: UsageError | None = None
        for encoder in self._seeing if self._reranker is not None else ():
            try:
                reranker = load_reranker(self._reranker, encoder)
            except UsageError as error:  # it may be for another encoder of the library
                refusal = error
                continue
            if reranker is not None:
                found[encoder.id] = reranker
        if refusal is not None and not found:
            raise refusal
        return found

    @property
    def _seeing(self) -> list[Encoder]:
        return [encoder for encoder in self.encoders if Modality.IMAGE in encoder.modalities]

    @cached_property
    def _retriever(self) -> Retriever:
        return Retriever(self.catalog, self.encoders, self._stores, self._facts, self._tokens)

    def _collections(self) -> list[tuple[Encoder, Modality]]:
        """Those that hold vectors, or else that of images, as a library has one from the beginning."""
        encoders = {encoder.id: encoder for encoder in self.encoders}
        found = [
            (encoders[record.encoder_id], record.modality)
            for record in self.catalog.collections()
            if record.encoder_id in encoders
        ]
        return found or [(self.encoders[0], Modality.IMAGE)]

    def _index_status(self) -> tuple[dict[str, Any], ...]:
        found: list[dict[str, Any]] = []
        for encoder, modality in self._collections():
            store = self._stores(encoder, modality)
            manifest = store.manifest
            found.append(
                {
                    "encoder": encoder.id,
                    "modality": modality.value,
                    "kind": None if manifest is None else manifest.kind,
                    "vectors": 0 if manifest is None else manifest.watermark.count,
                    "pending": store.pending(self.catalog.vector_source(encoder.id, modality)),
                    "size_bytes": store.size_bytes(),
                }
            )
        return tuple(found)

    def _token_status(self) -> Iterator[dict[str, Any]]:
        """The tokens of each collection of pictures that has some, or could have."""
        for encoder, modality in self._collections():
            if modality in (Modality.IMAGE, Modality.VIDEO):
                store, reranker = self._tokens(encoder, modality), self._rerankers.get(encoder.id)
                manifest = store.manifest
                if manifest is None and (reranker is None or reranker.tokens is None):
                    continue
                living = self.catalog.select_segments(encoder.id, modality, Filters())
                current = manifest is not None and (reranker is None or reranker.id == manifest.reranker)
                yield {
                    "encoder": encoder.id,
                    "modality": modality.value,
                    "reranker": None if manifest is None else manifest.reranker,
                    "rows": len(store),
                    "size_bytes": store.size_bytes(),
                    "lacking": len(living) - (store.count_among(living) if current else 0),
                }
