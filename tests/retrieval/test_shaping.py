"""Ranked hits become pages, without repetition where that is wanted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mmsearch import SearchEngine
from mmsearch.errors import UsageError
from mmsearch.rerank.diversity import leaders, near_duplicate_cosine
from mmsearch.retrieval.likeness import Likeness
from mmsearch.retrieval.shaping import BLOCK, shape
from mmsearch.types import Hit, Modality

WORDS = ("dog", "a red car", "sunset", "two people", "2041")


class Alike:
    """Likeness of hits whose vectors are known by their item's id."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def vectors(self, hits: list[Hit]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        return self._vectors[[hit.item_id for hit in hits]], np.zeros(len(hits), np.int64)

    def leaders(self, hits: list[Hit]) -> NDArray[np.int64]:
        return leaders(self.vectors(hits)[0], 0.95)

    def groups(self, hits: list[Hit], group_by: str) -> list[str]:
        return [f"{group_by} {hit.item_id % 3}" for hit in hits]


def ranked_list(n: int, seed: int) -> tuple[list[Hit], Alike]:
    """Hits of which many are alike, best first."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 4), 8))
    vectors = centres[rng.integers(len(centres), size=n)] + 0.1 * rng.standard_normal((n, 8))
    vectors = np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)
    relevance = np.sort(rng.random(n))[::-1]
    hits = [
        Hit(0, float(score), float(score), "vector", row, row, Modality.IMAGE) for row, score in enumerate(relevance)
    ]
    return hits, Alike(vectors)


SHAPES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"diverse": st.sampled_from([None, 0.0, 0.3, 1.0]), "duplicates": st.sampled_from(["fold", "show"])}
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 250), st.integers(0, 1000), st.integers(17, 120), SHAPES)
def test_pages_joined_are_one_long_page(n: int, seed: int, k: int, form: dict[str, Any]) -> None:
    hits, likeness = ranked_list(n, seed)
    whole = shape(lambda _: hits, max(n, 1), likeness, **form)  # type: ignore[arg-type]
    pages: list[Hit] = []
    for offset in range(0, n + 1, k):
        pages += shape(lambda depth: hits[:depth], k, likeness, offset=offset, **form)  # type: ignore[arg-type]
    assert [(hit.rank, hit.item_id) for hit in pages] == [(hit.rank, hit.item_id) for hit in whole]
    assert [hit.rank for hit in whole] == list(range(1, len(whole) + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 250), st.integers(0, 1000), SHAPES)
def test_every_hit_is_shown_or_folded_once(n: int, seed: int, form: dict[str, Any]) -> None:
    hits, likeness = ranked_list(n, seed)
    shown = shape(lambda _: hits, n, likeness, **form)  # type: ignore[arg-type]
    found = [hit.item_id for best in shown for hit in (best, *best.duplicates)]
    assert sorted(found) == list(range(n))
    for best in shown:
        assert form["duplicates"] == "fold" or not best.duplicates
        for copy in best.duplicates:
            assert copy.rank == best.rank and copy.relevance <= best.relevance


def test_folding_looks_deeper_until_there_are_enough() -> None:
    vectors = np.eye(300, dtype=np.float32)
    vectors[: BLOCK + 50] = vectors[0]  # the first hundred and fifty are one picture
    hits = [Hit(0, 1 - row / 300, 1 - row / 300, "vector", row, row, Modality.IMAGE) for row in range(300)]
    depths: list[int] = []

    def ranked(depth: int) -> list[Hit]:
        depths.append(depth)
        return hits[:depth]

    found = shape(ranked, 10, Alike(vectors))  # type: ignore[arg-type]
    assert [hit.item_id for hit in found] == [0, *range(BLOCK + 50, BLOCK + 59)]
    assert len(found[0].duplicates) == BLOCK + 49
    assert depths == [20, 40, 80, 160]


def test_groups_come_in_the_order_of_their_best_hits_and_keep_ranks() -> None:
    hits, likeness = ranked_list(9, 3)
    plain = shape(lambda _: hits, 7, likeness, duplicates="show")  # type: ignore[arg-type]
    grouped = shape(lambda _: hits, 7, likeness, duplicates="show", group_by="day")  # type: ignore[arg-type]
    assert [(hit.group, hit.rank) for hit in grouped] == [
        ("day 0", 1), ("day 0", 4), ("day 0", 7), ("day 1", 2), ("day 1", 5), ("day 2", 3), ("day 2", 6),
    ]  # fmt: skip
    assert sorted((replace(hit, group=None) for hit in grouped), key=lambda hit: hit.rank) == plain
    assert shape(lambda _: hits, 7, likeness, duplicates="show", group_by="item") == plain  # type: ignore[arg-type]


def test_diversity_keeps_the_best_hit_and_moves_what_repeats_it() -> None:
    vectors = np.array([[1, 0], [0.99, 0.14], [0, 1]], np.float32)
    hits = [Hit(0, 1, relevance, "vector", row, row, Modality.IMAGE) for row, relevance in enumerate((0.9, 0.8, 0.7))]
    found = shape(lambda _: hits, 3, Alike(vectors), diverse=0.5, duplicates="show")  # type: ignore[arg-type]
    assert [hit.item_id for hit in found] == [0, 2, 1]


def test_what_is_not_worth_showing_does_not_rise_for_being_different() -> None:
    vectors = np.array([[1, 0], [0.9, 0.44], [0, 1]], np.float32)
    hits = [Hit(0, 1, relevance, "vector", row, row, Modality.IMAGE) for row, relevance in enumerate((0.99, 0.3, 0.0))]
    found = shape(lambda _: hits, 3, Alike(vectors), diverse=0.9, duplicates="show")  # type: ignore[arg-type]
    assert [hit.item_id for hit in found] == [0, 1, 2]


@pytest.mark.parametrize(
    "wrong",
    [{"k": 0}, {"offset": -1}, {"diverse": 1.5}, {"group_by": "colour"}, {"duplicates": "drop"}],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    hits, likeness = ranked_list(3, 0)
    with pytest.raises(UsageError):
        shape(lambda _: hits, wrong.pop("k", 1), likeness, **wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    """A library of 150 photos of two folders and three days: some are close to others, and ten are there twice."""
    folder = tmp_path_factory.mktemp("photos").resolve()
    rng = np.random.default_rng(7)
    for place in ("sea", "town"):
        (folder / place).mkdir()
    centres = rng.integers(0, 256, (50, 8, 8, 3)).astype(float)
    for number in range(140):
        pixels = centres[number % 50] + rng.normal(0, 4 if number % 2 else 60, (8, 8, 3))
        file = folder / ("sea", "town")[number % 2] / f"{number:03}.png"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).resize((16, 16), Image.Resampling.NEAREST).save(file)
        day = datetime(2023, 5 + number % 3, 10).timestamp()
        os.utime(file, (day, day))
        if number < 10:
            shutil.copy2(file, folder / "town" / f"again {number}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_TEST_ENCODERS", "1")
        library = tmp_path_factory.mktemp("library")
        with SearchEngine.open(library, model="hashing", create=True, read_only=False) as engine:
            assert engine.index([folder]).new >= 140
            yield engine


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(WORDS), st.integers(23, 80), SHAPES, st.sampled_from([None, "type:image", "in:sea"]))
def test_pages_of_a_library_joined_are_one_long_page(
    engine: SearchEngine, words: str, k: int, form: dict[str, Any], filters: str | None
) -> None:
    form = form | {"min_relevance": 0.0, "filters": filters}
    whole = engine.search(words, 150, **form)
    pages: list[Hit] = []
    for offset in range(0, 151, k):
        pages += engine.search(words, k, offset=offset, **form)
    assert [(hit.rank, hit.item_id) for hit in pages] == [(hit.rank, hit.item_id) for hit in whole]


def test_hits_that_look_the_same_are_folded_under_the_best(engine: SearchEngine) -> None:
    shown = engine.search("dog", 200, min_relevance=0, duplicates="show")
    folded = engine.search("dog", 200, min_relevance=0)
    assert len(shown) == 150
    assert sum(1 + len(hit.duplicates) for hit in folded) == 150
    cosine = near_duplicate_cosine("hashing")
    likeness = Likeness(engine.catalog, engine.encoders)
    vectors, _ = likeness.vectors(folded)
    close = vectors @ vectors.T - 2 * np.eye(len(vectors))
    assert close.max() < cosine
    for hit in folded:
        (own,), copies = likeness.vectors([hit])[0], likeness.vectors(hit.duplicates)[0]
        assert (copies @ own >= cosine - 1e-5).all()


def test_hits_are_grouped_by_month_day_and_folder(engine: SearchEngine) -> None:
    months = engine.search("dog", 60, min_relevance=0, group_by="month")
    assert {hit.group for hit in months} == {"2023-05", "2023-06", "2023-07"}
    days = engine.search("dog", 60, min_relevance=0, group_by="day")
    assert {hit.group for hit in days} == {"2023-05-10", "2023-06-10", "2023-07-10"}
    folders = engine.search("dog", 60, min_relevance=0, group_by="folder")
    assert {Path(hit.group or "").name for hit in folders} == {"sea", "town"}
    for hits in (months, days, folders):
        seen = list(dict.fromkeys(hit.group for hit in hits))
        best = {name: min(hit.rank for hit in hits if hit.group == name) for name in seen}
        assert seen == sorted(seen, key=lambda name: best[name])
        assert [hit.group for hit in hits] == [name for name in seen for hit in hits if hit.group == name]
        assert hits[0].to_dict()["group"] == hits[0].group


def test_a_photo_found_by_its_words_is_compared_by_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for name, side in (("a", 64), ("b", 32)):
        Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST).save(folder / f"{name}.png")
    (folder / "a.txt").write_text("A wall of colours.")
    with SearchEngine.open(tmp_path / "lib", model="hashing", create=True, read_only=False) as engine:
        engine.index([folder])
        hits = engine.search("a wall of colours", min_relevance=0)
        assert len(hits) == 1 and len(hits[0].duplicates) == 1
        assert hits[0].matched is Modality.TEXT
