"""What reranking costs: milliseconds for 100 candidates, pairs a second, a cold query, and indexing with tokens.

    python benchmarks/reranking_speed.py

Photographs of VGA size are indexed with tokens and without, taking turns; queries run in one warm process, and in fresh
processes with ``--rerank`` and ``--no-rerank``, taking turns. Ratios and differences are taken round by round.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from photos import photo_folder, warm
from processes import mmsearch_command, run
from record import record

QUERIES = (
    "a dog on the beach",
    "two children playing with a red ball",
    "a man riding a bicycle down a hill",
    "people sitting around a table",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1500, help="photographs")
    parser.add_argument("--rounds", type=int, default=3, help="of indexing")
    parser.add_argument("--runs", type=int, default=12, help="cold queries of each kind")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    folder = photo_folder("vga", arguments.count)
    warm(folder)
    with tempfile.TemporaryDirectory(prefix="reranking-speed-") as scratch:
        library = Path(scratch) / "library"
        indexing = _indexing(folder, library, arguments.rounds)
        figures = {
            "photos": arguments.count,
            **indexing,
            **_warm(library),
            **_cold(library, arguments.runs),
        }
    record("reranking_speed", figures, keep=not arguments.dry)


def _indexing(folder: Path, library: Path, rounds: int) -> dict[str, object]:
    """Seconds with tokens over those without; the last library, with tokens, stays."""
    ratios, bare, kept = [], [], []
    for number in range(rounds):
        # Whichever comes first finds the machine in another state: they change places.
        took: dict[str, float] = {}
        for option in ("--no-tokens", "--tokens") if number % 2 == 0 else ("--tokens", "--no-tokens"):
            place = library if option == "--tokens" else library.with_name("bare")
            shutil.rmtree(place, ignore_errors=True)
            took[option] = run([mmsearch_command(), "index", folder, "--library", place, option]).wall_s
        bare.append(took["--no-tokens"])
        kept.append(took["--tokens"])
        ratios.append(kept[-1] / bare[-1])
        print(f"indexing round {number + 1}: {bare[-1]:.2f} s, with tokens {kept[-1]:.2f} s", flush=True)
    status = json.loads(run([mmsearch_command(), "status", "--library", library, "--json"]).stdout)
    (tokens,) = status["tokens"]
    return {
        "index_s": [round(value, 2) for value in bare],
        "index_with_tokens_s": [round(value, 2) for value in kept],
        "index_slower_by": round(statistics.median(ratios) - 1, 3),
        "bytes_an_image": round(tokens["size_bytes"] / tokens["rows"]),
    }


def _warm(library: Path) -> dict[str, object]:
    """In one process: a search with and without, the reranker alone, and pairs a second."""
    from mmsearch import SearchEngine
    from mmsearch.encoders import load_encoder
    from mmsearch.rerank import load_reranker
    from mmsearch.rerank.token_store import TokenStores
    from mmsearch.types import Modality

    plain, reranked = [], []
    with SearchEngine.open(library) as engine:
        for number in range(44):
            query = QUERIES[number % len(QUERIES)]
            took = []
            for rerank in (False, True):
                started = time.perf_counter()
                hits = engine.search(query, 10, rerank=rerank)
                took.append(1000 * (time.perf_counter() - started))
            assert hits[0].stage == "rerank"
            if number >= 4:
                plain.append(took[0])
                reranked.append(took[1])
        encoder = load_encoder("mini")
        store = TokenStores(library / "tokens", engine.catalog.library_id)(encoder, Modality.IMAGE)
        ids = store.ids()
        there, tokens = store.read(ids[:1000])
    assert there.all()
    reranker = load_reranker(None, encoder)
    hundred = []
    for number in range(60):
        query = QUERIES[number % len(QUERIES)]
        reranker._words._known.clear()  # type: ignore[union-attr]  # words are read anew, as for a new query
        started = time.perf_counter()
        reranker.logits(tokens[:100], [query])  # type: ignore[union-attr]
        hundred.append(1000 * (time.perf_counter() - started))
    started, pairs = time.perf_counter(), 0
    while time.perf_counter() - started < 5:
        reranker.logits(tokens, [QUERIES[0]])  # type: ignore[union-attr]
        pairs += len(tokens)
    return {
        "search_ms": round(statistics.median(plain), 1),
        "search_reranked_ms": round(statistics.median(reranked), 1),
        "rerank_adds_warm_ms": round(statistics.median(np.subtract(reranked, plain)), 1),
        "rerank_100_ms": round(statistics.median(hundred[4:]), 1),
        "pairs_per_s": round(pairs / (time.perf_counter() - started)),
    }


def _cold(library: Path, runs: int) -> dict[str, object]:
    """Fresh processes: what reranking adds."""
    took: dict[str, list[float]] = {"--no-rerank": [], "--rerank": []}
    for number in range(runs + 1):
        for option, times in took.items():
            query = QUERIES[number % len(QUERIES)]
            done = run([mmsearch_command(), "query", query, "--library", library, "--json", "--all", option])
            if number:  # the first run of each kind is left out
                times.append(1000 * done.wall_s)
    plain, reranked = took["--no-rerank"], took["--rerank"]
    return {
        "cold_query_ms": round(statistics.median(plain)),
        "cold_query_reranked_ms": round(statistics.median(reranked)),
        "rerank_adds_cold_ms": round(statistics.median(np.subtract(reranked, plain))),
    }


if __name__ == "__main__":
    main()
