"""Relevance in a library: the same for a hit however many are shown, and told of the whole answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.sync import SyncOptions
from mmsearch import Hit, SearchEngine
from mmsearch.retrieval.ranking import about_anything


@pytest.fixture(scope="module")
def engine(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    folder = tmp_path_factory.mktemp("library")
    with SearchEngine.open(folder, model="mini", create=True, read_only=False) as engine:
        engine.index([samples], options=SyncOptions(captions=False))
        yield engine


def told(hits: list[Hit]) -> list[tuple[int, float]]:
    return [(hit.item_id, round(hit.relevance, 6)) for hit in hits]


@pytest.mark.parametrize("rerank", [None, False])
@pytest.mark.parametrize("query", ["a sleeping cat", "dog", ["shepherd.jpg", "+", "snow"], ["dog", "-", "grass"]])
def test_relevance_does_not_depend_on_how_many_are_shown(
    engine: SearchEngine, samples: Path, query: str | list[str], rerank: bool | None
) -> None:
    if isinstance(query, list) and query[0].endswith(".jpg"):
        query = [str(samples / query[0]), *query[1:]]
    many = told(engine.search(query, k=25, rerank=rerank, min_relevance=0, duplicates="show"))
    for k in (1, 3, 10):
        assert told(engine.search(query, k=k, rerank=rerank, min_relevance=0, duplicates="show")) == many[:k]


@pytest.mark.parametrize("rerank", [None, False])
def test_relevance_has_the_order_of_the_hits(engine: SearchEngine, rerank: bool | None) -> None:
    relevance = [hit.relevance for hit in engine.search("an owl on a branch", k=25, rerank=rerank, min_relevance=0)]
    assert relevance == sorted(relevance, reverse=True)


@pytest.mark.parametrize(
    "query", ["Interest rates will remain unchanged until the next quarter.", "the theorem follows by induction"]
)
def test_what_the_library_does_not_hold_finds_nothing(engine: SearchEngine, query: str) -> None:
    assert engine.search(query) == []
    assert len(engine.search(query, k=5, min_relevance=0)) == 5


@pytest.mark.parametrize(
    ("query", "photo"), [("a sleeping cat", "cat.jpg"), ("an owl", "owl.jpg"), ("flower", "dandelion.jpg")]
)
def test_what_the_library_holds_is_found_and_the_rest_cut_off(engine: SearchEngine, query: str, photo: str) -> None:
    names = [hit.path.name for hit in engine.search(query, k=30) if hit.path is not None]
    assert photo in names and len(names) < 20


def test_a_term_to_avoid_leaves_a_list(engine: SearchEngine) -> None:
    hits = engine.search(["animal", "-", "cat"], k=10, min_relevance=0)
    assert len(hits) == 10
    assert not {"cat.jpg", "kitten.jpg"} & {hit.path.name for hit in hits[:3] if hit.path is not None}


def test_a_photo_is_itself_for_sure(engine: SearchEngine, samples: Path) -> None:
    first = engine.search(str(samples / "owl.jpg"), k=1)[0]
    assert first.path is not None and first.path.name == "owl.jpg" and first.relevance > 0.999


def test_no_lists_are_about_nothing() -> None:
    assert about_anything([]) == 0 and about_anything([[]]) == 0
