"""`Recommender.recommend_many`: ten thousand users with 50 events each over a million items, and equality.

Each user draws from two or three scenes of the world's pictures (found by searching for them), with times over a year
and a few dislikes. Reading the items into memory is measured apart: a process does it once. Some users are asked for
again one by one and must get the same items and scores.

    python benchmarks/recommend_many.py
    python benchmarks/recommend_many.py --users 1000 --no-record
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from time import perf_counter, process_time
from typing import Any

import numpy as np
from big_library import SEED, big_library, world
from record import record

from mmsearch import SearchEngine
from mmsearch.recommend import Event, Histories, Recommender

K = 10
EVENTS = 50
YEAR_S = 365 * 86400.0


def made_histories(engine: SearchEngine, users: int) -> Histories:
    """What users of up to three tastes did."""
    random = np.random.default_rng(SEED)
    centres = world().pictures(3 * users, seed=31)
    near = engine.search_many(centres, 30).items.reshape(users, 3, 30)
    names, rows = np.unique(near, return_inverse=True)
    keys = engine.catalog.keys_of_items(names.tolist())
    table = np.array([keys[int(id_)] for id_ in names], dtype=object)[rows.reshape(near.shape)]
    tastes = random.integers(2, 4, users)
    chosen = random.integers(0, tastes[:, None], (users, EVENTS))
    places = random.integers(0, 30, (users, EVENTS))
    events = table[np.arange(users)[:, None], chosen, places]
    weights = np.where(random.random((users, EVENTS)) < 0.1, -1.0, random.integers(1, 4, (users, EVENTS)))
    times = random.uniform(0, YEAR_S, (users, EVENTS))
    owners = np.repeat(np.arange(users), EVENTS).tolist()
    return Histories.from_columns(owners, events.ravel().tolist(), weights.ravel(), times.ravel())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="items")
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--alone", type=int, default=100, help="users who are asked for alone as well")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-record", action="store_true", help="print the figures only")
    options = parser.parse_args()
    library = big_library(options.count)
    with SearchEngine.open(library) as engine:
        histories = made_histories(engine, options.users)
    with SearchEngine.open(library) as engine:
        recommender = Recommender(engine, half_life=timedelta(days=90))
        started = perf_counter()
        recommender.recommend_many([[histories.keys[0]]], K)
        figures: dict[str, Any] = {"prepare_s": round(perf_counter() - started, 2), "batch_s": [], "batch_cpu_s": []}
        for _ in range(options.rounds):
            started, worked = perf_counter(), process_time()
            hits = recommender.recommend_many(histories, K)
            figures["batch_s"].append(round(perf_counter() - started, 2))
            figures["batch_cpu_s"].append(round(process_time() - worked, 2))
        started = perf_counter()
        assert all(key is not None for key in hits.keys.ravel())
        figures["keys_s"] = round(perf_counter() - started, 2)
        events: list[list[Event]] = [[] for _ in range(options.users)]
        columns = (histories.user.tolist(), histories.keys, histories.weights.tolist(), histories.times.tolist())
        for user, key, weight, time in zip(*columns, strict=True):
            events[user].append(Event(key, weight, time))
        some = range(0, options.users, max(1, options.users // options.alone))
        started = perf_counter()
        alone = [recommender.recommend_many([events[user]], K) for user in some]
        figures["alone_ms_per_user"] = round(1000 * (perf_counter() - started) / len(alone), 2)
        figures["asked_alone"] = len(alone)
        figures["equal_alone"] = sum(
            np.array_equal(one.items[0], hits.items[user]) and np.array_equal(one.scores[0], hits.scores[user])
            for one, user in zip(alone, some, strict=True)
        )
    described = {"items": options.count, "users": options.users, "events": EVENTS, "k": K, **figures}
    record("recommend_many", described, keep=not options.no_record)


if __name__ == "__main__":
    main()
