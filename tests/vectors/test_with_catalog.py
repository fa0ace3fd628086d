"""The store over a real catalog: what is committed is found, what is removed is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality, NewItem, NewSegment
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import brute_force, clustered

DIM = 24


def items(vectors: np.ndarray, root: int, name: str) -> list[NewItem]:
    return [
        NewItem(Modality.IMAGE, (NewSegment(vector),), root_id=root, path=f"{name}-{number}.jpg")
        for number, vector in enumerate(vectors)
    ]


@pytest.mark.parametrize("kind", ["auto", "ivf", "hnsw"])
def test_a_store_follows_its_catalog(kind: str, tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoder("test", DIM)
        root = catalog.add_root(tmp_path).id
        first = catalog.write("test", items=items(clustered(500, DIM), root, "a"))
        source = catalog.vector_source("test")
        store = VectorStore(tmp_path / "vectors", "test", DIM)
        store.fold(source, kind=kind)

        def check(k: int = 30) -> None:
            ids, vectors = source.fetch(np.arange(5000))
            queries = clustered(3, DIM, seed=9)
            found, scores = store.search(source, queries, k, allowed=ids[::2])
            for line, values, query in zip(found, scores, queries, strict=True):
                true_ids, true_scores = brute_force(ids[::2], vectors[::2], query, k)
                assert line.tolist() == true_ids.tolist()
                assert np.allclose(values, true_scores, atol=1e-6)
            everything = store.search(source, queries, len(ids))[0]
            assert (np.sort(everything, axis=1) == ids).all()

        check()
        catalog.write("test", items=items(clustered(40, DIM, seed=1), root, "b"))
        check()
        records = catalog.segments(list(first[::5]))
        catalog.write("test", removed=[record.item.id for record in records.values()])
        assert store.pending(source) == 140
        check()
        assert store.fold(source).watermark == source.watermark()
        assert store.pending(source) == 0
        check()
    with Catalog.open(tmp_path, read_only=True) as catalog:
        source = catalog.vector_source("test")
        again = VectorStore(tmp_path / "vectors", "test", DIM)
        assert again.pending(source) == 0
        ids, vectors = source.fetch(np.array([first[3]]))
        assert again.search(source, vectors, 1)[0].tolist() == [ids.tolist()]
        assert len(again.sample(source)[0]) == 440
