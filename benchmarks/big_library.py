"""A library of a million made-up photographs whose facts differ in every way that a filter can ask for.

Vectors are those of `vector_data.World` under the id of the built-in encoder, so that a `SearchEngine` opens the
library, also with words as queries (which then mean nothing). Photo n has segment id n and the vector n of the world.
No file exists. Facts are drawn from one seed: times over twenty years to the second, folders by year, month and place,
cameras as uneven as they are (Zipf's law), sizes, pixels, and for six of ten a position near one of 400 towns.

    python benchmarks/big_library.py
    python benchmarks/big_library.py --count 100000 --folder /tmp/photos
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import work_folder
from vector_data import World

from mmsearch.storage.catalog import Catalog
from mmsearch.storage.lock import WriterLock
from mmsearch.types import EncoderRecord, MediaInfo, Modality, NewItem, NewSegment
from mmsearch.vectors.store import VectorStore

__all__ = ["ENCODER", "SEED", "big_library", "world"]

SEED = 20260801
ENCODER, DIM = "mini", 256
BATCH = 4096
FIRST_DAY, DAYS = datetime(2005, 1, 1), 7300
MAKES = (
    "Canon EOS",
    "NIKON D",
    "SONY ILCE-",
    "Apple iPhone",
    "Google Pixel",
    "FUJIFILM X-T",
    "Panasonic DC-G",
    "DJI FC",
)
SIZES = ((640, 480), (1024, 768), (1920, 1080), (3000, 2000), (4000, 3000), (4032, 3024), (5472, 3648), (6000, 4000))
PLACES = ("berlin", "garden", "beach", "wedding", "mountains", "family", "school", "lisbon", "work", "concert", "trip")


def world() -> World:
    """Where the vectors come from; its `pictures` and `captions` of other seeds are queries."""
    return World(DIM, SEED)


def big_library(count: int, folder: Path | None = None) -> Path:
    """The folder of the library, made where it is not there yet; a run that was stopped is gone on with."""
    folder = folder or work_folder() / f"big-library-{count}"
    with Catalog.open(folder, create=True) as catalog, WriterLock(folder, "big_library.py"):
        if not catalog.encoders():
            catalog.register_encoders([EncoderRecord(ENCODER, DIM)])
        source = catalog.vector_source(ENCODER, Modality.IMAGE)
        done = source.watermark().count
        if done < count:
            data = work_folder() / "vectors"
            data.mkdir(exist_ok=True)
            halves = world().saved(count, data)
            root = catalog.add_root(folder.parent / "photos")
            for start in range(done, count, BATCH):
                vectors = halves[start : min(start + BATCH, count)].astype(np.float32)
                catalog.write(items=list(photos(root.id, start, vectors)))
        VectorStore(folder / "vectors", ENCODER, DIM).fold(source)
    return folder


def photos(root_id: int, start: int, vectors: NDArray[np.float32]) -> Iterator[NewItem]:
    """The photos from number `start` on; `start` is a multiple of `BATCH`."""
    random, count = np.random.default_rng([SEED, start]), len(vectors)
    seconds = random.integers(0, DAYS * 86400, count)
    cameras = np.minimum(random.zipf(1.3, count), 200) - 1
    shapes = random.integers(0, len(SIZES), count)
    upright, known, camera_known = random.random((3, count)) < np.array([[0.3], [0.6], [0.85]])
    size_bytes = np.exp(random.normal(14.5, 0.8, count)).astype(np.int64)
    towns = np.minimum(random.zipf(1.2, count), 400) - 1
    # Towns lie where the golden angle puts them, between 60 degrees south and north.
    latitude = 60 - 120 * ((towns * 0.618034) % 1) + random.normal(0, 0.03, count)
    longitude = 360 * ((towns * 0.381966 + 0.3) % 1) - 180 + random.normal(0, 0.03, count)
    for row in range(count):
        taken_at = FIRST_DAY + timedelta(seconds=int(seconds[row]))
        width, height = SIZES[shapes[row]][::-1] if upright[row] else SIZES[shapes[row]]
        camera = int(cameras[row])
        yield NewItem(
            modality=Modality.IMAGE,
            segments=(NewSegment(Modality.IMAGE, {ENCODER: vectors[row]}),),
            root_id=root_id,
            path=f"{taken_at:%Y/%m}-{PLACES[int(towns[row]) % len(PLACES)]}/IMG_{start + row + 1:07d}.jpg",
            size_bytes=int(size_bytes[row]),
            mtime_ns=int((taken_at - datetime(1970, 1, 1)).total_seconds()) * 10**9,
            content_hash=(start + row + 1).to_bytes(16, "big"),
            info=MediaInfo(
                width=width,
                height=height,
                taken_at=taken_at,
                camera=f"{MAKES[camera % len(MAKES)]}{10 + camera}" if camera_known[row] else None,
                latitude=round(float(latitude[row]), 5) if known[row] else None,
                longitude=round(float(np.clip(longitude[row], -180, 180)), 5) if known[row] else None,
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="of the library; default: in the folder of benchmarks")
    options = parser.parse_args()
    started = time.perf_counter()
    folder = big_library(options.count, options.folder)
    print(f"{folder}: {options.count} photos, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
