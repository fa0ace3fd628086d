"""A small library of each version of the schema, kept as a real file, and what must be found in it after an upgrade.

`python -m tests.storage.old_libraries` writes the file of the current version, once, before that version is released.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, FailedFile
from mmsearch.storage.migrations import current_version
from mmsearch.types import MediaInfo, Modality
from tests.storage.making import ENCODER, RECORD, image_source, new_item

FOLDER = Path(__file__).parent / "libraries"
ROOT = Path("/photos")
INFO = MediaInfo(4000, 3000, datetime(2024, 5, 17, 12, 30, 1), "Canon EOS 5D", -33.5, 151.25, 1234)


def fill(catalog: Catalog) -> None:
    catalog.register_encoders([RECORD])
    root = catalog.add_root(ROOT)
    items = [
        new_item(root.id, "a.jpg", 1, info=INFO, metadata={"tags": ["x"]}),
        new_item(
            root.id, "caf\udce9.mp4", 2, segments=3, modality=Modality.VIDEO, embedded_as=Modality.IMAGE, mtime_ns=77
        ),
        new_item(root.id, "gone.jpg", 3),
        new_item(None, None, 4, key="product-7"),
    ]
    catalog.write(items=items, failures=[FailedFile(root.id, "bad.jpg", 5, 6, "truncated JPEG")])
    catalog.write(removed=[3], copies=[Copy(1, root.id, "b.jpg", 1, 9)])


def contents(catalog: Catalog) -> object:
    """Everything that can be asked of a library, for comparison with one that was filled just now."""
    source = image_source(catalog)
    records = catalog.segments(range(1, 100))
    return (
        catalog.encoders(),
        catalog.roots(),
        catalog.known_files(1),
        catalog.failures(),
        records,
        catalog.items(range(1, 100)),
        source.watermark(),
        source.removed_since(0).tolist(),
        catalog.vectors(ENCODER, records)[1].tolist(),
    )


def main() -> None:
    target = FOLDER / f"version-{current_version()}.sqlite3"
    if target.exists():
        raise SystemExit(f"{target} is there already: a released version never changes")
    with tempfile.TemporaryDirectory() as folder:
        with Catalog.open(Path(folder), create=True) as catalog:
            fill(catalog)
        FOLDER.mkdir(exist_ok=True)
        shutil.copy(Path(folder) / "catalog.sqlite3", target)


if __name__ == "__main__":
    main()
