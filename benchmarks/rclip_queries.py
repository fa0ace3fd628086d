"""A cold query with mmsearch against rclip 4.0.8: the same architecture, equally many vectors, a new process each time.

    python benchmarks/rclip_comparison.py --prepare      # once: installs rclip, exports the model
    python benchmarks/rclip_queries.py                   # 10,000 and 500,000 photographs
    python benchmarks/rclip_queries.py --items 10000 --runs 20

rclip's database is filled with random vectors in its own schema, mmsearch's library as `cold_start.py` does it. Both
search by words without looking at files (rclip: ``--no-indexing``), by turns, on a warm page cache; the first turn does
not count. Reaching all vectors is rclip's design, so their values make no difference to it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import library
from processes import CommandFailedError, Run, mmsearch_command, run
from rclip_setup import Rclip, prepared
from record import record, work_folder

SEED = 20260801
SIZES = (10_000, 500_000)
DIM = 512
BATCH = 5_000
TEXT = "a dog on the beach"
K = 10


def rclip_database(parts: Rclip, items: int) -> tuple[dict[str, str], Path]:
    """Make rclip's data folder with so many photographs, unless it is there already.

    Returns:
        Its environment variables, and the folder below which the photographs are said to lie.
    """
    data = work_folder() / f"rclip-data-{items}"
    photos = work_folder() / f"rclip-photos-{items}"
    done = data / ".done"
    if done.exists():
        return {"RCLIP_DATADIR": os.fspath(data), "HF_HUB_OFFLINE": "1"}, photos
    shutil.rmtree(photos, ignore_errors=True)
    photos.mkdir(parents=True)
    env = parts.data_folder(data)
    run([parts.program, "--top", "1", TEXT], cwd=photos, env=env)  # rclip itself makes the empty database
    rng = np.random.default_rng([SEED, items])
    with sqlite3.connect(data / "db.sqlite3") as database:
        for start in range(0, items, BATCH):
            vectors = rng.standard_normal((min(BATCH, items - start), DIM), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            database.executemany(
                "INSERT INTO images(filepath, modified_at, size, vector, hash) VALUES (?, ?, ?, ?, ?)",
                (_row(photos, start + at, vector) for at, vector in enumerate(vectors)),
            )
        print(f"{data.name}: {items:,} photographs", file=sys.stderr)
    done.touch()
    return env, photos


def _row(photos: Path, number: int, vector: np.ndarray) -> tuple[str, float, int, bytes, str]:
    path = photos / f"{number // 500:04d}" / f"IMG_{number:06d}.jpg"
    return os.fspath(path), 1.5e9 + number, 2_000_000 + number, vector.tobytes(), f"{number:064x}"


def compare(items: int, runs: int, parts: Rclip) -> dict[str, Any]:
    """Measure both tools by turns over libraries of one size."""
    env, photos = rclip_database(parts, items)
    folder = library(parts.model_id, items)
    theirs: list[Run] = []
    ours: list[Run] = []
    for number in range(runs + 1):
        command = [parts.program, "--no-indexing", "--filepath-only", "--top", str(K), TEXT]
        their_run = _with_hits(run(command, cwd=photos, env=env))
        our_run = _with_hits(
            run([mmsearch_command(), "query", TEXT, "-k", str(K), "--paths", "--all", "--library", folder])
        )
        if number:
            theirs.append(their_run)
            ours.append(our_run)
    ratios = np.array([their.wall_s / our.wall_s for their, our in zip(theirs, ours, strict=True)])
    return {
        "items": items,
        "runs": runs,
        "rclip": _figures(theirs),
        "mmsearch": _figures(ours),
        "times_faster": round(float(np.median(ratios)), 2),
        "times_less_memory": round(max(one.peak_bytes for one in theirs) / max(one.peak_bytes for one in ours), 2),
    }


def _with_hits(done: Run) -> Run:
    lines = len(done.stdout.splitlines())
    if lines != K:
        raise CommandFailedError(f"{lines} results instead of {K}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done


def _figures(runs: list[Run]) -> dict[str, float]:
    wall_s = np.array([one.wall_s for one in runs])
    return {
        "wall_min_s": round(float(wall_s.min()), 3),
        "wall_p50_s": round(float(np.median(wall_s)), 3),
        "wall_max_s": round(float(wall_s.max()), 3),
        "cpu_p50_s": round(float(np.median([one.cpu_s for one in runs])), 3),
        "peak_max_mb": round(max(one.peak_bytes for one in runs) / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=list(SIZES), help="sizes of the libraries")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    parts = prepared()
    for items in arguments.items:
        record("rclip_queries", compare(items, arguments.runs, parts), keep=not arguments.dry)


if __name__ == "__main__":
    main()
