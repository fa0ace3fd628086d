"""Wall time and peak memory of fresh processes: ``mmsearch --help``, and ``mmsearch query`` over large libraries.

The libraries hold synthetic items: vectors in clusters, stored through `Catalog.write` and folded by `VectorStore.fold`
as `mmsearch index` does it. Every run is a new process on a warm page cache; the first run of each kind is left out.

    python benchmarks/cold_start.py
    python benchmarks/cold_start.py --items 10000 --runs 20
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from processes import Run, mmsearch_command, run
from record import REPOSITORY, record, work_folder

from mmsearch.encoders import load_encoder
from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, MediaInfo, Modality, NewItem, NewSegment
from mmsearch.vectors.store import VectorStore

SEED = 20260801
VERSION = 1
SIZES = (10_000, 500_000)
BATCH = 5_000
PER_CLUSTER = 500
SPREAD = 0.6
TEXT = "a dog on the beach"
CAMERAS = ("Canon EOS R6", "NIKON Z 6", "Pixel 8", None)
FIRST_DAY = datetime(2015, 1, 1)


def library(model: str, items: int) -> Path:
    """The library with so many items, made now if it is not there yet."""
    encoder = load_encoder(model)
    folder = work_folder() / f"library-{encoder.id.replace('/', '-')}-{items}"
    stamp_file = folder / "benchmark.json"
    stamp = json.dumps({"version": VERSION, "seed": SEED, "encoder": encoder.id, "dim": encoder.dim, "items": items})
    if stamp_file.exists() and stamp_file.read_text(encoding="utf-8") == stamp:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    with Catalog.open(folder, create=True) as catalog:
        catalog.register_encoders([EncoderRecord(encoder.id, encoder.dim)])
        root = catalog.add_root(folder / "photos")
        number = 0
        for vectors in _clusters(items, encoder.dim):
            catalog.write(items=[_item(root.id, number + at, encoder.id, row) for at, row in enumerate(vectors)])
            number += len(vectors)
            print(f"{folder.name}: {number:,} of {items:,}", file=sys.stderr)
        source = catalog.vector_source(encoder.id, Modality.IMAGE)
        manifest = VectorStore(folder / "vectors", source.encoder_id, source.dim).fold(source)
    print(f"{folder.name}: {manifest.kind}, made in {time.perf_counter() - started:.0f} s", file=sys.stderr)
    stamp_file.write_text(stamp, encoding="utf-8")
    return folder


def _clusters(items: int, dim: int) -> Iterator[np.ndarray]:
    """Batches (n, dim) of L2-normalised float32 vectors around random centres."""
    rng = np.random.default_rng([SEED, items])
    centres = rng.standard_normal((max(1, items // PER_CLUSTER), dim), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    for start in range(0, items, BATCH):
        count = min(BATCH, items - start)
        noise = rng.standard_normal((count, dim), dtype=np.float32) * (SPREAD / dim**0.5)
        vectors = centres[rng.integers(len(centres), size=count)] + noise
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _item(root_id: int, number: int, encoder_id: str, vector: np.ndarray) -> NewItem:
    """An item with the facts that a photo has."""
    taken_at = FIRST_DAY + timedelta(minutes=11 * number)
    return NewItem(
        modality=Modality.IMAGE,
        segments=(NewSegment(Modality.IMAGE, {encoder_id: vector}),),
        root_id=root_id,
        path=f"{taken_at:%Y/%m}/IMG_{number:06d}.jpg",
        size_bytes=2_000_000 + number,
        mtime_ns=int(taken_at.timestamp()) * 10**9,
        content_hash=number.to_bytes(16, "little"),
        info=MediaInfo(width=4000, height=3000, taken_at=taken_at, camera=CAMERAS[number % len(CAMERAS)]),
    )


def measure(arguments: list[str], runs: int) -> dict[str, object]:
    """Figures of some runs of one command, after a first one that does not count."""
    command = [mmsearch_command(), *arguments]
    run(command)
    done = [run(command) for _ in range(runs)]
    wall_s = np.array([one.wall_s for one in done])
    cpu_s = np.array([one.cpu_s for one in done])
    return {
        "runs": runs,
        "wall_min_s": round(float(wall_s.min()), 4),
        "wall_p50_s": round(float(np.percentile(wall_s, 50)), 4),
        "wall_p90_s": round(float(np.percentile(wall_s, 90)), 4),
        "wall_max_s": round(float(wall_s.max()), 4),
        "cpu_p50_s": round(float(np.percentile(cpu_s, 50)), 4),
        "peak_max_mb": round(max(one.peak_bytes for one in done) / 1e6, 1),
        "hits": _hits(done[-1]),
    }


def _hits(one: Run) -> int | None:
    """How many JSON lines a query printed."""
    lines = one.stdout.splitlines()
    return len(lines) if lines and lines[0].startswith("{") else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=list(SIZES), help="sizes of the libraries")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--picture", type=Path, help="a picture to search by; the first sample when left out")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    picture = arguments.picture or sorted((REPOSITORY / "data" / "samples").glob("*.jpg"))[0]

    def note(what: str, items: int | None, command: list[str]) -> None:
        figures = measure(command, arguments.runs)
        record(
            "cold_start", {"what": what, "items": items, "model": arguments.model, **figures}, keep=not arguments.dry
        )

    note("help", None, ["--help"])
    for items in arguments.items:
        folder = str(library(arguments.model, items))
        note("query by words", items, ["query", TEXT, "--library", folder, "--json", "--all"])
        note("query by picture", items, ["query", str(picture), "--library", folder, "--json", "--all"])


if __name__ == "__main__":
    main()
