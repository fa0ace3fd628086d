"""Words in names, folders, notes and captions beside the embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch import Hit, SearchEngine
from mmsearch.query.language import parse
from mmsearch.query.trace import Trace
from mmsearch.retrieval import wording
from mmsearch.retrieval.wording import Wording

FOLDERS = ("germany", "spain", "france", "norway", "italy")
NAMES = [f"{FOLDERS[number % 5]}/IMG_{2000 + number}.png" for number in range(20)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    photos = tmp_path_factory.mktemp("media") / "Holiday photos"
    random = np.random.default_rng(0)
    for name in NAMES:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(photos / name)
    (photos / "norway/IMG_2003.txt").write_text("A red car at the bullring.")
    (photos / "note.txt").write_text("The ferry leaves at nine from the old harbour.")
    (photos / "diary.md").write_text("# Monday\n\nRain.\n\n# Tuesday\n\nSun.\n\n# Wednesday\n\nSnow.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_TEST_ENCODERS", "1")
        with SearchEngine.open(tmp_path_factory.mktemp("lib"), model="hashing", create=True, read_only=False) as engine:
            engine.index([photos])
            yield engine


def names(hits: list[Hit]) -> list[str]:
    return [hit.path.name for hit in hits if hit.path]


def found(engine: SearchEngine, query: str, k: int = 30, **options: Any) -> list[Hit]:
    return engine.search(query, k, min_relevance=0, duplicates="show", **options)


def test_a_files_name_finds_it_first_and_sure(engine: SearchEngine) -> None:
    hits = found(engine, "IMG_2007")
    assert names(hits)[0] == "IMG_2007.png"
    assert hits[0].relevance > 0.9 > hits[1].relevance
    assert hits[0].stage == "fused"


def test_a_folders_name_finds_all_that_lies_in_it_before_anything_else(engine: SearchEngine) -> None:
    first = found(engine, "germany", 4)
    assert all(hit.path is not None and hit.path.parent.name == "germany" for hit in first)
    assert min(hit.relevance for hit in first) > 0.9


def test_a_word_of_a_name_and_a_description_are_weighed_together(engine: SearchEngine) -> None:
    plain, weighed = (found(engine, "green meadow spain", words=words) for words in (False, True))
    before, after = ({hit.item_id: hit.relevance for hit in hits} for hits in (plain, weighed))
    assert before.keys() == after.keys()
    for hit in weighed:
        inside = hit.path is not None and hit.path.parent.name == "spain"
        assert (after[hit.item_id] > before[hit.item_id]) == inside


def test_the_photo_whose_caption_has_the_words_comes_first(engine: SearchEngine) -> None:
    assert names(found(engine, "bullring", 1)) == ["IMG_2003.png"]
    assert names(found(engine, "a red car", 1)) == ["IMG_2003.png"]


def test_words_of_a_text_are_found_in_it(engine: SearchEngine) -> None:
    assert names(found(engine, "ferry harbour", 1)) == ["note.txt"]


def test_a_name_is_found_in_what_passes_a_filter_only(engine: SearchEngine) -> None:
    assert names(found(engine, "IMG_2006", 1, filters="in:spain")) == ["IMG_2006.png"]
    assert "IMG_2006.png" not in names(found(engine, "IMG_2006", filters="in:germany"))


def test_words_that_all_items_share_or_that_mean_nothing_change_nothing(engine: SearchEngine) -> None:
    for query in ("holiday photos png", "xylophone", "a the on", "🐕 on the 🏖"):
        assert not Wording.of(engine.catalog, parse(query))
        assert found(engine, query) == found(engine, query, words=False)


def test_names_are_not_asked_for_a_picture_nor_for_what_is_to_be_avoided(engine: SearchEngine) -> None:
    path = str(next(hit.path for hit in found(engine, "IMG_2007", 1)))
    assert not Wording.of(engine.catalog, parse([path]))
    assert not Wording.of(engine.catalog, parse(["meadow", "-", "germany"]))


def test_without_words_meaning_alone_counts(engine: SearchEngine) -> None:
    trace = Trace()
    hits = found(engine, "IMG_2007", words=False, trace=trace)
    assert all(hit.stage == "vector" or hit.stage == "fused" for hit in hits)
    assert "words" not in [step.name for step in trace.steps]


def test_the_longer_list_begins_with_the_shorter(engine: SearchEngine) -> None:
    for query in ("spain", "green meadow spain", "IMG_2007"):
        whole = [hit.item_id for hit in found(engine, query)]
        assert [hit.item_id for hit in found(engine, query, 7)] == whole[:7]


def test_words_of_very_many_items_are_weighed_without_listing_them(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {query: found(engine, query) for query in ("germany", "green meadow spain", "norway IMG_2008")}
    monkeypatch.setattr(wording, "_MOST_ITEMS", 2)
    broad = Wording.of(engine.catalog, parse("norway IMG_2008"))
    assert (len(broad.items), len(broad.broad), broad.words) == (1, 1, 2)
    for query, hits in expected.items():
        assert [(hit.item_id, round(hit.relevance, 9)) for hit in found(engine, query)] == [
            (hit.item_id, round(hit.relevance, 9)) for hit in hits
        ]


def test_exact_words_alone_are_found_where_they_stand(engine: SearchEngine) -> None:
    (hit,) = found(engine, '"old harbour"')
    assert (names([hit]), hit.stage, hit.relevance) == (["note.txt"], "text", 1.0)
    assert hit.text is not None and "old harbour" in hit.text
    assert names(found(engine, '"IMG_2004"')) == ["IMG_2004.png"]
    assert len(found(engine, '"germany"')) == 4
    assert found(engine, '"harbour old"') == []
    assert names(found(engine, '"red car" type:image')) == ["IMG_2003.png"]


def test_filters_alone_list_what_passes_newest_first(engine: SearchEngine) -> None:
    hits = found(engine, "path:spain/*.png")
    assert {hit.stage for hit in hits} == {"filter"} and len(hits) == 4
    times = [hit.path.stat().st_mtime_ns for hit in hits if hit.path]
    assert [time // 10**9 for time in times] == sorted((time // 10**9 for time in times), reverse=True)


def test_a_text_that_passes_is_shown_from_its_beginning(engine: SearchEngine) -> None:
    (hit,) = found(engine, "path:diary.md")
    assert (hit.start_char, hit.text is not None and "Monday" in hit.text) == (0, True)
