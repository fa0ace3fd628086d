"""Index the sample photographs, type each caption: how often does the expected photograph come first?

    python benchmarks/samples_quality.py
    python benchmarks/samples_quality.py --model open_clip/ViT-B-32/laion2b_s34b_b79k

Runs the commands that a user runs, one process for each query, and counts the rank of the expected photograph.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

from processes import mmsearch_command, run
from record import REPOSITORY, record

SAMPLES = REPOSITORY / "data" / "samples"
TARGET = 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    with (SAMPLES / "captions.csv").open(encoding="utf-8", newline="") as file:
        captions = [(row["image"], row["caption"]) for row in csv.DictReader(file)]
    count = len(list(SAMPLES.glob("*.jpg")))
    ranks = []
    misses = []
    with tempfile.TemporaryDirectory(prefix="samples-quality-") as scratch:
        library = Path(scratch) / "library"
        run([mmsearch_command(), "index", SAMPLES, "--no-captions", "--library", library, "--model", arguments.model])
        for image, caption in captions:
            hits = _query(caption, library, count)
            ranks.append(hits.index(image) + 1)
            if ranks[-1] > 1:
                misses.append({"caption": caption, "expected": image, "rank": ranks[-1], "first": hits[0]})
    record(
        "samples_quality",
        {
            "model": arguments.model,
            "photos": count,
            "captions": len(captions),
            "first": round(sum(rank == 1 for rank in ranks) / len(ranks), 3),
            "in_first_three": round(sum(rank <= 3 for rank in ranks) / len(ranks), 3),
            "mrr": round(sum(1 / rank for rank in ranks) / len(ranks), 3),
            "target_first": TARGET,
            "misses": misses,
        },
        keep=not arguments.dry,
    )


def _query(caption: str, library: Path, count: int) -> list[str]:
    done = run([mmsearch_command(), "query", caption, "--all", "-k", str(count), "--library", library, "--json"])
    return [Path(json.loads(line)["path"]).name for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main()
