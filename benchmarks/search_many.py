"""`SearchEngine.search_many`: queries a second over a million vectors, recall@10 against exact search, and equality.

Queries of two sorts, near (pictures among the pictures searched) and far (captions beside them), ten thousand each, on
all cores. The first run of a process reads vectors from the catalog; later ones have them in memory. Some queries are
asked again one by one and must get the same items and scores.

    python benchmarks/search_many.py
    python benchmarks/search_many.py --queries 1000 --no-record
"""

from __future__ import annotations

import argparse
from time import perf_counter, process_time
from typing import Any

import numpy as np
from big_library import DIM, big_library, world
from numpy.typing import NDArray
from record import record, work_folder

from mmsearch import SearchEngine
from mmsearch.vectors.exact import ExactIndex

K = 10


def truth(name: str, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Ids (m, K) by exact search, kept in a file."""
    path = work_folder() / "vectors" / f"truth-many-{count}-{name}-{len(queries)}.npy"
    if not path.exists():
        halves = world().saved(count, work_folder() / "vectors")
        oracle = ExactIndex(DIM, np.arange(1, count + 1), halves)
        np.save(path, oracle.search(queries, K)[0])
    found: NDArray[np.int64] = np.load(path)
    return found


def measure(
    engine: SearchEngine, queries: NDArray[np.float32], rounds: int
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    figures: dict[str, Any] = {}
    for number in range(rounds + 1):
        started, worked = perf_counter(), process_time()
        hits = engine.search_many(queries, K)
        wall, cpu = perf_counter() - started, process_time() - worked
        what = "first" if number == 0 else "later"
        figures.setdefault(f"{what}_queries_per_s", []).append(round(len(queries) / wall))
        figures.setdefault(f"{what}_cpu_ms_per_query", []).append(round(1000 * cpu / len(queries), 3))
    some = range(0, len(queries), max(1, len(queries) // 100))
    alone = [engine.search_many(queries[at : at + 1], K) for at in some]
    figures["asked_alone"] = len(alone)
    figures["equal_alone"] = sum(
        np.array_equal(one.items[0], hits.items[at]) and np.array_equal(one.scores[0], hits.scores[at])
        for one, at in zip(alone, some, strict=True)
    )
    return figures, hits.segments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--queries", type=int, default=10_000, help="of each sort")
    parser.add_argument("--judged", type=int, default=1_000, help="those whose recall is measured")
    parser.add_argument("--rounds", type=int, default=3, help="after the first")
    parser.add_argument("--no-record", action="store_true", help="print the figures only")
    options = parser.parse_args()
    queries = {
        "near": world().pictures(options.queries, seed=21),
        "far": world().captions(options.queries, seed=22),
    }
    with SearchEngine.open(big_library(options.count)) as engine:
        found: dict[str, Any] = {}
        for name, rows in queries.items():
            figures, ids = measure(engine, rows, options.rounds)
            judged = min(options.judged, len(rows))
            true = truth(name, rows[:judged], options.count)
            shares = [np.isin(line, got).mean() for line, got in zip(true, ids[:judged], strict=True)]
            found[name] = {**figures, "recall@10": round(float(np.mean(shares)), 4)}
        index = engine.status().indexes[0]
    described = {"count": options.count, "queries": options.queries, "k": K, "kind": index["kind"], **found}
    record("search_many", described, keep=not options.no_record)


if __name__ == "__main__":
    main()
