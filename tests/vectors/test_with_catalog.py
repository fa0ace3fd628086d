"""The store over a real catalog: what is committed is found, what is removed is not."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, Modality, NewItem, NewSegment, Watermark
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import MemorySource, brute_force, clustered

DIM = 24
LIBRARIES = Path(__file__).parents[1] / "storage" / "libraries"


def items(vectors: np.ndarray, root: int, name: str) -> list[NewItem]:
    return [item(vector, root, f"{name}-{number}.jpg") for number, vector in enumerate(vectors)]


def item(vector: np.ndarray, root: int, path: str, modality: Modality = Modality.IMAGE) -> NewItem:
    return NewItem(modality, (NewSegment(modality, {"test": vector}),), root, path)


@pytest.mark.parametrize("kind", ["auto", "ivf", "hnsw"])
def test_a_store_follows_its_catalog(kind: str, tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([EncoderRecord("test", DIM)])
        root = catalog.add_root(tmp_path).id
        first = catalog.write(items=items(clustered(500, DIM), root, "a"))
        source = catalog.vector_source("test", Modality.IMAGE)
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
        catalog.write(items=items(clustered(40, DIM, seed=1), root, "b"))
        check()
        records = catalog.segments(list(first[::5]))
        catalog.write(removed=[record.item.id for record in records.values()])
        assert store.pending(source) == 140
        check()
        assert store.fold(source).watermark == source.watermark()
        assert store.pending(source) == 0
        check()
    with Catalog.open(tmp_path, read_only=True) as catalog:
        source = catalog.vector_source("test", Modality.IMAGE)
        again = VectorStore(tmp_path / "vectors", "test", DIM)
        assert again.pending(source) == 0
        ids, vectors = source.fetch(np.array([first[3]]))
        assert again.search(source, vectors, 1)[0].tolist() == [ids.tolist()]
        assert len(again.sample(source)[0]) == 440


def test_collections_of_one_library_have_indexes_of_their_own(tmp_path: Path) -> None:
    with Catalog.open(tmp_path, create=True) as catalog:
        catalog.register_encoders([EncoderRecord("test", DIM)])
        root = catalog.add_root(tmp_path).id
        vectors = clustered(60, DIM)
        kinds = [Modality.IMAGE, Modality.TEXT, Modality.VIDEO]
        for n, vector in enumerate(vectors):
            catalog.write(items=[item(vector, root, str(n), kinds[n % 3])])
        sources = [catalog.vector_source("test", kind) for kind in kinds]
        stores = [VectorStore(tmp_path / "vectors", source.encoder_id, DIM) for source in sources]
        assert len({store.folder for store in stores}) == 3
        for store, source in zip(stores, sources, strict=True):
            store.fold(source)
        catalog.write(items=[item(vectors[0], root, "new", Modality.TEXT)])
        catalog.write(removed=[1])  # an image
        assert [store.pending(source) for store, source in zip(stores, sources, strict=True)] == [1, 1, 0]
        for number, (store, source) in enumerate(zip(stores, sources, strict=True)):
            ids = store.search(source, vectors[:2], 60)[0]
            expected = {id_ for id_ in range(2, 61) if (id_ - 1) % 3 == number} | ({61} if number == 1 else set())
            assert all({id_ for id_ in line.tolist() if id_ >= 0} == expected for line in ids)


def test_an_index_that_was_made_before_the_upgrade_of_its_catalog_is_still_good(tmp_path: Path) -> None:
    shutil.copy(LIBRARIES / "version-1.sqlite3", tmp_path / "catalog.sqlite3")
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as connection:
        name, dim, count, last = connection.execute(
            "SELECT name, dim, vector_count, last_segment_id FROM encoders"
        ).fetchone()
        (removals,) = connection.execute("SELECT max(id) FROM removals").fetchone()
        (catalog_id,) = connection.execute("SELECT value FROM meta WHERE key = 'library_id'").fetchone()
        rows = connection.execute("SELECT segment_id, embedding FROM vectors").fetchall()
    before = MemorySource(dim, name, catalog_id)
    before.vectors = {id_: np.frombuffer(blob, np.float16).astype(np.float32) for id_, blob in rows}
    before.log = [0] * removals
    assert before.watermark() == Watermark(last, removals, count)
    folded = VectorStore(tmp_path / "vectors", name, dim).fold(before)
    with Catalog.open(tmp_path) as catalog:
        source = catalog.vector_source(name, Modality.IMAGE)
        store = VectorStore(tmp_path / "vectors", source.encoder_id, dim)
        assert store.manifest == folded
        assert store.pending(source) == 0
        ids, vectors = source.fetch(before.ids)
        nearest = store.search(source, vectors, 1)[0][:, 0].tolist()
        assert nearest == [1, 2, 3, 4, 6, 1]  # the last is a copy of the first
        assert ids.tolist() == [1, 2, 3, 4, 6, 7]
