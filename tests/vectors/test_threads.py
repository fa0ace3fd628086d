"""One store, many threads that search, and something that changes the catalog or the files meanwhile."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, Modality, NewItem, NewSegment
from mmsearch.vectors.blas import one_thread
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import clustered

DIM = 16
ADDING = """
import sys
from pathlib import Path
from mmsearch.storage.catalog import Catalog
from mmsearch.vectors.store import VectorStore
from mmsearch.types import Modality
from tests.vectors.test_threads import DIM, items
library = Path(sys.argv[1])
with Catalog.open(library) as catalog:
    store = VectorStore(library / "vectors", "test", DIM)
    source = catalog.vector_source("test", Modality.IMAGE)
    for number in range(10):
        catalog.write(items=items(100, 100 + number), removed=range(1 + 10 * number, 6 + 10 * number))
        if number % 4 == 3:
            store.fold(source, kind="ivf" if number == 7 else "auto")
"""


def items(count: int, seed: int) -> list[NewItem]:
    return [
        NewItem(Modality.IMAGE, (NewSegment(Modality.IMAGE, {"test": vector}),), key=f"{seed}-{row}")
        for row, vector in enumerate(clustered(count, DIM, seed=seed))
    ]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_threads_find_what_one_finds_while_another_process_adds_removes_and_folds(kind: str, tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([EncoderRecord("test", DIM)])
        catalog.write(items=items(2000, 1))
        store = VectorStore(tmp_path / "vectors", "test", DIM)
        source = catalog.vector_source("test", Modality.IMAGE)
        store.fold(source, kind=kind)
        queries = clustered(300, DIM, seed=9)
        stopped = threading.Event()

        def ask(number: int) -> int:
            """Searches; every hit is a vector of the catalog as it was at some moment, in falling order."""
            random, searches = np.random.default_rng(number), 0
            while not stopped.is_set() or searches < 5:
                some = queries[: random.choice([1, 20, 300])]
                ids, scores = store.search(source, some, 5)
                assert (ids > 0).all() and (np.diff(scores, axis=1) <= 0).all()
                assert all(len(set(line)) == 5 for line in ids.tolist())
                searches += 1
            return searches

        with ThreadPoolExecutor(4) as threads:
            asking = [threads.submit(ask, number) for number in range(4)]
            done = subprocess.run(
                [sys.executable, "-c", ADDING, str(tmp_path)], cwd=Path(__file__).parents[2], check=False
            )
            stopped.set()
            assert done.returncode == 0
            assert all(future.result() >= 5 for future in asking)
        ids, scores = store.search(source, queries, 5)
        again = VectorStore(tmp_path / "other", "test", DIM).search(source, queries, 5)
        assert source.watermark().count == 2000 + 1000 - 50
        assert (ids == again[0]).mean() > 0.95
        # Of those that both found the scores are equal to the last bit.
        assert np.array_equal(scores[ids == again[0]], again[1][ids == again[0]])


def test_the_blas_gets_its_threads_back_when_the_last_has_left() -> None:
    from threadpoolctl import threadpool_info

    def held() -> list[int]:
        # Where a BLAS has OpenMP's threads, each thread of ours sees a limit of its own.
        return [pool["num_threads"] for pool in threadpool_info() if pool.get("threading_layer") == "pthreads"]

    before, inside, leave = held(), threading.Barrier(3), threading.Barrier(3)

    def work() -> None:
        with one_thread():
            inside.wait()
            leave.wait()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert set(held()) <= {1}
    leave.wait()
    for thread in threads:
        thread.join()
    assert held() == before
