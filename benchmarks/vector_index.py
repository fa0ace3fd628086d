"""recall@10 against exact search, latency, size and building time of each kind of vector index.

Queries are measured apart by where they lie: pictures lie among the pictures searched, captions beside them. Latency is
that of single queries through `VectorStore.search` (exact scores included) in a process of one thread, after a warm-up;
then a batch on all cores; then filters that let part of the ids pass; then fresh processes that answer one query.

    python benchmarks/vector_index.py
    python benchmarks/vector_index.py --sizes 1000000 --dims 256 --kinds ivf
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any

ALONE = "--alone" in sys.argv
if ALONE:  # before NumPy starts its threads
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from processes import run  # noqa: E402
from record import record, work_folder  # noqa: E402
from vector_data import ArraySource, World  # noqa: E402

from mmsearch.vectors.exact import ExactIndex  # noqa: E402
from mmsearch.vectors.store import VectorStore  # noqa: E402

SEED = 20260801
K = 10
SHARES = (0.001, 0.01, 0.1, 0.5, 0.9)
COLD = """
import sys, time
import numpy as np
from pathlib import Path
sys.path.insert(0, {here!r})
from vector_data import ArraySource
from mmsearch.vectors.store import VectorStore
source = ArraySource(np.load({data!r}, mmap_mode="r"))
query = np.load({query!r})
started = time.perf_counter()
found, _ = VectorStore(Path({folder!r}), "benchmark", source.dim).search(source, query, 10)
spent = 1000 * (time.perf_counter() - started)
assert (found > 0).all()
"""
EMPTY = "import numpy; spent = 0"
# A process that a large one starts inherits its ru_maxrss; VmHWM begins anew.
TOLD = """
import re
from pathlib import Path
print(spent, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024, sep=" ")
"""


class Case:
    """One size, dimension and kind: its files, queries and truth."""

    def __init__(self, count: int, dim: int, kind: str, queries: int) -> None:
        self.world, self.folder = World(dim, SEED), work_folder() / "vectors"
        self.folder.mkdir(exist_ok=True)
        self.halves = self.world.saved(count, self.folder)
        self.source = ArraySource(self.halves)
        self.index = self.folder / f"index-{dim}-{count}-{kind}"
        self.name, self.kind = f"{count}-{dim}", kind
        self.queries = {
            "pictures": self.world.pictures(queries, seed=1),
            "captions": self.world.captions(queries, seed=2),
        }

    def store(self) -> VectorStore:
        """The store, opened anew."""
        return VectorStore(self.index, "benchmark", self.source.dim)

    def truth(self, name: str) -> NDArray[np.int64]:
        """Ids (m, K) by exact search, kept in a file."""
        path = self.folder / f"truth-{self.name}-{name}-{len(self.queries[name])}.npy"
        if not path.exists():
            np.save(path, self.oracle().search(self.queries[name], K)[0])
        found: NDArray[np.int64] = np.load(path)
        return found

    def oracle(self) -> ExactIndex:
        """Exact search over all vectors."""
        return ExactIndex(self.source.dim, np.arange(1, len(self.halves) + 1), self.halves)


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    shares = [np.isin(true, line).mean() for true, line in zip(truth, found, strict=True)]
    return round(float(np.mean(shares)), 4)


def timed(calls: list[Callable[[], Any]]) -> dict[str, float]:
    """Milliseconds of each call: wall time, and processor time of this thread, which a busy machine moves less."""
    spent, worked = [], []
    for call in calls:
        started, began = perf_counter(), thread_time()
        call()
        worked.append(1000 * (thread_time() - began))
        spent.append(1000 * (perf_counter() - started))
    return {
        "mean_ms": round(float(np.mean(spent)), 3),
        **{f"p{p}_ms": round(float(np.percentile(spent, p)), 3) for p in (50, 95, 99)},
        "cpu_mean_ms": round(float(np.mean(worked)), 3),
        "cpu_p95_ms": round(float(np.percentile(worked, 95)), 3),
    }


def measure_alone(case: Case) -> dict[str, Any]:
    """Single queries, one after the other, in this process of one thread."""
    store, found = case.store(), {}
    for name, queries in case.queries.items():
        single = [query[None] for query in queries]
        for query in single[: len(single) // 5]:
            store.search(case.source, query, K)
        found[name] = timed([partial(store.search, case.source, query, K) for query in single])
        hits = np.concatenate([store.search(case.source, query, K)[0] for query in single])
        found[name]["recall@10"] = recall(hits, case.truth(name))
    oracle, random = case.oracle(), np.random.default_rng(SEED)
    some = case.queries["captions"][:20]
    for share in SHARES:
        allowed = np.flatnonzero(random.random(len(case.halves)) < share) + 1
        ask = [partial(store.search, case.source, query[None], K, allowed=allowed) for query in some]
        timed(ask[:5])
        figures = timed(ask)
        hits = np.concatenate([call()[0] for call in ask])
        truth = oracle.search(some, K, allowed=allowed)[0]
        found[f"captions, {share:.1%} allowed"] = {
            "mean_ms": figures["mean_ms"],
            "cpu_mean_ms": figures["cpu_mean_ms"],
            "recall@10": recall(hits, truth),
            "least_hits": int((hits > 0).sum(axis=1).min()),
        }
    return found


def cold(case: Case, runs: int) -> dict[str, Any]:
    """Fresh processes that import, open and answer one query."""
    query = case.folder / f"query-{case.source.dim}.npy"
    np.save(query, case.queries["captions"][:1])
    data = str(case.halves.filename)  # type: ignore[attr-defined]
    here = str(Path(__file__).parent)
    code = COLD.format(here=here, data=data, query=str(query), folder=str(case.index))
    done, empty = ([_told(part + TOLD) for _ in range(runs + 1)][1:] for part in (code, EMPTY))
    return {
        "wall_ms": round(float(np.median([one[0] for one in done])), 1),
        "python_and_numpy_ms": round(float(np.median([one[0] for one in empty])), 1),
        "open_and_search_ms": round(float(np.median([one[1] for one in done])), 2),
        "peak_mb": round(max(one[2] for one in done) / 1e6, 1),
        "python_and_numpy_mb": round(max(one[2] for one in empty) / 1e6, 1),
    }


def _told(code: str) -> tuple[float, float, int]:
    """Wall time of a process (ms), the milliseconds it reports and its peak memory (bytes)."""
    # Compiled modules are kept, as they are for anyone who has installed mmsearch.
    env = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(work_folder() / "pycache")}
    done = run([sys.executable, "-c", code], env=env)
    spent, peak = done.stdout.split()
    return 1000 * done.wall_s, float(spent), int(peak)


def measure(case: Case, runs: int) -> None:
    shutil.rmtree(case.index, ignore_errors=True)
    store = case.store()
    started, began = perf_counter(), process_time()
    manifest = store.fold(case.source, kind=case.kind)
    fold_s, fold_cpu_s = perf_counter() - started, process_time() - began
    for name in case.queries:
        case.truth(name)
    batch = {}
    for name, queries in case.queries.items():
        store.search(case.source, queries[:32], K)
        started = perf_counter()
        hits, _ = store.search(case.source, queries, K)
        per_query_ms = 1000 * (perf_counter() - started) / len(queries)
        batch[name] = {"ms_per_query": round(per_query_ms, 3), "recall@10": recall(hits, case.truth(name))}
    alone = run([sys.executable, __file__, "--alone", *sys.argv[1:], "--case", f"{case.name}-{case.kind}"])
    record(
        "vector_index",
        {
            "seed": SEED,
            "count": len(case.halves),
            "dim": case.source.dim,
            "asked": case.kind,
            "kind": manifest.kind,
            "effort": manifest.effort,
            "recall_when_tuned": dict(manifest.recall),
            "fold_s": round(fold_s, 1),
            "fold_cpu_s": round(fold_cpu_s, 1),
            "size_bytes": store.size_bytes(),
            "one_thread": json.loads(alone.stdout),
            "batch": batch,
            "cold": cold(case, runs),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 500_000, 1_000_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf"], help="auto, flat, ivf, hnsw, pq")
    parser.add_argument("--queries", type=int, default=500, help="queries of each sort")
    parser.add_argument("--runs", type=int, default=7, help="fresh processes")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        count, dim, kind = given.case.split("-")
        print(json.dumps(measure_alone(Case(int(count), int(dim), kind, given.queries))))
        return
    for dim in given.dims:
        for count in given.sizes:
            for kind in given.kinds:
                measure(Case(count, dim, kind, given.queries), given.runs)


if __name__ == "__main__":
    main()
