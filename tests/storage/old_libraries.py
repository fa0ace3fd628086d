"""A small library of each version of the schema, kept as a real file, and what must be found in it after an upgrade.

`python -m tests.storage.old_libraries` writes the file of the current version, once, before that version is released.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from mmsearch.filters import Filters
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, FailedFile
from mmsearch.storage.migrations import current_version
from mmsearch.types import MediaInfo, Modality, NewItem
from tests.storage.making import OTHER_RECORD, RECORD, content_hash, mixed_segment, new_item

FOLDER = Path(__file__).parent / "libraries"
ROOT = Path("/photos")
INFO = MediaInfo(4000, 3000, datetime(2024, 5, 17, 12, 30, 1), "Canon EOS 5D", -33.5, 151.25, 1234)


def fill(catalog: Catalog, version: int) -> None:
    """Store one of everything that the schema of a version can hold."""
    if version == 1:
        catalog.register_encoders([RECORD])
        _fill_first(catalog)
    else:
        catalog.register_encoders([RECORD, OTHER_RECORD])
        _fill_first(catalog)
        _fill_second(catalog)


def _fill_first(catalog: Catalog) -> None:
    root = catalog.add_root(ROOT)
    film = {"segments": 3, "modality": Modality.VIDEO, "embedded_as": Modality.IMAGE, "mtime_ns": 77}
    items = [
        new_item(root.id, "a.jpg", 1, info=INFO, metadata={"tags": ["x"]}),
        new_item(root.id, "caf\udce9.mp4", 2, **film),
        new_item(root.id, "gone.jpg", 3),
        new_item(None, None, 4, key="product-7"),
    ]
    catalog.write(items=items, failures=[FailedFile(root.id, "bad.jpg", 5, 6, "truncated JPEG")])
    catalog.write(removed=[3], copies=[Copy(1, root.id, "b.jpg", 1, 9)])


def _fill_second(catalog: Catalog) -> None:
    """Collections, texts, sidecars, and an item that has not all its segments yet."""
    (root,) = catalog.roots()
    segments = tuple(mixed_segment(5, ordinal) for ordinal in range(5))
    growing = NewItem(Modality.TEXT, segments[1:3], root.id, "grows.txt", None, 8, 9, content_hash(6), complete=False)
    film = NewItem(Modality.VIDEO, segments, root.id, "film.mp4", None, 5, 6, content_hash(5), sidecars=11)
    catalog.write(items=[film, growing], failures=[FailedFile(root.id, "bad.pdf", 1, 2, "damaged", 12)])


def contents(catalog: Catalog) -> object:
    """Everything that can be asked of a library, for comparison with one that was filled just now."""
    records = catalog.segments(range(1, 100))
    every = [(encoder.id, modality) for encoder in catalog.encoders() for modality in Modality]
    return (
        catalog.encoders(),
        catalog.collections(),
        catalog.roots(),
        catalog.known_files(1),
        catalog.failures(),
        records,
        catalog.items(range(1, 100)),
        [catalog.vector_source(*collection).watermark() for collection in every],
        [catalog.select_segments(*collection, Filters(frozenset({Modality.VIDEO}))).tolist() for collection in every],
        catalog.vector_source(*every[0]).removed_since(0).tolist(),
        [catalog.vectors(encoder.id, records)[1].tolist() for encoder in catalog.encoders()],
        [catalog.items_with_hash(content_hash(content)) for content in range(10)],
        [column.tolist() for column in catalog.match_text("née word1", 10)],
    )


def main() -> None:
    target = FOLDER / f"version-{current_version()}.sqlite3"
    if target.exists():
        raise SystemExit(f"{target} is there already: a released version never changes")
    with tempfile.TemporaryDirectory() as folder:
        with Catalog.open(Path(folder), create=True) as catalog:
            fill(catalog, current_version())
        FOLDER.mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "catalog.sqlite3", target)


if __name__ == "__main__":
    main()
