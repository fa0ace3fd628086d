"""SearchEngine opens a library and composes the parts; each part does its own work.

with SearchEngine.open(Path("photos/.mmsearch")) as engine:
    hits = engine.search("a dog on the beach", k=10)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from mmsearch.config import DEFAULT_MODEL, find_library
from mmsearch.errors import EncoderMismatchError, LibraryNotFoundError, QueryError, UsageError
from mmsearch.files import written
from mmsearch.filters import Filters
from mmsearch.query.language import Query, Term, parse, parse_filters
from mmsearch.rerank import load_reranker, own_file
from mmsearch.rerank.token_store import TokenStores
from mmsearch.retrieval import SHORTLIST, Retriever
from mmsearch.storage.catalog import Catalog
from mmsearch.types import (
    DuplicateGroup,
    Explanation,
    Hit,
    IndexSummary,
    LibraryStatus,
    Modality,
    Progress,
    TokenSummary,
)
from mmsearch.vectors.stores import VectorStores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from indexer.sync import SyncOptions
    from mmsearch.item_data import AddSummary, ItemData
    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.query.trace import Trace
    from mmsearch.retrieval.batch import BatchRetriever
    from mmsearch.retrieval.many_hits import ManyHits
    from mmsearch.retrieval.shaping import Duplicates, GroupBy

__all__ = ["SearchEngine"]

_VECTORS = "vectors"
_TOKENS = "tokens"


class SearchEngine:
    """One library, opened: search it, add to it, ask how it is.

    Opening reads the catalog's header only. Towers and index files load when they are first used.
    """

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
        return Retriever(self.catalog, self.encoders, self._stores, self._tokens)

    def search(
        self,
        query: str | Sequence[str] | Query | Image.Image,
        k: int = 10,
        *,
        filters: Filters | str | None = None,
        modalities: Iterable[Modality | str] | None = None,
        rerank: bool | None = None,
        shortlist: int = SHORTLIST,
        words: bool = True,
        min_relevance: float | None = None,
        offset: int = 0,
        diverse: float | None = None,
        group_by: GroupBy | None = None,
        duplicates: Duplicates = "fold",
        trace: Trace | None = None,
    ) -> list[Hit]:
        """Find the items that match best.

        Args:
            query: Words, a picture, the tokens of a composite query such as ``["dog", "-", "leash"]``, or a `Query`. A
                token may be the path of a picture, sound, video or text, or a filter: docs/query-language.md.
            k: How many hits, at least 1.
            filters: What every hit has to pass, beside the filters that the query holds; also as in a query:
                ``"type:image after:2023"``.
            modalities: Only items of these kinds, or found by such a part: ``text`` finds the captions of photos, and
                ``audio`` the sound of videos, too. All when None.
            rerank: Put the best hits in a better order by reading words and pictures together; None does so where the
                library has a reranker and tokens for it.
            shortlist: How many segments of each modality are read again.
            words: Find items by words in their names, folders, notes and texts as well as by meaning.
            min_relevance: Leave out what is less likely to match, 0 to 1. None cuts off where hits are no longer worth
                showing, which may leave none; 0 shows all.
            offset: How many hits to pass over; pages that follow each other are one list.
            diverse: How much to push down what is like better hits, 0 to 1; None leaves the order.
            group_by: Put hits of one ``day``, ``month`` or ``folder`` beside each other.
            duplicates: ``fold`` puts near-duplicates under the best of them, ``show`` leaves each as a hit.
            trace: Is told what was done, what each step left and how long it took.

        Returns:
            At most k hits, best first, one for each item, with its other good segments folded under the best.

        Raises:
            UsageError: A number is out of range, or reranking was asked for where there is no reranker, or are no
                tokens for it.
            QueryError: The query cannot be read, or a modality does not exist.
            EncoderError: The encoder failed.
        """
        if k < 1:
            raise UsageError(f"k must be at least 1, not {k}.")
        if shortlist < 1:
            raise UsageError(f"The shortlist must hold at least 1, not {shortlist}.")
        rerankers = {} if rerank is False else self._rerankers
        if rerank:
            self._check_reranking()
        return self._retriever.search(
            _limited(_read(query), filters, modalities),
            k,
            rerankers=rerankers,
            shortlist=shortlist,
            words=words,
            min_relevance=min_relevance,
            offset=offset,
            diverse=diverse,
            group_by=group_by,
            duplicates=duplicates,
            trace=trace,
        )

    def duplicates(
        self,
        query: str | Sequence[str] | Query | Image.Image | None = None,
        *,
        filters: Filters | str | None = None,
    ) -> tuple[DuplicateGroup, ...]:
        """Group what the library holds more than once: photos that look the same, and files of the same content.

        Args:
            query: Only among the best thousand hits of it, or all items where it has filters alone; the whole library
                when None.
            filters: Only among items that pass; also as in `search`.

        Returns:
            Groups of two or more items, the best first in each; those first whose others take the most bytes.

        Raises:
            QueryError: The query cannot be read.
            EncoderError: The encoder failed.
        """
        from mmsearch.retrieval.duplicates import AMONG_HITS, find_duplicates

        found: Iterable[int] | None = None
        limits = _filters(filters)
        if query is not None or limits:
            asked = Query(filters=limits) if query is None else _limited(_read(query), limits, None)
            if asked.terms:
                found = [hit.item_id for hit in self._retriever.search(asked, AMONG_HITS, duplicates="show")]
            else:
                found = self.catalog.select_items(asked.filters, self.catalog.item_count())
        return find_duplicates(self.catalog, self.encoders, item_ids=found)

    def _check_reranking(self) -> None:
        """See that something can be read again."""
        if not self._rerankers:
            names = " and ".join(encoder.id for encoder in self.encoders)
            raise UsageError(
                f"There is no reranker for the model {names}.", hint="Train one: mmsearch train reranker --help"
            )
        for encoder in self.encoders:
            reranker = self._rerankers.get(encoder.id)
            if reranker is None:
                continue
            pictures = [
                self._tokens(encoder, record.modality).manifest
                for record in self.catalog.collections()
                if record.encoder_id == encoder.id and record.modality in (Modality.IMAGE, Modality.VIDEO)
            ]
            made = any(found is not None and found.reranker == reranker.id for found in pictures)
            if reranker.tokens is None or made or not pictures:
                return
        hint = "Make them: mmsearch rebuild --tokens"
        if self._reranker is not None:
            hint = (
                f"Give it to the library with mmsearch index PATH --reranker {os.fspath(self._reranker)}, then make"
                " them: mmsearch rebuild --tokens"
            )
        raise UsageError(f"The library {self.library} has no tokens for the reranker.", hint=hint)

    def explain(self, query: str | Sequence[str] | Query, picture: str | os.PathLike[str] | Image.Image) -> Explanation:
        """Tell where each word of a query looks in a picture, and what reading both together changed.

        The picture need not be in the library; the others there are what its similarity is judged by, as in `search`.

        Args:
            query: Words.
            picture: The file of a picture, or one in memory.

        Raises:
            UsageError: There is no reranker, or its words do not look at places.
            QueryError: The query is more than words or has none, or the picture cannot be read.
            EncoderError: The encoder or the reranker failed.
        """
        from mmsearch.rerank.explaining import explain, sentence_of

        sentence = sentence_of(_read(query))
        rerankers = self._named or self._rerankers
        encoder = next((encoder for encoder in self.encoders if encoder.id in rerankers), self.encoders[0])
        sample = None
        if any(record.id == encoder.id for record in self.catalog.encoders()):  # something was indexed
            source = self.catalog.vector_source(encoder.id, Modality.IMAGE)
            _, sample = self._stores(encoder, Modality.IMAGE).sample(source)
        return explain(sentence, picture, encoder, rerankers.get(encoder.id), sample)

    def similar(
        self,
        key: str | os.PathLike[str],
        k: int = 10,
        *,
        filters: Filters | str | None = None,
        model: str | None = None,
    ) -> list[Hit]:
        """Find the items that are most like one of the library, without itself.

        Args:
            key: Of an item, or the path of a file that was indexed.
            k: How many hits, at least 1.
            filters: What every hit has to pass, as in `search`.
            model: The encoder to compare with, in a library of several; the first when None.

        Raises:
            UsageError: The library has no such item, or k is below 1.
        """
        _check_k(k)
        limited = Filters() if filters is None else _filters(filters)
        return self.arrays(model).similar(_key(key), k, limited)

    def search_many(
        self,
        queries: Sequence[str] | Sequence[Image.Image] | NDArray[np.floating],
        k: int = 10,
        *,
        modality: Modality | str | None = None,
        filters: Filters | str | None = None,
        model: str | None = None,
    ) -> ManyHits:
        """Find the items nearest to each of many queries, as arrays: thousands of queries a second.

        What each query finds is what it would find alone. Items are ranked by the cosine of their best segment; nothing
        is calibrated, read again or cut off as `search` does.

        Args:
            queries: m texts, m Pillow images, or vectors (m, dim) of any real type and length.
            k: How many items for each.
            modality: Search segments of this kind alone. Scores of different kinds do not compare well: in a library
                that holds several, name one.
            filters: What every hit has to pass, as in `search`.
            model: The encoder to search with, in a library of several; the first when None.

        Raises:
            UsageError: k is below 1, or there is no such model or modality.
            QueryError: The queries are of another shape, not finite, or nothing that the model takes.
        """
        _check_k(k)
        limited = Filters() if filters is None else _filters(filters)
        kind = None if modality is None else next(iter(Filters.of(modalities=[modality]).modalities or ()))
        return self.arrays(model).search(queries, k, modality=kind, filters=limited)

    def vectors(
        self,
        keys: Sequence[str | os.PathLike[str]],
        *,
        missing: Literal["raise", "nan"] = "raise",
        model: str | None = None,
    ) -> NDArray[np.float32]:
        """The vectors of items as one array.

        Args:
            keys: Of n items, or paths of files that were indexed.
            missing: What becomes of a key that the library does not have.
            model: The encoder, in a library of several; the first when None.

        Returns:
            (n, dim) float32, rows L2-normalised: of an item with several segments the direction of their mean.

        Raises:
            UsageError: An item is not there, or there is no such model.
        """
        return self.arrays(model).vectors(
            keys if isinstance(keys, str) else [_key(key) for key in keys], missing=missing
        )

    def embed(
        self,
        *,
        texts: Sequence[str] | None = None,
        images: Sequence[Any] | None = None,
        sounds: Sequence[Any] | None = None,
        model: str | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts, images or sounds as queries, without storing anything.

        Args:
            texts: n texts; what is longer than the model reads is cut.
            images: n images, each as `ItemData.image` may be.
            sounds: n sounds, each as `ItemData.audio` may be; eight windows of each at most.
            model: The encoder, in a library of several; the first when None.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            UsageError: Not just one of the three was given, or there is no such model.
            QueryError: One cannot be read, or the model does not take any.
        """
        return self.arrays(model).embed(texts=texts, images=images, sounds=sounds)

    def arrays(self, model: str | None = None) -> BatchRetriever:
        """What works on arrays of one model of the library; the methods above and `mmsearch.recommend` build on it.

        Raises:
            UsageError: The library was made without that model.
        """
        from mmsearch.retrieval.batch import BatchRetriever

        found = [encoder for encoder in self.encoders if model in (None, encoder.id)]
        if not found:
            names = " and ".join(encoder.id for encoder in self.encoders)
            raise UsageError(f"The library was made with {names}, not with {model}.")
        return BatchRetriever(self.catalog, found[0], self._stores)

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
            return remove_items([_key(key) for key in keys], self.catalog, self.encoders, self._stores)

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

    def status(self) -> LibraryStatus:
        """What the library holds."""
        return dataclasses.replace(
            self.catalog.status(), indexes=self._index_status(), tokens=tuple(self._token_status())
        )

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


def _check_k(k: int) -> None:
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}.")


def _key(key: str | os.PathLike[str]) -> str:
    """A key, or the absolute path of a file."""
    return key if isinstance(key, str) else os.path.abspath(key)


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


def _filters(filters: Filters | str | None) -> Filters:
    if filters is None:
        return Filters()
    return parse_filters(filters) if isinstance(filters, str) else filters


def _limited(query: Query, filters: Filters | str | None, modalities: Iterable[Modality | str] | None) -> Query:
    """The query with further filters."""
    limited = query.filters
    if filters is not None:
        limited = limited.merged(_filters(filters))
    if modalities is not None:
        limited = limited.merged(Filters.of(modalities=modalities))
    return query if limited == query.filters else dataclasses.replace(query, filters=limited)


def _read(query: str | Sequence[str] | Query | Image.Image) -> Query:
    if isinstance(query, Query):
        return query
    if isinstance(query, str) or (isinstance(query, Sequence) and all(isinstance(term, str) for term in query)):
        return parse(query)
    from PIL import Image

    if isinstance(query, Image.Image):
        return Query((Term(query),))
    raise QueryError(f"A query is words, a picture or a list of terms, not {type(query).__name__}.")
