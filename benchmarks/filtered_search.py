"""Filtered search over a million vectors, from one photo that passes to all of them: hits, recall and time.

    python benchmarks/filtered_search.py
    python benchmarks/filtered_search.py --count 100000 --folder /tmp/photos

Every filter is asked with pictures and with captions that lie beside them (`benchmarks/vector_data.py`), through
the index as a search sees it (`mmsearch.retrieval.filtering`): what the catalog says of the filter is part of the time.
An exact scan of all that pass is the truth. `cold` is the first query with a filter in a process that has no facts in
memory, `warm` the median of the others, each with other dates or sizes so that no answer is one of before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from big_library import DAYS, ENCODER, FIRST_DAY, big_library, world
from numpy.typing import NDArray
from record import record

from mmsearch.filters import Filters, Range
from mmsearch.protocols import VectorSource
from mmsearch.query.trace import Trace
from mmsearch.retrieval.filtering import CollectionFacts, FilteredStore
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.store import VectorStore

K = 10
SHARES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.02, 0.03, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0)
QUERIES = 25


@dataclass(frozen=True)
class Kind:
    """A sort of filter that leaves about a share of the library; `turn` makes each one another."""

    name: str
    make: Callable[[float, int], Filters]


def by_date(share: float, turn: int) -> Filters:
    start = FIRST_DAY + timedelta(days=DAYS * (1 - share) * (turn % 7) / 7, seconds=turn)
    return Filters(after=start, before=start + timedelta(days=DAYS * share))


def by_date_and_size(share: float, turn: int) -> Filters:
    dated = by_date(min(1.0, 2 * share), turn)
    return Filters(after=dated.after, before=dated.before, size_bytes=Range(2_500_000 + turn))


KINDS = (Kind("date", by_date), Kind("date and size", by_date_and_size))


def measure(
    source: VectorSource,
    store: VectorStore,
    facts: CollectionFacts,
    kind: Kind,
    share: float,
    queries: NDArray[np.float32],
    truth: ExactIndex,
    passing: Callable[[Filters, float], NDArray[np.int64]],
) -> dict[str, object]:
    times, recalls, short, left, hows = [], [], 0, [], set()
    for turn, query in enumerate(queries):
        filters = kind.make(share, turn)
        trace = Trace()
        start = time.perf_counter()
        found, _ = FilteredStore(store, facts, filters, trace).search(source, query[None], K)
        times.append(time.perf_counter() - start)
        allowed = passing(filters, share)
        exact, _ = truth.search(query[None], K, allowed=allowed)
        hits = set(found[0][found[0] >= 0].tolist())
        wanted = exact[0][exact[0] >= 0].tolist()
        short += len(hits) < min(K, len(allowed))
        left.append(len(allowed))
        if wanted:
            recalls.append(len(hits & set(wanted)) / len(wanted))
        hows.add(trace.steps[-1].detail.split(", ", 1)[-1].split(" and ")[0].rstrip("0123456789, "))
    return {
        "filter": kind.name,
        "share": share,
        "left": int(statistics.median(left)),
        "median_ms": round(1000 * statistics.median(times), 2),
        "worst_ms": round(1000 * max(times), 2),
        "recall@10": round(float(np.mean(recalls)), 4) if recalls else None,
        "queries_with_too_few_hits": short,
        "how": sorted(hows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="Where the library is or is to be made.")
    arguments = parser.parse_args()
    folder = big_library(arguments.count, arguments.folder)
    near = world().pictures(QUERIES, seed=99)
    far = world().captions(QUERIES, seed=98)
    with Catalog.open(folder, read_only=True) as catalog:
        store = VectorStore(folder / "vectors", ENCODER, near.shape[1])
        source = catalog.vector_source(ENCODER, Modality.IMAGE)
        truth = ExactIndex(near.shape[1])
        parts = list(source.read())
        truth.add(np.concatenate([ids for ids, _ in parts]), np.concatenate([rows for _, rows in parts]))
        del parts
        known = CollectionFacts(catalog, ENCODER, Modality.IMAGE)
        known.load()

        def passing(filters: Filters, share: float) -> NDArray[np.int64]:
            """What passes: by the catalog where that is quick, which the facts in memory must agree with."""
            ids = known.select(filters, 0).ids
            if share <= 1e-3:
                assert ids.tolist() == catalog.select_segments(ENCODER, Modality.IMAGE, filters).tolist()
            return ids

        for words, queries in (("facts not in memory", None), ("pictures", near), ("captions", far)):
            facts = CollectionFacts(catalog, ENCODER, Modality.IMAGE)
            if queries is not None:
                start = time.perf_counter()
                facts.load()
                print(f"facts of {arguments.count:,} photos read into memory in {time.perf_counter() - start:.1f} s")
            for kind in KINDS:
                for share in SHARES:
                    some = far[:3] if queries is None else queries
                    if queries is None:
                        facts = CollectionFacts(catalog, ENCODER, Modality.IMAGE)
                    row = {"queries": words, **measure(source, store, facts, kind, share, some, truth, passing)}
                    print(row, flush=True)
                    record("filtered_search", row)


if __name__ == "__main__":
    main()
