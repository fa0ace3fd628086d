from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mmsearch.filters import Filters
from mmsearch.storage import passages
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Copy, Move
from mmsearch.types import Modality, NewItem, NewSegment, Root
from tests.storage.full_text import check_full_text
from tests.storage.making import new_item


def note(root: Root, path: str, *texts: str, modality: Modality = Modality.TEXT) -> NewItem:
    return NewItem(modality, tuple(NewSegment(Modality.TEXT, {}, text=text) for text in texts), root.id, path)


def found(catalog: Catalog, query: str, k: int = 10, *modalities: Modality) -> list[int]:
    filters = Filters(frozenset(modalities)) if modalities else None
    ids, scores = catalog.match_text(query, k, filters=filters)
    assert (ids.dtype, scores.dtype) == (np.int64, np.float32)
    assert ids.shape == scores.shape
    assert (np.diff(scores) <= 0).all()
    return ids.tolist()


def test_texts_that_hold_more_and_rarer_words_come_first(catalog: Catalog, root: Root) -> None:
    texts = ["a dog at the beach", "a cat at the window", "the beach in winter", "a ship", "a plane", "a train"]
    ids = catalog.write(items=[note(root, "a.txt", *texts)])
    assert found(catalog, "dog beach") == [ids[0], ids[2]]
    assert found(catalog, "dog beach", 1) == [ids[0]]
    assert found(catalog, "elephant") == []
    scores = catalog.match_text("dog beach", 10)[1]
    assert scores[0] > scores[1] > 0


def test_case_and_accents_do_not_matter_and_letters_do(catalog: Catalog, root: Root) -> None:
    (segment,) = catalog.write(items=[note(root, "a.txt", "Une soirée à l'ÉTÉ, Москва, 東京, cafe\u0301")])
    for word in ("soiree", "SOIRÉE", "ete", "МОСКВА", "東京", "l'été", "café", "CAFE"):
        assert found(catalog, word) == [segment], word
    assert found(catalog, "soir") == []


def test_quoted_words_are_found_as_they_stand(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[note(root, "a.txt", "the red house by the sea", "a house painted red", "a sea of red")])
    assert found(catalog, '"red house"') == [ids[0]]
    assert set(found(catalog, '"red house" painted')) == {ids[0], ids[1]}
    assert set(found(catalog, "red house")) == set(ids)
    assert found(catalog, "e-mail") == []
    (mail,) = catalog.write(items=[note(root, "b.txt", "an e-mail to the mail man")])
    assert found(catalog, "e-mail") == [mail]
    assert set(found(catalog, "(painted,mail)")) == {ids[1], mail}


@pytest.mark.parametrize("query", ["", "   ", '"', '""', "- + * ^ ( ) : . ,", "\0", "\udcff", '"!?" ...'])
def test_a_query_without_words_finds_nothing(catalog: Catalog, root: Root, query: str) -> None:
    catalog.write(items=[note(root, "a.txt", "words")])
    assert found(catalog, query) == []


def test_what_means_something_to_the_search_engine_is_only_words(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[note(root, "a.txt", "neither and nor or not near", "text of another kind")])
    for query in (
        "NOT near",
        "nor AND",
        "NEAR(near, 2)",
        "text: near*",
        "^near",
        "near OR",
        "{text} : near",
        "near + or",
    ):
        assert ids[0] in found(catalog, query), query


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("word " * 5000)
@example(" ".join(map(str, range(5000))))
@example('"' + "x" * 100_000)
@example("\U00031350 \u1c80 \ua7c0 \U0001e900")  # letters that are younger than the tables of the search engine
@given(st.text() | st.text('"*^:(){}-+ANDORTE\0\udcff é', max_size=30))
def test_no_query_is_wrong(catalog: Catalog, query: str) -> None:
    found(catalog, query)
    found(catalog, query, 3, Modality.TEXT)


def test_filters_look_at_the_text_and_at_its_item(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(
        items=[
            note(root, "a.txt", "a dog"),
            note(root, "b.jpg", "a dog", modality=Modality.IMAGE),
            note(root, "c.mp4", "a dog", modality=Modality.VIDEO),
        ]
    )
    assert set(found(catalog, "dog", 10, Modality.TEXT)) == set(ids)
    assert found(catalog, "dog", 10, Modality.IMAGE) == [ids[1]]
    assert set(found(catalog, "dog", 10, Modality.IMAGE, Modality.VIDEO)) == {ids[1], ids[2]}
    assert found(catalog, "dog", 10, Modality.AUDIO) == []
    assert catalog.match_text("dog", 10, filters=Filters(frozenset()))[0].tolist() == []
    assert len(catalog.match_text("dog", 10, filters=Filters())[0]) == 3


def test_texts_follow_their_items(catalog: Catalog, root: Root) -> None:
    (old,) = catalog.write(items=[note(root, "a.txt", "an old text")])
    item = catalog.item_of(old)
    assert item is not None
    catalog.write(moves=[Move(item, root.id, "b.txt", 1)])
    assert found(catalog, "old") == [old]
    catalog.write(copies=[Copy(item, root.id, "c.txt", 1, 1)])
    assert len(found(catalog, "old")) == 2
    (new,) = catalog.write(items=[note(root, "b.txt", "a new text")])
    assert old not in found(catalog, "old") and len(found(catalog, "old")) == 1
    assert found(catalog, "new") == [new]
    catalog.write(removed=[catalog.item_of(new) or 0])
    assert found(catalog, "new") == []
    check_full_text(catalog.path)
    catalog.remove_root(root.id)
    assert found(catalog, "old text new") == []
    check_full_text(catalog.path)


def test_a_text_that_comes_and_goes_in_one_batch_leaves_nothing(catalog: Catalog, root: Root) -> None:
    (first,) = catalog.write(items=[note(root, "a.txt", "the first")])
    item = catalog.item_of(first)
    assert item is not None
    (new,) = catalog.write(copies=[Copy(item, root.id, "b.txt", 1, 1)], items=[note(root, "b.txt", "the second")])
    assert found(catalog, "first") == [first]
    assert found(catalog, "second") == [new]
    check_full_text(catalog.path)


def test_a_batch_that_fails_leaves_no_text(catalog: Catalog, root: Root) -> None:
    with pytest.raises(ValueError, match="UNIQUE"):
        catalog.write(items=[note(root, "a.txt", "one"), note(root, "a.txt", "two")])
    assert found(catalog, "one two") == []
    check_full_text(catalog.path)


def test_text_that_is_not_unicode_is_found_by_the_rest_of_it(catalog: Catalog, root: Root) -> None:
    (segment,) = catalog.write(items=[note(root, "a.txt", "half \udcff a word\0after")])
    assert found(catalog, "half") == found(catalog, "after") == [segment]
    check_full_text(catalog.path)


def test_words_of_half_of_all_texts_weigh_nothing_where_there_are_many(
    catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = catalog.write(items=[note(root, "a.txt", *[f"the {number} {number % 3}" for number in range(20)])])
    expected = found(catalog, '7 "1"', 20)
    assert len(found(catalog, "the 7 1", 20)) == 20
    monkeypatch.setattr(passages, "MANY_TEXTS", 10)
    assert found(catalog, "the 7 1", 20) == expected
    assert set(found(catalog, "the", 20)) == set(found(catalog, "the THE thé", 20)) == set(ids)


def test_text_is_found_in_a_library_that_was_opened_for_reading(catalog: Catalog, root: Root) -> None:
    (segment,) = catalog.write(items=[note(root, "a.txt", "words")])
    with Catalog.open(catalog.path, read_only=True) as reader:
        assert found(reader, "words") == [segment]


def test_pictures_alone_have_no_text_to_find(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "a", 1)])
    assert found(catalog, "a") == []
