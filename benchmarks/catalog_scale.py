"""The catalog alone: writing batches, reading everything back, changing a tenth, and opening it in a fresh process.

Vectors are random (256 numbers), items have the facts that a photo has, batches have the size that `mmsearch index`
stores. The cold figures come from new processes on a warm page cache, with and without importing SQLAlchemy, which
reading does without. Passages are of some 400 characters, in made-up words that are as frequent as words are (Zipf's
law), 32 to a text; they are stored with vectors and full text, then searched for rare and for frequent words.

    python benchmarks/catalog_scale.py
    python benchmarks/catalog_scale.py --items 50000 --dim 512 --passages
    python benchmarks/catalog_scale.py --items --passages 100000
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

from mmsearch.filters import Filters
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, Move, Touch
from mmsearch.types import EncoderRecord, MediaInfo, Modality, NewItem, NewSegment

SEED = 20260801
SIZES = (10_000, 50_000, 500_000)
ENCODER = "benchmark"
BATCH = 256
FIRST_DAY = datetime(2015, 1, 1)
PASSAGES = (100_000,)
PASSAGE_BATCH = 512
PER_TEXT = 32
WORDS_OF_PASSAGE = 70
VOCABULARY = 60_000
# Ranks of words that are searched for, the most frequent word being 0.
QUERIES = {"rare": [2000], "medium": [200, 3000], "sentence": [0, 1, 2, 3, 200, 3000], "frequent": [0, 1, 2]}

OPEN = """
import json, sys, time
from pathlib import Path
import numpy
start = time.perf_counter(), time.process_time()
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality
imported = time.perf_counter(), time.process_time()
with Catalog.open(Path(sys.argv[1]), read_only=True) as catalog:
    count = catalog.vector_source(sys.argv[2], Modality.IMAGE).watermark().count
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
from mmsearch.types import Modality
with Catalog.open(Path(sys.argv[1]), read_only=True) as catalog:
    for ids, vectors in catalog.vector_source(sys.argv[2], Modality.IMAGE).read():
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
        segments=(NewSegment(Modality.IMAGE, {ENCODER: vector}),),
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
        spent, _ = timed(lambda batch=batch: catalog.write(items=batch))
        seconds.append(spent)
    return {
        "write_items_per_s": round(items / sum(seconds)),
        "write_batch_p50_ms": round(1e3 * float(np.percentile(seconds, 50)), 1),
        "write_batch_p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 1),
        "write_batch_max_ms": round(1e3 * max(seconds), 1),
    }


def read(catalog: Catalog, root_id: int, items: int) -> dict[str, Any]:
    source = catalog.vector_source(ENCODER, Modality.IMAGE)
    some = np.random.default_rng(SEED).integers(1, items, 5000)
    figures: dict[str, Any] = {}
    figures["known_files_s"], known = timed(lambda: catalog.known_files(root_id))
    figures["read_vectors_s"], count = timed(lambda: sum(len(ids) for ids, _ in source.read()))
    assert len(known) == count == items
    figures["fetch_5000_vectors_s"], _ = timed(lambda: source.fetch(some))
    figures["segments_100_s"], _ = timed(lambda: catalog.segments(some[:100].tolist()))
    figures["watermark_s"], _ = timed(source.watermark)
    figures["select_all_images_s"], _ = timed(
        lambda: catalog.select_segments(ENCODER, Modality.IMAGE, Filters(frozenset({Modality.IMAGE})))
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
                moves=[Move(file.item_id, root_id, f"moved/{path}", file.mtime_ns) for path, file in batch]
            ),
        ),
        "touched_per_s": each(
            parts[1], lambda batch: catalog.write(touched=[Touch(file.item_id, 1, 1) for _, file in batch])
        ),
        "copies_per_s": each(
            parts[2],
            lambda batch: catalog.write(
                copies=[Copy(file.item_id, root_id, f"copied/{path}", 1, 1) for path, file in batch]
            ),
        ),
        "removed_per_s": each(parts[3], lambda batch: catalog.write(removed=[file.item_id for _, file in batch])),
    }
    figures["remove_root_s"], count = timed(lambda: catalog.remove_root(root_id))
    assert count == len(known)
    return figures


def vocabulary() -> tuple[np.ndarray, np.ndarray]:
    """Made-up words, and how often each or a more frequent one is said."""
    rng = np.random.default_rng(SEED)
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    words = np.array(["".join(rng.choice(syllables, rng.integers(1, 5))) for _ in range(VOCABULARY)])
    shares = 1 / (np.arange(VOCABULARY) + 2.7)
    return words, np.cumsum(shares / shares.sum())


def fill_passages(catalog: Catalog, root_id: int, passages: int, dim: int) -> dict[str, Any]:
    rng = np.random.default_rng([SEED, passages])
    words, cumulated = vocabulary()
    seconds, characters = [], 0
    for start in range(0, passages, PASSAGE_BATCH):
        count = min(PASSAGE_BATCH, passages - start)
        vectors = rng.standard_normal((count, dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        said = np.searchsorted(cumulated, rng.random((count, WORDS_OF_PASSAGE))).clip(max=VOCABULARY - 1)
        texts = [" ".join(line) for line in words[said].tolist()]
        characters += sum(map(len, texts))
        segments = [
            NewSegment(Modality.TEXT, {ENCODER: vector}, start_char=0, end_char=len(text), text=text)
            for text, vector in zip(texts, vectors, strict=True)
        ]
        batch = [
            NewItem(Modality.TEXT, tuple(segments[at : at + PER_TEXT]), root_id, f"{start + at}.txt")
            for at in range(0, count, PER_TEXT)
        ]
        spent, _ = timed(lambda batch=batch: catalog.write(items=batch))
        seconds.append(spent)
    return {
        "characters": round(characters / passages),
        "write_passages_per_s": round(passages / sum(seconds)),
        "write_batch_p50_ms": round(1e3 * float(np.percentile(seconds, 50)), 1),
        "write_batch_p99_ms": round(1e3 * float(np.percentile(seconds, 99)), 1),
    }


def search_passages(catalog: Catalog, runs: int) -> dict[str, Any]:
    words, _ = vocabulary()
    figures: dict[str, Any] = {}
    for name, ranks in QUERIES.items():
        query = " ".join(words[ranks])
        seconds = [timed(lambda query=query: catalog.match_text(query, 100))[0] for _ in range(runs)]
        figures[f"match_{name}_p50_ms"] = round(1e3 * float(np.percentile(seconds, 50)), 2)
    return figures


def remove_passages(catalog: Catalog, root_id: int) -> dict[str, Any]:
    """Remove a tenth of the texts in batches, then all."""
    ids = [known.item_id for known in catalog.known_files(root_id).values()]
    some = ids[: len(ids) // 10]
    seconds, _ = timed(lambda: [catalog.write(removed=some[at : at + BATCH]) for at in range(0, len(some), BATCH)])
    figures: dict[str, Any] = {"removed_passages_per_s": round(len(some) * PER_TEXT / seconds)}
    figures["remove_root_s"], _ = timed(lambda: catalog.remove_root(root_id))
    return figures


def measure_passages(passages: int, dim: int, runs: int) -> dict[str, Any]:
    folder = work_folder() / f"catalog-scale-passages-{passages}"
    shutil.rmtree(folder, ignore_errors=True)
    with Catalog.open(folder, create=True) as catalog:
        catalog.register_encoders([EncoderRecord(ENCODER, dim)])
        root = catalog.add_root(folder / "notes")
        figures = {"passages": passages, "dim": dim, **fill_passages(catalog, root.id, passages, dim)}
        figures["catalog_mb"] = round(catalog.status().catalog_bytes / 1e6)
        figures |= search_passages(catalog, runs)
        figures |= remove_passages(catalog, root.id)
    shutil.rmtree(folder)
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
    parser.add_argument("--passages", type=int, nargs="*", default=list(PASSAGES), help="the same of texts")
    parser.add_argument("--dim", type=int, default=256, help="length of the vectors")
    parser.add_argument("--runs", type=int, default=20, help="fresh processes for each cold figure")
    parser.add_argument("--no-record", action="store_true", help="print the figures only")
    options = parser.parse_args()
    for items in options.items:
        folder = work_folder() / f"catalog-scale-{items}"
        shutil.rmtree(folder, ignore_errors=True)
        with Catalog.open(folder, create=True) as catalog:
            catalog.register_encoders([EncoderRecord(ENCODER, options.dim)])
            root = catalog.add_root(folder / "photos")
            figures = {"items": items, "dim": options.dim, **fill(catalog, root.id, items, options.dim)}
            figures |= read(catalog, root.id, items)
            figures["catalog_mb"] = round(catalog.status().catalog_bytes / 1e6)
        figures |= cold(folder, options.runs)
        with Catalog.open(folder) as catalog:
            figures |= change(catalog, root.id)
        record("catalog_scale", figures, keep=not options.no_record)
        shutil.rmtree(folder)
    for passages in options.passages:
        figures = measure_passages(passages, options.dim, options.runs)
        record("catalog_scale", figures, keep=not options.no_record)


if __name__ == "__main__":
    main()
