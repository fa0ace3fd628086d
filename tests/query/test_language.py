"""What a person types becomes terms with weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.query.language import Query, Term, parse

WORDS = st.lists(st.sampled_from(["dog", "beach", "red", "car", "sunset", "2041"]), min_size=1, max_size=4)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.jpg").write_bytes(b"not looked at while parsing")
    (tmp_path / "notes").write_bytes(b"")
    (tmp_path / "album").mkdir()
    return tmp_path


def test_one_quoted_string_is_one_term() -> None:
    assert parse("a dog on the beach") == Query((Term("a dog on the beach"),))


def test_words_that_follow_one_another_are_one_term() -> None:
    assert parse(["a", "dog", "on", "the", "beach"]) == Query((Term("a dog on the beach"),))


def test_plus_adds_and_minus_pushes_away(pictures: Path) -> None:
    query = parse(["2:golden retriever", "+", "./pool.jpg", "-", "leash"])
    assert query == Query((Term("golden retriever", 2.0), Term(Path("pool.jpg")), Term("leash", -1.0)))


def test_a_weight_applies_to_the_words_after_it() -> None:
    assert parse(["0.5:dog", "-", "2:red", "leash"]) == Query((Term("dog", 0.5), Term("red leash", -2.0)))


def test_a_lone_term_that_looks_like_a_weight_stays_words() -> None:
    assert parse("3:10 to Yuma") == Query((Term("3:10 to Yuma"),))


def test_a_picture_is_a_term_of_its_own_also_without_a_plus(pictures: Path) -> None:
    assert parse(["dog", "pool.jpg", "swimming"]) == Query((Term("dog"), Term(Path("pool.jpg")), Term("swimming")))


def test_a_word_that_happens_to_name_a_folder_is_a_word(pictures: Path) -> None:
    assert parse(["album"]) == Query((Term("album"),))


def test_a_dash_where_a_term_is_due_is_standard_input() -> None:
    assert parse(["-"], stdin=lambda: b" a dog\n") == Query((Term("a dog"),))
    assert parse(["cat", "+", "-"], stdin=lambda: b"\xff\xd8\xff") == Query((Term("cat"), Term(b"\xff\xd8\xff")))
    assert parse(["-", "-", "cat"], stdin=lambda: b"dog") == Query((Term("dog"), Term("cat", -1.0)))


def test_a_dash_before_words_pushes_them_away_even_at_the_start() -> None:
    assert parse(["-", "leash", "+", "dog"]) == Query((Term("leash", -1.0), Term("dog")))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "empty"),
        (["  "], "empty"),
        (["dog", "+"], "after '\\+'"),
        (["dog", "+", "-", "cat"], "between '\\+' and '-'"),
        (["-", "dog"], "something to look for"),
        (["0:dog", "+", "cat"], "weight"),
        (["./nowhere.jpg"], "no file"),
        (["nowhere.jpg"], "no file"),
        (["./album"], "not a file"),
        (["https://example.com/dog.jpg"], "fetches nothing"),
    ],
)
def test_a_query_that_cannot_be_read_says_why(pictures: Path, tokens: list[str], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse(tokens)


def test_standard_input_that_is_absent_or_empty_is_an_error() -> None:
    with pytest.raises(QueryError, match="no standard input"):
        parse(["-"])
    with pytest.raises(QueryError, match="empty"):
        parse(["-"], stdin=lambda: b" \n")


@given(st.lists(st.tuples(st.sampled_from("+-"), WORDS), min_size=1, max_size=5))
def test_terms_come_back_in_order_with_their_signs(parts: list[tuple[str, list[str]]]) -> None:
    tokens = [token for index, (sign, words) in enumerate(parts) for token in ([sign] if index else []) + words]
    signs = [1.0] + [1.0 if sign == "+" else -1.0 for sign, _ in parts[1:]]
    expected = tuple(Term(" ".join(words), sign) for sign, (_, words) in zip(signs, parts, strict=True))
    assert parse(tokens) == Query(expected)


@given(st.text())
def test_any_text_is_either_a_query_or_a_query_error(text: str) -> None:
    try:
        query = parse([text])
    except QueryError:
        return
    assert len(query.terms) == 1
