"""The approximate indexes find what exact search finds, at several sizes, for queries of both kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import MemorySource, clustered, recall, unit

DIM = 64


@pytest.mark.parametrize(
    ("count", "kind"), [(2_000, "ivf"), (2_000, "hnsw"), (20_000, "ivf"), (20_000, "pq"), (60_000, "ivf")]
)
def test_recall_at_ten_against_exact_search(count: int, kind: str, tmp_path: Path) -> None:
    source = MemorySource(DIM)
    vectors = clustered(count, DIM, clusters=300)
    ids = source.add(vectors)
    store, oracle = VectorStore(tmp_path, "test", DIM), ExactIndex(DIM)
    oracle.add(ids, vectors)
    manifest = store.fold(source, kind=kind)
    assert dict(manifest.recall)["near"] >= 0.96
    pictures = clustered(200, DIM, seed=1, clusters=300)
    # A caption shares half its direction with one picture and some with another, and lies beside all of them.
    random = np.random.default_rng(0)
    mixed = vectors[random.integers(0, count, 200)] + 0.5 * vectors[random.integers(0, count, 200)]
    captions = unit(mixed + 1.0 * unit(random.standard_normal((200, DIM))) + 0.8 * unit(np.ones((1, DIM))))
    for queries in (pictures, captions):
        truth = oracle.search(queries, 10)[0]
        assert recall(store.search(source, queries, 10)[0], truth) >= 0.95
        alone = np.concatenate([store.search(source, query[None], 10)[0] for query in queries[:50]])
        assert recall(alone, truth[:50]) >= 0.95
    some = ids[:: max(1, count // 500)]
    assert (store.search(source, vectors[some - 1], 1)[0][:, 0] == some).mean() >= 0.995
