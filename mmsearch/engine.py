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

import numpy as np

from mmsearch.config import DEFAULT_MODEL, find_library
from mmsearch.errors import EncoderMismatchError, LibraryNotFoundError, MediaError, QueryError, UsageError
from mmsearch.query.calibration import Calibration, Pair, calibration_for
from mmsearch.query.fusion import fuse
from mmsearch.query.language import Query, Term, parse
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Filters, Hit, IndexSummary, LibraryStatus, Modality, Progress, SegmentRecord, Stage
from mmsearch.vectors.store import VectorStore

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from indexer.sync import SyncOptions
    from mmsearch.protocols import Encoder, VectorSource

__all__ = ["SearchEngine"]

_VECTORS = "vectors"
# A composite query ranks the union of its terms' shortlists, each at least this deep.
_SHORTLIST = 500


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

        Raises:
            LibraryNotFoundError: There is no library and `create` is False.
            EncoderMismatchError: The library was made with another encoder than `model`.
            UnknownEncoderError: There is no encoder of that name.
        """
        from mmsearch.encoders import load_encoder

        folder = find_library(None if library is None else Path(library))
        there = (folder / "catalog.sqlite3").exists()
        # An encoder that does not exist must not leave an empty library behind.
        options: dict[str, Any] = {"offline": offline, "device": device, "precision": precision}
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

    # Searching

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
        wanted = _read(query)
        embeddings = self._embed(wanted.terms)  # (terms, dim)
        allowed = self._allowed(modalities)
        if len(wanted.terms) == 1:
            return self._search_one(wanted.terms[0], embeddings, k, allowed)
        return self._search_composite(wanted.terms, embeddings, k, allowed)

    def _search_one(
        self, term: Term, embedding: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None
    ) -> list[Hit]:
        calibration = self._calibration(term)
        records: list[tuple[float, SegmentRecord]] = []
        depth = k
        while True:
            ids, scores = self._store.search(self._source, embedding, depth, allowed=allowed)
            found = ids[0] >= 0
            records = self._records(ids[0][found], scores[0][found], k)
            # A removal that came after the index was read leaves a gap: look deeper, until all is seen.
            if len(records) >= k or int(np.count_nonzero(found)) < depth:
                break
            depth *= 2
        if not records:
            return []
        scores = np.array([score for score, _ in records], np.float32)
        odds = calibration.log_odds(scores, calibration.background(self._background(embedding)[0]))
        return _hits(records, 1.0 / (1.0 + np.exp(-odds)), "vector")

    def _search_composite(
        self,
        terms: tuple[Term, ...],
        embeddings: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None,
    ) -> list[Hit]:
        sought = np.array([term.weight > 0 for term in terms])
        depth = max(_SHORTLIST, 10 * k)
        ids, _ = self._store.search(self._source, embeddings[sought], depth, allowed=allowed)
        shortlist = np.unique(ids[ids >= 0])
        shortlist, vectors = self.catalog.vectors(self.encoder.id, shortlist)  # (n,), (n, dim)
        if shortlist.size == 0:
            return []
        scores = embeddings @ vectors.T  # (terms, n)
        background = self._background(embeddings)  # (terms, sample)
        log_odds = np.empty(scores.shape)
        for row, term in enumerate(terms):
            calibration = self._calibration(term)
            log_odds[row] = calibration.log_odds(scores[row], calibration.background(background[row]))
        fused, relevance = fuse(log_odds, [term.weight for term in terms])
        order = np.lexsort((shortlist, -fused))
        by_segment = dict(zip(shortlist.tolist(), relevance.tolist(), strict=True))
        records = self._records(shortlist[order], fused[order], k)
        return _hits(records, np.array([by_segment[record.segment.id] for _, record in records]), "fused")

    def _records(self, ids: NDArray[np.int64], scores: NDArray[Any], k: int) -> list[tuple[float, SegmentRecord]]:
        """The k best items among the segments, each with its best segment."""
        records = self.catalog.segments(ids.tolist())
        best: dict[int, tuple[float, SegmentRecord]] = {}
        for segment_id, score in zip(ids.tolist(), scores.tolist(), strict=True):
            record = records.get(segment_id)
            if record is not None and record.item.id not in best:
                best[record.item.id] = (score, record)
                if len(best) == k:
                    break
        return list(best.values())

    def _background(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (terms, sample) of each term against a sample of the library."""
        _, vectors = self._store.sample(self._source)
        return embeddings @ vectors.T

    def _calibration(self, term: Term) -> Calibration:
        pair: Pair = "text-image" if isinstance(term.content, str) else "image-image"
        return calibration_for(self.encoder.id, pair)

    def _allowed(self, modalities: Iterable[Modality | str] | None) -> NDArray[np.int64] | None:
        if modalities is None:
            return None
        names = {str(name) for name in modalities}
        kinds = {str(kind) for kind in Modality}
        if unknown := sorted(names - kinds):
            raise UsageError(f"There is no type {unknown[0]!r}.", hint=f"Types: {', '.join(sorted(kinds))}.")
        return self.catalog.select_segments(
            self.encoder.id, Filters(modalities=frozenset(Modality(name) for name in names))
        )

    def _embed(self, terms: Sequence[Term]) -> NDArray[np.float32]:
        """Embeddings (terms, dim) of the terms; a picture that the library holds is not embedded again."""
        embeddings = np.empty((len(terms), self.encoder.dim), np.float32)
        texts = [row for row, term in enumerate(terms) if isinstance(term.content, str)]
        if texts:
            embeddings[texts] = self.encoder.encode_texts([str(terms[row].content) for row in texts])
        for row, term in enumerate(terms):
            if not isinstance(term.content, str):
                embeddings[row] = self._embed_picture(term.content)
        return embeddings

    def _embed_picture(self, content: Path | bytes | Image.Image) -> NDArray[np.float32]:
        if isinstance(content, Path) and (known := self._stored(content)) is not None:
            return known
        if isinstance(content, Path | bytes):
            from mmsearch.media.image import read_image

            try:
                picture = read_image(content, target_side=self.encoder.image_size).image
            except MediaError as error:
                raise QueryError(f"Cannot search by {_named(content)}: {error.reason}.") from error
        else:
            picture = content.convert("RGB")
        return self.encoder.encode_images([self.encoder.prepare_image(picture)])[0]

    def _stored(self, path: Path) -> NDArray[np.float32] | None:
        """The embedding of a picture that lies in the library unchanged, else None."""
        item = self.catalog.item_at(path)
        if item is None:
            return None
        try:
            stat = path.stat()
        except OSError:
            return None
        if (stat.st_size, stat.st_mtime_ns) != (item.size_bytes, item.mtime_ns):
            return None
        segments = self.catalog.segments_of(item.id)
        _, vectors = self.catalog.vectors(self.encoder.id, [segment.id for segment in segments])
        return vectors[0] if len(vectors) == 1 else None

    # Indexing

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

        with WriterLock(self.library, "mmsearch index"):
            self.catalog.register_encoder(self.encoder.id, self.encoder.dim)
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


def _named(content: Path | bytes) -> str:
    return str(content) if isinstance(content, Path) else "the picture from standard input"


def _hits(records: Sequence[tuple[float, SegmentRecord]], relevance: NDArray[np.float64], stage: Stage) -> list[Hit]:
    return [
        Hit(
            rank=rank,
            score=float(score),
            relevance=float(chance),
            stage=stage,
            item_id=record.item.id,
            segment_id=record.segment.id,
            modality=record.item.modality,
            path=record.item.path,
            start_ms=record.segment.start_ms,
            end_ms=record.segment.end_ms,
            text=record.segment.text,
        )
        for rank, ((score, record), chance) in enumerate(zip(records, relevance, strict=True), start=1)
    ]
