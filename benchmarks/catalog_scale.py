"""The catalog alone: writing batches, reading everything back, changing a tenth, and opening it in a fresh process.

Vectors are random (256 numbers), items have the facts that a photo has, batches have the size that `mmsearch index`
stores. The cold figures come from new processes on a warm page cache, with and without importing SQLAlchemy, which
reading does without.

    python benchmarks/catalog_scale.py
    python benchmarks/catalog_scale.py --items 50000 --dim 512
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from processes import run
from record import record, work_folder

from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, Move, Touch
from mmsearch.types import Filters, MediaInfo, Modality, NewItem, NewSegment

SEED = 20260801
SIZES = (10_000, 50_000, 500_000)
ENCODER = "benchmark"
BATCH = 256
FIRST_DAY = datetime(2015, 1, 1)

OPEN = """
import json, sys, time
from pathlib import Path
import numpy
start = time.perf_counter(), time.process_time()
from mmsearch.storage.catalog import Catalog
imported = time.perf_counter(), time.process_time()
with Catalog.open(Path(sys.argv[1]), read_only=True) as catalog:
    count = catalog.vector_source(sys.argv[2]).watermark().count
    assert len(catalog.segments(range(count // 2, count // 2 + 10))) == 10
read = time.perf_counter(), time.process_time()
import sqlalchemy
end = time.perf_counter(), time.process_time()
print(json.dumps({
    "import_catalog": [b - a for a, b in zip(start, imported)],
    "open_watermark_10_segments": [b - a for a, b in zip(imported, read)],
    "import_sqlalchemy_afterwards": [b - a for a, b in zip(read, end)],
}))
"""

READ = """
import sys
from pathlib import Path
from mmsearch.storage.catalog import Catalog
with Catalog.open(Path(sys.argv[1]), read_only=True) as catalog:
    for ids, vectors in catalog.vector_source(sys.argv[2]).read():
        pass
# What wait4 says of a child counts the memory of the process that forked it as well; this does not.
status = Path("/proc/self/status")
if status.exists():
    print(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))
"""


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = action()
    return round(time.perf_counter() - started, 4), result


def photo(root_id: int, number: int, vector: np.ndarray, content_hash: bytes) -> NewItem:
    taken_at = FIRST_DAY + timedelta(minutes=11 * number)
    return NewItem(
        modality=Modality.IMAGE,
        segments=(NewSegment(vector),),
        root_id=root_id,
        path=f"{taken_at:%Y/%m}/IMG_{number:07d}.jpg",
        size_bytes=2_000_000 + number,
        mtime_ns=int(taken_at.timestamp()) * 10**9,
        content_hash=content_hash,
        info=MediaInfo(width=4000, height=3000, taken_at=taken_at, camera="Canon EOS R6"),
    )


def fill(catalog: Catalog, root_id: int, items: int, dim: int) -> dict[str, Any]:
    rng = np.random.default_rng([SEED, items])
    seconds = []
    for start in range(0, items, BATCH):
        vectors = rng.standard_normal((min(BATCH, items - start), dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        batch = [photo(root_id, start + row, vector, rng.bytes(16)) for row, vector in enumerate(vectors)]
        spent, _ = timed(lambda batch=batch: catalog.write(ENCODER, items=batch))
        seconds.append(spent)
    return {
        "write_items_per_s": round(items / sum(seconds)),
        "write_batch_p50_ms": round(1e3 * float(np.percentile(seconds, 50)), 1),
        "write_batch_p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 1),
        "write_batch_max_ms": round(1e3 * max(seconds), 1),
    }


def read(catalog: Catalog, root_id: int, items: int) -> dict[str, Any]:
    source = catalog.vector_source(ENCODER)
    some = np.random.default_rng(SEED).integers(1, items, 5000)
    figures: dict[str, Any] = {}
    figures["known_files_s"], known = timed(lambda: catalog.known_files(root_id))
    figures["read_vectors_s"], count = timed(lambda: sum(len(ids) for ids, _ in source.read()))
    assert len(known) == count == items
    figures["fetch_5000_vectors_s"], _ = timed(lambda: source.fetch(some))
    figures["segments_100_s"], _ = timed(lambda: catalog.segments(some[:100].tolist()))
    figures["watermark_s"], _ = timed(source.watermark)
    figures["select_all_images_s"], _ = timed(
        lambda: catalog.select_segments(ENCODER, Filters(frozenset({Modality.IMAGE})))
    )
    figures["status_s"], _ = timed(catalog.status)
    return figures


def change(catalog: Catalog, root_id: int) -> dict[str, Any]:
    """A tenth of the items each: moved, touched, copied and removed, in batches; then everything removed."""
    known = list(catalog.known_files(root_id).items())
    tenth = len(known) // 10
    parts = [known[start : start + tenth] for start in range(0, 4 * tenth, tenth)]

    def each(part: list[Any], write: Callable[[list[Any]], Any]) -> float:
        seconds, _ = timed(lambda: [write(part[start : start + BATCH]) for start in range(0, len(part), BATCH)])
        return round(len(part) / seconds)

    figures: dict[str, Any] = {
        "moves_per_s": each(
            parts[0],
            lambda batch: catalog.write(
                ENCODER, moves=[Move(file.item_id, root_id, f"moved/{path}", file.mtime_ns) for path, file in batch]
            ),
        ),
        "touched_per_s": each(
            parts[1], lambda batch: catalog.write(ENCODER, touched=[Touch(file.item_id, 1, 1) for _, file in batch])
        ),
        "copies_per_s": each(
            parts[2],
            lambda batch: catalog.write(
                ENCODER, copies=[Copy(file.item_id, root_id, f"copied/{path}", 1, 1) for path, file in batch]
            ),
        ),
        "removed_per_s": each(
            parts[3], lambda batch: catalog.write(ENCODER, removed=[file.item_id for _, file in batch])
        ),
    }
    figures["remove_root_s"], count = timed(lambda: catalog.remove_root(root_id))
    assert count == len(known)
    return figures


def cold(library: Path, runs: int) -> dict[str, Any]:
    done = [json.loads(run([sys.executable, "-c", OPEN, library, ENCODER]).stdout) for _ in range(runs + 1)][1:]
    figures: dict[str, Any] = {"cold_runs": runs}
    for name in done[0]:
        wall, cpu = np.percentile([one[name] for one in done], 50, axis=0) * 1e3
        figures[f"cold_{name}_p50_ms"], figures[f"cold_{name}_cpu_p50_ms"] = round(wall, 2), round(cpu, 2)
    peak_kib = run([sys.executable, "-c", READ, library, ENCODER]).stdout.strip()
    figures["read_vectors_peak_mb"] = round(int(peak_kib) * 1024 / 1e6) if peak_kib else None
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=list(SIZES), help="sizes of the libraries")
    parser.add_argument("--dim", type=int, default=256, help="length of the vectors")
    parser.add_argument("--runs", type=int, default=20, help="fresh processes for each cold figure")
    parser.add_argument("--no-record", action="store_true", help="print the figures only")
    options = parser.parse_args()
    for items in options.items:
        folder = work_folder() / f"catalog-scale-{items}"
        shutil.rmtree(folder, ignore_errors=True)
        with Catalog.open(folder, create=True) as catalog:
            catalog.register_encoder(ENCODER, options.dim)
            root = catalog.add_root(folder / "photos")
            figures = {"items": items, "dim": options.dim, **fill(catalog, root.id, items, options.dim)}
            figures |= read(catalog, root.id, items)
            figures["catalog_mb"] = round(catalog.status().catalog_bytes / 1e6)
        figures |= cold(folder, options.runs)
        with Catalog.open(folder) as catalog:
            figures |= change(catalog, root.id)
        record("catalog_scale", figures, keep=not options.no_record)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
