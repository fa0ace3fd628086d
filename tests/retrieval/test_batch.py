"""Many queries, vectors of many items, and what is like one: arrays in, arrays out."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import ManyHits, SearchEngine
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import QueryError, UsageError
from mmsearch.filters import Filters, Range
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Modality
from tests.retrieval.encoders import Describing, Seeing
from tests.vectors.worlds import clustered

DIM = 32
COUNT = 3000
VECTORS = clustered(COUNT, DIM)
WORDS = ["apples and pears", "trains", "a red car", "snow on mountains", "red apples"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    photos = folder / "photos"
    photos.mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (30, 20), colour).save(photos / f"{colour}.png")
    with SearchEngine(Catalog.open(folder / "lib", create=True), [HashingEncoder(DIM)]) as engine:
        engine.add({"key": f"v{n}", "vector": row, "metadata": {"even": n % 2 == 0}} for n, row in enumerate(VECTORS))
        engine.add({"key": f"t{n}", "text": text} for n, text in enumerate(WORDS))
        engine.add([{"key": "long", "text": "apples. " * 900}])
        engine.index([photos])
    return folder


@pytest.fixture
def engine(library: Path) -> Iterator[SearchEngine]:
    with SearchEngine(Catalog.open(library / "lib", read_only=True), [HashingEncoder(DIM)]) as engine:
        yield engine


def test_many_queries_get_what_each_would_get_alone(engine: SearchEngine) -> None:
    queries = clustered(400, DIM, seed=3)
    many = engine.search_many(queries, 7, modality="image")
    assert many.items.shape == many.segments.shape == many.scores.shape == many.keys.shape == (400, 7)
    assert many.scores.dtype == np.float32 and len(many) == 400
    for row in range(0, 400, 13):
        alone = engine.search_many(queries[row : row + 1], 7, modality="image")
        assert np.array_equal(alone.items[0], many.items[row]) and np.array_equal(alone.scores[0], many.scores[row])


def test_the_nearest_are_those_of_an_exhaustive_comparison(engine: SearchEngine) -> None:
    queries = clustered(50, DIM, seed=4)
    found = engine.search_many(queries, 10, modality="image", filters=Filters.of(metadata={"even": True}))
    some = np.arange(0, COUNT, 2)
    truth = some[np.argsort(-(queries @ VECTORS[some].T), axis=1)[:, :10]]
    assert (
        np.mean([[f"v{n}" for n in line] == keys.tolist() for line, keys in zip(truth, found.keys, strict=True)]) > 0.9
    )


def test_an_item_with_many_segments_takes_one_place(engine: SearchEngine) -> None:
    found = engine.search_many(["apples"], 6, modality="text")
    assert found.keys[0].tolist()[:3] == ["long", "t4", "t0"]
    assert set(found.keys[0]) == {"long", *(f"t{n}" for n in range(5))}


def test_places_without_a_hit_are_empty(engine: SearchEngine) -> None:
    found = engine.search_many(["apples", "trains"], 9, modality="text")
    assert found.found.sum(axis=1).tolist() == [6, 6]
    assert (found.items[:, 6:] == -1).all() and (found.segments[:, 6:] == -1).all()
    assert np.isneginf(found.scores[:, 6:]).all() and (found.keys[:, 6:] == None).all()  # noqa: E711
    assert engine.search_many(["apples"], 3, modality="video").found.sum() == 0
    assert engine.search_many(np.empty((0, DIM)), 3).items.shape == (0, 3)
    assert engine.search_many([], 3).items.shape == (0, 3)


def test_without_a_kind_all_are_searched(engine: SearchEngine) -> None:
    query = engine.vectors(["v5"])
    assert engine.search_many(query, 3).keys[0, 0] == "v5"
    assert engine.search_many(["trains"], 1).keys[0, 0] == "t1"
    assert engine.search_many(["trains"], 5, filters="type:text").keys[0].tolist()[0] == "t1"


def test_queries_may_be_of_any_length_and_real_type(engine: SearchEngine) -> None:
    query = VECTORS[7:9]
    keys = engine.search_many(query, 3).keys
    assert np.array_equal(engine.search_many(query.astype(np.float64) * 1000, 3).keys, keys)
    assert np.array_equal(engine.search_many((query * 100).astype(np.int8), 1).keys, keys[:, :1])


@pytest.mark.parametrize(
    "queries",
    [
        np.ones((2, DIM + 1)),
        np.ones(DIM),
        np.full((1, DIM), np.nan),
        np.zeros((1, DIM)),
        np.ones((1, DIM), complex),
        "apples",
        5,
        ["apples", Image.new("RGB", (4, 4))],
        [b"no picture"],
    ],
    ids=lambda queries: type(queries).__name__,
)
def test_queries_that_make_no_sense_are_refused(queries: object, engine: SearchEngine) -> None:
    with pytest.raises(QueryError):
        engine.search_many(queries, 3)  # type: ignore[arg-type]


def test_numbers_and_names_that_make_no_sense_are_refused(engine: SearchEngine) -> None:
    for wrong in (
        lambda: engine.search_many(["a"], 0),
        lambda: engine.search_many(["a"], modality="smell"),
        lambda: engine.search_many(["a"], model="other"),
        lambda: engine.search_many(["a"], filters="apples"),
        lambda: engine.similar("v1", 0),
        lambda: engine.similar("nobody"),
        lambda: engine.vectors("v1"),
        lambda: engine.vectors(["v1"], missing="skip"),  # type: ignore[arg-type]
        lambda: engine.embed(),
        lambda: engine.embed(texts=["a"], images=[]),
        lambda: engine.embed(texts="a"),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_hits_are_pickled_with_their_keys(engine: SearchEngine) -> None:
    found: ManyHits = pickle.loads(pickle.dumps(engine.search_many(VECTORS[:3], 4)))
    assert found.keys[:, 0].tolist() == ["v0", "v1", "v2"]
    (hit, *_) = pickle.loads(pickle.dumps(engine.search("apples", k=3, min_relevance=0)))
    assert hit == engine.search("apples", k=1, min_relevance=0)[0]


def test_vectors_come_in_the_order_of_their_keys_also_of_files(engine: SearchEngine, library: Path) -> None:
    photo = library / "photos" / "red.png"
    rows = engine.vectors(["v9", str(photo), "v2", "v9"])
    assert np.allclose(rows[[0, 2, 3]], VECTORS[[9, 2, 9]], atol=1e-3)
    assert rows[1] @ engine.embed(images=[photo])[0] > 0.999
    assert np.array_equal(engine.vectors([photo]), rows[1:2])
    assert engine.vectors([]).shape == (0, DIM)
    with pytest.raises(UsageError, match="'x', 'y', 'z' and 2 more"):
        engine.vectors(["v1", "x", "y", "z", "p", "q"])
    rows = engine.vectors(["x", "v1"], missing="nan")
    assert np.isnan(rows[0]).all() and np.isfinite(rows[1]).all()


def test_an_item_of_many_segments_has_the_direction_of_their_mean(engine: SearchEngine) -> None:
    (item,) = engine.catalog.ids_of_keys(["long"])
    ids = [segment.id for segment in engine.catalog.segments_of(int(item))]
    _, rows = engine.catalog.vectors("hashing", ids)
    mean = rows.sum(axis=0)
    assert len(ids) > 3
    assert np.allclose(engine.vectors(["long"])[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_what_is_like_an_item_comes_without_itself(engine: SearchEngine) -> None:
    hits = engine.similar("v5", 6, filters="type:image")
    order = np.argsort(-(VECTORS @ VECTORS[5]))
    assert [hit.key for hit in hits][:3] == [f"v{n}" for n in order[1:4]]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6]
    assert {hit.metadata["even"] for hit in engine.similar("v5", 4, filters=Filters.of(metadata={"even": False}))} == {
        False
    }


def test_embedding_is_that_of_queries(engine: SearchEngine) -> None:
    encoder = HashingEncoder(DIM)
    assert np.array_equal(engine.embed(texts=["a b", "c"]), encoder.encode_texts(["a b", "c"]))
    picture = Image.new("RGB", (8, 8), "red")
    array = np.asarray(picture)
    assert np.array_equal(engine.embed(images=[picture]), engine.embed(images=[array]))
    assert engine.embed(texts=[]).shape == engine.embed(images=[]).shape == engine.embed(sounds=[]).shape == (0, DIM)
    assert len(engine.embed(images=[picture] * 150)) == 150


def test_threads_share_an_engine(engine: SearchEngine) -> None:
    queries = clustered(300, DIM, seed=5)
    truth = engine.search_many(queries, 5)

    def ask(number: int) -> bool:
        some = slice(number, number + 1 + 37 * (number % 8))
        found = engine.search_many(queries[some], 5)
        return np.array_equal(found.items, truth.items[some]) and np.array_equal(found.keys, truth.keys[some])

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(ask, range(60)))


def test_of_several_models_one_is_named(tmp_path: Path) -> None:
    encoders = [Seeing(), Describing()]
    with SearchEngine(Catalog.open(tmp_path, create=True), encoders) as engine:
        summary = engine.add(
            [
                {"key": "both", "vector": {"seeing": np.ones(64), "describing": np.ones(48)}},
                {"key": "one", "vector": {"describing": np.arange(48)}},
                {"key": "none", "vector": np.ones(64)},
            ]
        )
        assert summary.new == 2 and "which" in summary.failed[0].reason
        assert engine.vectors(["both"]).shape == (1, 64)
        assert engine.vectors(["both", "one"], model="describing").shape == (2, 48)
        with pytest.raises(UsageError, match="'one'"):
            engine.vectors(["one"], model="seeing")
        assert engine.search_many(np.ones((1, 48)), 2, model="describing").keys[0].tolist() == ["both", "one"]


def test_who_filters_again_and_again_shares_the_facts_with_all_others(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.retrieval.filtering._FEW", 0)
    monkeypatch.setattr("mmsearch.retrieval.filtering._SECONDS_PER_FACT", 0.0)  # any time is worth it
    filters = Filters(size_bytes=Range(0))
    vectors = np.eye(2, engine.encoders[0].dim, dtype=np.float32)
    before = [engine.search_many(vectors, 3, modality="image", filters=filters) for _ in range(2)]
    assert engine.arrays().facts(engine.encoders[0].id, Modality.IMAGE).in_memory(filters)
    after = engine.search_many(vectors, 3, modality="image", filters=filters)
    assert np.array_equal(after.items, before[0].items) and np.array_equal(after.scores, before[0].scores)
