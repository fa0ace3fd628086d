"""Indexing with the built-in model: images a second over 1,500 VGA photographs, with the seconds of each stage.

    python benchmarks/mini_index.py
    python benchmarks/mini_index.py --kind 12mp --count 250

The whole command is timed from outside, start-up included, from an empty library each time; the rate without start-up
takes off the wall time of the same command over a single photograph.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

from photos import SIZES, photo_folder, warm
from processes import CommandFailedError, Run, mmsearch_command, run
from record import record

__all__ = ["index_from_nothing"]

TARGET = 100.0


def index_from_nothing(folder: Path, library: Path, model: str, count: int) -> tuple[Run, dict[str, float]]:
    """Index a folder into a library that is not there yet; returns the run and its seconds for each stage.

    Raises:
        CommandFailedError: Not all of its `count` photographs were stored.
    """
    shutil.rmtree(library, ignore_errors=True)
    command = [mmsearch_command(), "index", folder, "--library", library, "--model", model, "--json"]
    done = run(command, env={"MMSEARCH_OFFLINE": "1"})
    summary = json.loads(done.stdout)
    if summary["new"] != count:
        raise CommandFailedError(f"stored {summary['new']} of {count} photographs: {done.stderr[-2000:]}")
    return done, summary["stage_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=sorted(SIZES), default="vga")
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    folder, single = photo_folder(arguments.kind, arguments.count), photo_folder(arguments.kind, 1)
    warm(folder)
    warm(single)
    rates, steady, runs, stages = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="mini-index-") as scratch:
        library = Path(scratch) / "library"
        for number in range(arguments.rounds):
            startup, _ = index_from_nothing(single, library, "mini", 1)
            whole, seconds = index_from_nothing(folder, library, "mini", arguments.count)
            runs.append(whole)
            stages.append(seconds)
            rates.append(arguments.count / whole.wall_s)
            steady.append((arguments.count - 1) / (whole.wall_s - startup.wall_s))
            print(f"round {number + 1}: {rates[-1]:.1f} images/s, {steady[-1]:.1f} without start-up", flush=True)
    record(
        "mini_index",
        {
            "kind": arguments.kind,
            "photos": arguments.count,
            "rounds": arguments.rounds,
            "images_per_s": round(statistics.median(rates), 1),
            "images_per_s_without_startup": round(statistics.median(steady), 1),
            "all_images_per_s": [round(rate, 1) for rate in rates],
            "wall_s": round(statistics.median(done.wall_s for done in runs), 2),
            "cpu_s": round(statistics.median(done.cpu_s for done in runs), 2),
            "peak_mb": round(max(done.peak_bytes for done in runs) / 1e6),
            "stage_seconds": {
                stage: round(statistics.median(seconds[stage] for seconds in stages), 2) for stage in stages[0]
            },
            "target_images_per_s": TARGET,
        },
        keep=not arguments.dry,
    )


if __name__ == "__main__":
    main()
