"""A library under test: real files, a real catalog and vector store, and an encoder that counts its work."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.sync import SyncOptions, sync
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.filters import Filters
from mmsearch.rerank.token_store import TokenStore, TokenStores
from mmsearch.storage.catalog import Catalog
from mmsearch.types import IndexSummary, Modality, Progress, Segment
from mmsearch.vectors.stores import VectorStores
from tests.indexer.projecting import ProjectingReranker
from tests.media.pictures import encoded

_clock = itertools.count(1_600_000_000_000_000_000, 1_000_000_000)


class CountingEncoder(HashingEncoder):
    """Counts what is prepared and embedded, and remembers the sizes of the batches of pictures."""

    batch_size = 8

    def __init__(self, dim: int = 32) -> None:
        super().__init__(dim)
        self.prepared = 0
        self.batches: list[int] = []
        self.before_batch: Callable[[int], None] = lambda number: None
        self.texts = self.sounds = 0
        self.before_texts: Callable[[int], None] = lambda texts: None
        self._lock = threading.Lock()

    def prepare_image(self, image: Image.Image) -> NDArray[Any]:
        with self._lock:
            self.prepared += 1
        return super().prepare_image(image)

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.before_batch(len(self.batches))
        self.batches.append(len(images))
        return super().encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before_texts(self.texts)
        self.texts += len(texts)
        return super().encode_texts(texts)

    def encode_sounds(self, sounds: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.sounds += len(sounds)
        return super().encode_sounds(sounds)


class Shelf:
    """A library in a folder, opened anew for each run as each command does."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.encoder = CountingEncoder()
        self.reranker: ProjectingReranker | None = None

    def sync(self, *paths: Path, progress: Callable[[Progress], None] | None = None, **options: Any) -> IndexSummary:
        """Index some paths."""
        stores = VectorStores(self.library / "vectors")
        with Catalog.open(self.library, create=True) as catalog:
            summary = sync(
                paths,
                catalog,
                [self.encoder],
                stores,
                rerankers={} if self.reranker is None else {self.encoder.id: self.reranker},
                tokens=TokenStores(self.library / "tokens", catalog.library_id),
                options=SyncOptions(**options),
                progress=progress,
            )
            for modality in Modality if catalog.encoders() else ():
                assert stores(self.encoder, modality).pending(catalog.vector_source(self.encoder.id, modality)) == 0
            return summary

    def vectors(self) -> dict[Path, bytes]:
        """The embedding of every indexed file."""
        with Catalog.open(self.library) as catalog:
            ids = catalog.select_segments(self.encoder.id, Modality.IMAGE, Filters())
            found, vectors = catalog.vectors(self.encoder.id, ids)
            records = catalog.segments(found.tolist())
            paths = [records[int(id_)].item.path for id_ in found]
            assert len(set(paths)) == len(paths)
            return {path: vector.tobytes() for path, vector in zip(paths, vectors, strict=True) if path is not None}

    def token_store(self, modality: Modality = Modality.IMAGE) -> TokenStore:
        """The tokens of photos, or of frames, as a process that searches opens them."""
        with Catalog.open(self.library) as catalog:
            return TokenStores(self.library / "tokens", catalog.library_id)(self.encoder, modality)

    def tokens(self) -> dict[Path, list[bytes | None]]:
        """The tokens of each photo, and those of the frames of each video; None for those that have none."""
        found: dict[Path, list[bytes | None]] = {}
        with Catalog.open(self.library) as catalog:
            for modality in (Modality.IMAGE, Modality.VIDEO):
                ids = catalog.select_segments(self.encoder.id, modality, Filters())
                records = catalog.segments(ids.tolist())
                there, tokens = self.token_store(modality).read(ids)
                for id_, has, rows in zip(ids.tolist(), there, tokens, strict=True):
                    path = records[id_].item.path
                    assert path is not None
                    found.setdefault(path, []).append(rows.tobytes() if has else None)
        return found

    def names(self, root: Path) -> set[str]:
        """The paths of the indexed files below a folder."""
        return {path.relative_to(root).as_posix() for path in self.vectors() if path.is_relative_to(root)}

    def segments(self, path: Path) -> list[Segment]:
        """What is stored of a file, every segment with its embedding; empty where the file is no item."""
        with Catalog.open(self.library) as catalog:
            item = catalog.item_at(path)
            segments = [] if item is None else catalog.segments_of(item.id)
            ids, vectors = catalog.vectors(self.encoder.id, [segment.id for segment in segments])
            assert ids.tolist() == [segment.id for segment in segments]
            assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
            return segments

    def texts(self, path: Path) -> list[str | None]:
        """The texts that are stored of a file."""
        return [segment.text for segment in self.segments(path) if segment.modality is Modality.TEXT]

    def items(self) -> dict[str, Modality]:
        """All files that are items, by name, with their kinds."""
        with Catalog.open(self.library) as catalog:
            known = [file for root in catalog.roots() for file in catalog.known_files(root.id).values()]
            found = catalog.items(file.item_id for file in known if file.item_id is not None).values()
            return {item.path.name: item.modality for item in found if item.path is not None}

    def said(self, words: str) -> list[str]:
        """The texts that full-text search finds."""
        with Catalog.open(self.library) as catalog:
            ids, _ = catalog.match_text(words, 100)
            records = catalog.segments(ids.tolist())
            assert len(records) == len(ids)
            return sorted(record.segment.text or "" for record in records.values())

    def failures(self) -> dict[Path, str]:
        """The files that are remembered as unreadable."""
        with Catalog.open(self.library) as catalog:
            return {failure.path: failure.reason for failure in catalog.failures()}

    def roots(self) -> list[Path]:
        """The folders that the library remembers."""
        with Catalog.open(self.library) as catalog:
            return [root.path for root in catalog.roots()]


def picture(number: int, kind: str = "PNG") -> bytes:
    """The content of one of any number of different small pictures."""
    pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


def put(path: Path, content: int | bytes | str) -> Path:
    """Write a file with a time of its own, as if seconds had passed since the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = picture(content) if isinstance(content, int) else content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    touch(path)
    return path


def touch(path: Path) -> None:
    """Give a file another time."""
    moment = next(_clock)
    os.utime(path, ns=(moment, moment))


def counts(summary: IndexSummary) -> dict[str, int]:
    """The numbers of a summary that are not zero."""
    names = ("new", "changed", "moved", "copied", "removed", "unchanged", "kept", "embedded")
    found = {name: getattr(summary, name) for name in names} | {"skipped": len(summary.skipped)}
    return {name: count for name, count in found.items() if count}


def reasons(summary: IndexSummary) -> dict[str, str]:
    """Why files were passed over, by name."""
    found = {failure.path.name: failure.reason for failure in summary.skipped}
    assert len(found) == len(summary.skipped), "each file is listed once"
    return found
