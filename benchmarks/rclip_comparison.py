"""Indexing with mmsearch against rclip 4.0.8: the same photographs, the same architecture, the same random weights.

    python benchmarks/rclip_comparison.py --prepare      # once: installs rclip, exports the model
    python benchmarks/rclip_comparison.py                # 1,500 VGA and 250 12-megapixel photographs, 3 rounds

Both tools run as a user runs them, with their own defaults, from an empty database each time, by turns within one round
so that both see the same machine; the ratio is taken round by round and its median reported. Start-up is the wall time
of the same command over a single photograph; the rate without start-up is what the other photographs took. The
photographs are read once beforehand, so that nobody pays for the disk. As a check that both did the same work, the
vectors they stored are compared photograph by photograph (cosine after the mean is taken off).
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mini_index import index_from_nothing
from photos import SIZES, photo_folder, warm
from processes import CommandFailedError, Run, run
from rclip_setup import RCLIP_VERSION, Rclip, prepare, prepared
from record import record

COUNTS = {"vga": 1500, "12mp": 250}
TARGETS = {"vga": 5.0, "12mp": 4.0}
QUERY = "a dog on the beach"


@dataclass(frozen=True, slots=True)
class Measured:
    """One tool over one folder, in one round."""

    startup: Run
    whole: Run
    count: int
    stages: dict[str, float]

    @property
    def rate(self) -> float:
        """Photographs a second of the whole process."""
        return self.count / self.whole.wall_s

    @property
    def steady_rate(self) -> float:
        """Photographs a second without start-up."""
        return (self.count - 1) / (self.whole.wall_s - self.startup.wall_s)


class RclipTool:
    """rclip as its users run it: the photographs' folder is the working directory, indexing comes with a query."""

    def __init__(self, parts: Rclip, scratch: Path) -> None:
        self._parts = parts
        self._data = scratch / "rclip-data"

    def index(self, folder: Path, count: int) -> tuple[Run, dict[str, float]]:
        """Index a folder from nothing."""
        env = self._parts.data_folder(self._data)
        done = run([self._parts.program, "--top", "1", QUERY], cwd=folder, env=env)
        stored = len(self.vectors())
        if stored != count:
            raise CommandFailedError(f"rclip stored {stored} of {count} photographs: {done.stderr[-2000:]}")
        return done, {}

    def vectors(self) -> dict[str, np.ndarray]:
        """What it stored: file name -> vector."""
        with sqlite3.connect(self._data / "db.sqlite3") as database:
            rows = database.execute("SELECT filepath, vector FROM images WHERE deleted IS NULL").fetchall()
        return {Path(path).name: np.frombuffer(vector, dtype=np.float32) for path, vector in rows}


class MmsearchTool:
    """mmsearch with the same weights, from an open_clip checkpoint."""

    def __init__(self, model: str, scratch: Path) -> None:
        self._model = model
        self._library = scratch / "library"

    def index(self, folder: Path, count: int) -> tuple[Run, dict[str, float]]:
        """Index a folder from nothing."""
        return index_from_nothing(folder, self._library, self._model, count)

    def vectors(self) -> dict[str, np.ndarray]:
        """What it stored: file name -> vector."""
        from mmsearch.storage.catalog import Catalog
        from mmsearch.types import Modality

        found: dict[str, np.ndarray] = {}
        with Catalog.open(self._library, read_only=True) as catalog:
            for ids, vectors in catalog.vector_source(self._model, Modality.IMAGE).read():
                records = catalog.segments(ids.tolist())
                for segment_id, vector in zip(ids.tolist(), vectors, strict=True):
                    path = records[segment_id].item.path
                    assert path is not None
                    found[path.name] = vector
        return found


def compare(kind: str, count: int, rounds: int, parts: Rclip) -> dict[str, Any]:
    """Measure both tools by turns over one kind of photograph."""
    folder, single = photo_folder(kind, count), photo_folder(kind, 1)
    size_bytes = warm(folder) + warm(single)
    with tempfile.TemporaryDirectory(prefix="rclip-comparison-") as scratch_name:
        scratch = Path(scratch_name)
        rclip, mmsearch = RclipTool(parts, scratch), MmsearchTool(parts.model_id, scratch)
        theirs: list[Measured] = []
        ours: list[Measured] = []
        for number in range(rounds):
            turns = [(rclip, theirs), (mmsearch, ours)]
            for tool, results in turns if number % 2 == 0 else reversed(turns):
                results.append(_measure(tool.index, folder, single, count))
                _tell(kind, number, type(tool).__name__, results[-1])
        agreement = _agreement(rclip.vectors(), mmsearch.vectors())
    return {
        "kind": kind,
        "pixels": SIZES[kind],
        "photos": count,
        "mean_kb": round(size_bytes / (count + 1) / 1000),
        "rounds": rounds,
        "rclip": _figures(theirs),
        "mmsearch": _figures(ours),
        "ratio": _ratio([a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]),
        "ratio_without_startup": _ratio([a.steady_rate / b.steady_rate for a, b in zip(ours, theirs, strict=True)]),
        "target_ratio": TARGETS[kind],
        "vector_agreement": round(agreement, 4),
    }


def _measure(
    index: Callable[[Path, int], tuple[Run, dict[str, float]]], folder: Path, single: Path, count: int
) -> Measured:
    startup, _ = index(single, 1)
    whole, stages = index(folder, count)
    return Measured(startup, whole, count, stages)


def _figures(results: list[Measured]) -> dict[str, Any]:
    """Medians over the rounds."""

    def median(pick: Callable[[Measured], float], digits: int = 2) -> float:
        return round(statistics.median(pick(result) for result in results), digits)

    return {
        "images_per_s": median(lambda result: result.rate),
        "images_per_s_without_startup": median(lambda result: result.steady_rate),
        "wall_s": median(lambda result: result.whole.wall_s),
        "cpu_s": median(lambda result: result.whole.cpu_s),
        "startup_s": median(lambda result: result.startup.wall_s),
        "peak_mb": median(lambda result: result.whole.peak_bytes / 1e6, 0),
        "stage_seconds": {
            stage: round(statistics.median(result.stages[stage] for result in results), 2)
            for stage in results[0].stages
        },
    }


def _ratio(ratios: list[float]) -> dict[str, Any]:
    return {"median": round(statistics.median(ratios), 2), "rounds": [round(ratio, 2) for ratio in ratios]}


def _agreement(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> float:
    """Mean cosine of both vectors of each photograph, after each tool's mean is taken off."""
    names = sorted(theirs)
    left, right = (np.stack([vectors[name] for name in names]) for vectors in (theirs, ours))
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    cosines = (left * right).sum(axis=1) / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1))
    return float(cosines.mean())


def _tell(kind: str, number: int, tool: str, result: Measured) -> None:
    print(
        f"{kind}, round {number + 1}, {tool}: {result.rate:.1f} images/s, {result.steady_rate:.1f} without start-up "
        f"({result.startup.wall_s:.1f} s)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", action="store_true", help="install rclip and export the model, then stop")
    parser.add_argument("--kind", choices=sorted(SIZES), help="only this kind of photograph")
    parser.add_argument("--count", type=int, help="photographs of each kind (1500 VGA, 250 of 12 megapixels)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    if arguments.prepare:
        print(f"rclip {RCLIP_VERSION} is ready: {prepare().program}")
        return
    parts = prepared()
    for kind in [arguments.kind] if arguments.kind else ["vga", "12mp"]:
        count = arguments.count or COUNTS[kind]
        record("rclip_comparison", compare(kind, count, arguments.rounds, parts), keep=not arguments.dry)


if __name__ == "__main__":
    main()
