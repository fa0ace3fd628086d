from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.media.blocks import Block
from mmsearch.media.passages import MAX_CHARACTERS, Passage, estimate_pieces, split_passages
from tests.media.documents import gaps

LONG = "The dog runs along the wide and sunny beach with a red ball in its mouth. "


def _split(*texts: str, overlap: int = 0, max_pieces: int = 112) -> list[Passage]:
    return list(split_passages((Block(text) for text in texts), overlap=overlap, max_pieces=max_pieces))


def test_a_short_text_is_one_passage() -> None:
    assert _split("  A dog.\n\nA cat. ") == [Passage("A dog.\n\nA cat.", 2, 16)]


def test_a_long_paragraph_is_cut_between_sentences() -> None:
    passages = _split(LONG * 20)
    assert len(passages) > 3
    assert all(passage.text.endswith("mouth.") and passage.text.startswith("The dog") for passage in passages)


def test_a_paragraph_that_is_long_enough_ends_its_passage() -> None:
    first, second = _split(LONG * 3 + "\n\n" + "A cat sleeps on the sofa.")
    assert second.text == "A cat sleeps on the sofa."
    assert first.text.endswith("mouth.")


@pytest.mark.parametrize(
    "sentence",
    [
        "We met Dr. Smith and Mrs. Jones of St. Louis there",
        "It was J. R. R. Tolkien who wrote the book of the ring",
        "The price rose to 3.5 million, i.e. it doubled",
        "Version no. 7 of mmsearch.py came out, e.g. on the web",
    ],
)
def test_a_full_stop_inside_a_sentence_does_not_end_it(sentence: str) -> None:
    passages = _split(f"{sentence}. " * 40)
    assert all(
        passage.text.startswith(sentence[:4]) and passage.text.endswith(sentence[-4:] + ".") for passage in passages
    )


def test_the_number_of_a_list_stays_with_its_line() -> None:
    text = "".join(f"{number}. Put the {number} slices of bread on the table.\n" for number in range(1, 60))
    assert all(passage.text[0].isdigit() and passage.text.endswith("table.") for passage in _split(text))


def test_a_sentence_that_is_too_long_is_cut_at_its_clauses() -> None:
    clause = "and then the small brown dog ran over the green field, "
    passages = _split(clause * 30)
    assert all(passage.text.endswith("field,") for passage in passages)


def test_a_sentence_without_clauses_is_cut_between_words() -> None:
    passages = _split("word " * 500)
    assert all(set(passage.text.split()) == {"word"} for passage in passages)


@pytest.mark.parametrize(
    ("sentence", "end"),
    [("犬が浜辺を走っています。", "。"), ("一只狗在沙滩上奔跑！", "！"), ("「今日は天気がいいですね。」", "」")],
)
def test_texts_without_spaces_are_cut_at_their_own_signs(sentence: str, end: str) -> None:
    passages = _split(sentence * 60)
    assert len(passages) > 3
    assert all(passage.text.startswith(sentence[0]) and passage.text.endswith(end) for passage in passages)


def test_a_script_without_signs_or_spaces_is_cut_between_characters_that_are_seen_as_one() -> None:
    marked = "\u0e01\u0e34\u0e49"  # a Thai letter with two marks above it
    assert all(passage.text.startswith("\u0e01") for passage in _split(marked * 400))
    accented = "e\u0301"
    assert all(passage.text.startswith("e") for passage in _split(accented * 400))


def test_a_word_without_end_is_cut_all_the_same() -> None:
    passages = _split("a" * 5000)
    assert "".join(passage.text for passage in passages) == "a" * 5000


def test_a_heading_begins_a_passage_and_names_those_below_it() -> None:
    blocks = [
        Block("A dog.\n"),
        Block("# Cats\n", heading="Cats", title=True),
        Block("## Their sleep\n", heading="Their  sleep", title=True),
        Block(LONG * 12),
    ]
    passages = list(split_passages(blocks))
    assert [passages[0].text, passages[0].heading] == ["A dog.", ""]
    assert passages[1].text.startswith("# Cats\n## Their sleep\nThe dog")
    assert {passage.heading for passage in passages[1:]} == {"Their sleep"}
    assert len(passages) > 3


def test_overlap_repeats_whole_sentences() -> None:
    sentences = [f"Sentence number {number} tells of a dog at the beach." for number in range(60)]
    passages = _split(" ".join(sentences), overlap=30)
    for before, after in itertools.pairwise(passages):
        assert after.start_char < before.end_char
        assert after.text.startswith("Sentence number")
        assert before.text.endswith(after.text[: before.end_char - after.start_char])
    assert {s for s in sentences if any(s in passage.text for passage in passages)} == set(sentences)


def test_passages_know_the_page_they_begin_on_and_the_time_they_span() -> None:
    pages = split_passages([Block(LONG * 4, page=1), Block(LONG * 4, page=2)])
    assert {passage.page for passage in pages} == {1, 2}
    (passage,) = split_passages(
        [Block("Hello.\n", start_ms=500, end_ms=900), Block("You.\n", start_ms=1000, end_ms=1500)]
    )
    assert (passage.start_ms, passage.end_ms) == (500, 1500)


@pytest.mark.parametrize(("max_pieces", "overlap"), [(7, 0), (112, 57), (112, -1)])
def test_limits_that_make_no_sense_are_refused(max_pieces: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="max_pieces"):
        _split("a", max_pieces=max_pieces, overlap=overlap)


SIGNS = st.sampled_from([*"ab Z.!?,;\n\t19。、」犬한\u0301\u200dé-*\u0e33🙂 ", " " * 150, "x" * 130, "\n\n", "Dr. "])


@settings(deadline=None)
@given(st.lists(st.text() | st.lists(SIGNS, max_size=200).map("".join), max_size=8), st.integers(8, 40), st.data())
def test_passages_hold_all_words_in_order_and_none_is_too_long(
    parts: list[str], pieces: int, data: st.DataObject
) -> None:
    fresh = data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    blocks = [Block(part, fresh=new) for part, new in zip(parts, fresh, strict=True)]
    text = "".join(parts)
    passages = list(split_passages(blocks, max_pieces=pieces))
    assert not any(gap.strip() for gap in gaps(text, passages))
    for passage in passages:
        assert text[passage.start_char : passage.end_char] == passage.text == passage.text.strip()
        assert estimate_pieces(passage.text) <= pieces
        assert len(passage.text) <= MAX_CHARACTERS


@settings(deadline=None)
@given(st.lists(SIGNS, max_size=400).map("".join), st.integers(8, 40), st.data())
def test_overlap_loses_nothing_and_goes_on(text: str, pieces: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, pieces // 2))
    passages = list(split_passages([Block(text)], max_pieces=pieces, overlap=overlap))
    covered = set()
    for before, after in itertools.pairwise(passages):
        assert before.start_char < after.start_char and before.end_char < after.end_char
    for passage in passages:
        assert text[passage.start_char : passage.end_char] == passage.text
        assert estimate_pieces(passage.text) <= pieces
        covered.update(range(passage.start_char, passage.end_char))
    assert all(place in covered for place, sign in enumerate(text) if not sign.isspace())


@settings(deadline=None)
@given(st.lists(SIGNS, max_size=200).map("".join), st.lists(st.integers(0, 400), max_size=5))
def test_where_a_text_is_cut_into_blocks_makes_no_difference(text: str, places: list[int]) -> None:
    borders = [0, *sorted(place for place in places if place <= len(text)), len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(borders)]
    assert _split(*parts, max_pieces=20) == _split(text, max_pieces=20)
