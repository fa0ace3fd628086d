"""`kill -9` at random moments of indexing runs: is every library afterwards whole, and is nothing done twice?

    python benchmarks/index_recovery.py
    python benchmarks/index_recovery.py --kills 3 --pictures 60 --seed 1

One library is made without interruption. Then runs over the same pictures are killed, each at a random moment of its
life, and started again on what the last one left, until that many runs have died; a library that was finished in
between is compared with the first one and begun anew. After every kill:

- SQLite finds the catalog whole, and every stored file has the embedding that it has in the first library;
- a search over the vector index, in whatever state it was left, finds every stored file asked for;
- what went through the encoder without being stored is one batch at most.

In the end the library holds the same files, content hashes and embeddings as the one that was never interrupted.
The hashing encoder stands in for a model: it costs next to nothing, so that the kills fall into scanning, decoding,
storing and saving the index as well.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from record import record, work_folder

from indexer.sync import SyncOptions, sync
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.lock import WriterLock
from mmsearch.types import Modality, Progress
from mmsearch.vectors.store import VectorStore
from mmsearch.vectors.stores import VectorStores

BATCH = 16
DIM = 64
SEARCHED = 20

Rows = set[tuple[bytes, bytes, bytes]]


class LoggingEncoder(HashingEncoder):
    """Writes down how many pictures it has embedded before it returns them, so that a kill cannot hide them."""

    batch_size = BATCH

    def __init__(self, log: int) -> None:
        super().__init__(DIM)
        self._log = log

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed, having written down how many."""
        os.write(self._log, b"%d\n" % len(images))
        return super().encode_images(images)


def child(library: Path, pictures: Path, log: Path) -> None:
    """Index the pictures once; says on stdout when it begins and which stage it is in."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    encoder = LoggingEncoder(descriptor)

    def report(event: Progress) -> None:
        os.write(1, f"{event.stage}\n".encode())

    os.write(1, b"begin\n")
    with WriterLock(library, "index_recovery"), Catalog.open(library, create=True) as catalog:
        stores = VectorStores(library / "vectors")
        sync([pictures], catalog, [encoder], stores, options=SyncOptions(), progress=report)


def start(library: Path, pictures: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a run and wait until it begins to work."""
    command = [sys.executable, __file__, "--child", str(library), str(pictures), str(log)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"begin\n":
        raise SystemExit("the indexing process did not start")
    return process


def stored(library: Path) -> Rows:
    """Path, content hash and embedding of every file, read without mmsearch; checks the database on the way."""
    with sqlite3.connect(library / "catalog.sqlite3") as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        rows = connection.execute(
            """SELECT i.path, i.content_hash, v.embedding FROM items i
            LEFT JOIN segments s ON s.item_id = i.id LEFT JOIN vectors v ON v.segment_id = s.id"""
        ).fetchall()
    connection.close()
    if verdict != "ok" or orphans:
        raise SystemExit(f"the catalog is damaged: {verdict} {orphans[:3]}")
    if len({path for path, _, _ in rows}) != len(rows):
        raise SystemExit("a file is stored twice")
    return set(rows)


def check_searches(library: Path, rng: random.Random) -> None:
    """Ask the index, as it was left, for some of the stored embeddings."""
    with Catalog.open(library) as catalog:
        if not catalog.encoders():
            return
        source = catalog.vector_source(HashingEncoder.id, Modality.IMAGE)
        store = VectorStore(library / "vectors", HashingEncoder.id, DIM)
        known = np.concatenate([ids for ids, _ in source.read()] or [np.empty(0, np.int64)])
        if not len(known):
            return
        ids, queries = catalog.vectors(HashingEncoder.id, rng.sample(known.tolist(), min(SEARCHED, len(known))))
        found, _ = store.search(source, queries, 3)
        for id_, row in zip(ids, found, strict=True):
            if id_ not in row:
                raise SystemExit(f"segment {id_} is stored but not found")


def embedded(log: Path) -> int:
    """How many pictures went through the encoder so far."""
    return sum(map(int, log.read_text().split())) if log.exists() else 0


def make_pictures(folder: Path, count: int) -> Path:
    """Different JPEG files in folders, some of them twice, and a few that cannot be decoded."""
    if (folder / ".done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number % 7}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(path, quality=90)
        if number % 25 == 0:
            shutil.copy2(path, path.with_name(f"{number:05d} copy.jpg"))
            path.with_name(f"{number:05d} bad.jpg").write_bytes(path.read_bytes()[:2000])
    (folder / ".done").touch()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="only print the figures")
    parser.add_argument("--child", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    rng = random.Random(arguments.seed)
    work = work_folder()
    pictures = make_pictures(work / f"recovery-pictures-{arguments.pictures}", arguments.pictures)
    scratch = work / f"recovery-{os.getpid()}"
    library, log = scratch / "library", scratch / "embedded.log"
    scratch.mkdir()
    try:
        began = time.perf_counter()
        process = start(scratch / "uninterrupted", pictures, scratch / "reference.log")
        ready = time.perf_counter()
        process.communicate()
        length_s = time.perf_counter() - ready
        expected = stored(scratch / "uninterrupted")
        distinct = len({content for _, content, _ in expected})
        print(f"uninterrupted: {len(expected)} files, {distinct} contents, {length_s:.2f} s", flush=True)

        kills, finished, worst, again = 0, 0, 0, 0
        stages: collections.Counter[str] = collections.Counter()
        while kills < arguments.kills:
            before = stored(library) if (library / "catalog.sqlite3").exists() else set()
            logged = embedded(log)
            process = start(library, pictures, log)
            time.sleep(rng.uniform(0, length_s * 0.6))
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
            if process.returncode == 0:  # it was faster: compare, and begin anew
                finished += 1
                compare(stored(library), expected)
                shutil.rmtree(library)
                log.unlink(missing_ok=True)
                continue
            kills += 1
            stages[(output.decode().split() or ["start"])[-1]] += 1
            after = stored(library) if (library / "catalog.sqlite3").exists() else set()
            if not before <= after or not after <= expected:
                raise SystemExit("a stored file was lost or changed")
            gained = len({content for _, content, _ in after}) - len({content for _, content, _ in before})
            lost = embedded(log) - logged - gained
            worst = max(worst, lost)
            again += lost
            if after:
                check_searches(library, rng)
            print(f"kill {kills}: {len(after)} files stored, {lost} embedded in vain", flush=True)
        start(library, pictures, log).communicate()
        compare(stored(library), expected)
        check_searches(library, rng)
        if worst > BATCH:
            raise SystemExit(f"{worst} pictures were embedded in vain by one kill, more than a batch of {BATCH}")
        record(
            "index_recovery",
            {
                "kills": kills,
                "killed_in": dict(stages),
                "files": len(expected),
                "contents": distinct,
                "batch": BATCH,
                "uninterrupted_s": round(length_s, 2),
                "finished_between": finished,
                "most_embedded_in_vain_by_one_kill": worst,
                "embedded_in_vain": again,
                "identical": True,
                "seed": arguments.seed,
                "elapsed_s": round(time.perf_counter() - began, 1),
            },
            keep=not arguments.no_record,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def compare(found: Rows, expected: Rows) -> None:
    """End the benchmark unless two libraries hold the same."""
    if found != expected:
        raise SystemExit(f"the library differs from the uninterrupted one in {len(found ^ expected)} files")


if __name__ == "__main__":
    main()
