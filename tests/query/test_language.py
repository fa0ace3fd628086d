"""What a person types becomes terms with weights."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.filters import Filters
from mmsearch.query.language import Query, Term, parse, parse_filters
from mmsearch.types import Modality

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


@example("~\x00")
@given(st.text())
def test_any_text_is_either_a_query_or_a_query_error(text: str) -> None:
    for query in (text, [text], text.split(" ")):
        try:
            parse(query)
        except QueryError as error:
            assert error.query is None or 0 <= error.place[0] < error.place[1] <= len(error.query)


def test_a_string_is_the_words_of_a_command_line_joined_by_blanks(pictures: Path) -> None:
    for tokens in (
        ["2:golden retriever", "+", "./pool.jpg", "-", "leash"],
        ["0.5:dog", "-", "2:red", "leash"],
        ["dog", "pool.jpg", "swimming", "type:image"],
    ):
        assert parse(" ".join(tokens)) == parse(tokens)


def test_a_word_of_a_command_line_with_blanks_may_hold_syntax() -> None:
    query = parse(["dog type:image - leash", "+ cat"])
    assert query.terms == (Term("dog"), Term("leash", -1.0), Term("cat"))
    assert query.filters == Filters.of(modalities=["image"])


def test_a_file_whose_name_has_blanks_is_one_word_of_a_command_line_or_quoted(pictures: Path) -> None:
    (pictures / "my photo.jpg").write_bytes(b"")
    photo = Path("my photo.jpg")
    assert parse(["dog", "my photo.jpg"]).terms == (Term("dog"), Term(photo))
    assert parse(["2:my photo.jpg", "+", "dog"]).terms == (Term(photo, 2.0), Term("dog"))
    assert parse('dog - "./my photo.jpg"').terms == (Term("dog"), Term(photo, -1.0))
    assert parse('2:"./my photo.jpg" + dog').terms == (Term(photo, 2.0), Term("dog"))
    assert parse('"my photo.jpg"') == Query(filters=Filters(phrases=("my photo.jpg",)))
    with pytest.raises(QueryError, match="no file"):
        parse('"./your photo.jpg"')
    with pytest.raises(QueryError, match="no file"):
        parse(["./your photo.jpg"])


def test_a_name_among_words_may_be_that_of_no_file() -> None:
    assert parse("photo of cat.jpg").terms == (Term("photo of cat.jpg"),)
    assert parse(["photo", "of", "cat.jpg"]).terms == (Term("photo of cat.jpg"),)


def test_a_quotation_without_a_weight_is_exact_words() -> None:
    assert parse('beach "red car"') == Query((Term("beach"),), Filters(phrases=("red car",)))
    assert parse('"red car"') == Query(filters=Filters(phrases=("red car",)))
    assert parse('beach + "a" "b"').filters.phrases == ("a", "b")
    assert parse(['"red car"']) == parse('"red car"') == parse(["exact:red car"])
    assert parse(r'"say \"cheese\" \\o/"').filters.phrases == ('say "cheese" \\o/',)


def test_a_quotation_with_a_weight_is_looked_for_by_meaning() -> None:
    assert parse('2:"golden retriever" + 1:"type:image"').terms == (Term("golden retriever", 2.0), Term("type:image"))


def test_exact_words_after_a_minus_are_excluded() -> None:
    expected = Query((Term("dog"),), Filters(excluded=(Filters(phrases=("red car",)),)))
    assert parse('dog - "red car"') == parse('dog -"red car"') == parse(["dog", '-"red car"']) == expected


def test_filters_stand_anywhere_and_part_no_words() -> None:
    query = parse("a dog type:image on the beach after:2023 - leash")
    assert query.terms == (Term("a dog on the beach"), Term("leash", -1.0))
    assert query.filters == Filters(modalities=frozenset({Modality.IMAGE}), after=datetime(2023, 1, 1))


def test_a_minus_before_a_key_excludes() -> None:
    expected = (Filters.of(modalities=["video"]), Filters.of(paths="screenshots/**"))
    assert parse("dog -type:video -path:screenshots/**").filters.excluded == expected
    assert parse(["dog", "-type:video", "-path:screenshots/**"]).filters.excluded == expected
    both = Filters.of(modalities=["video"], after=datetime(2023, 1, 1))
    assert parse("-(type:video after:2023)").filters == Filters(excluded=(both,))


def test_a_filter_of_words_keeps_the_blanks_that_a_shell_left_in_it() -> None:
    assert parse(["dog", "in:Summer 2023"]) == parse('dog in:"Summer 2023"')
    assert parse(["-camera:canon eos"]) == parse('-camera:"canon eos"')
    assert parse(["in:Summer type:image dog"]) == parse("in:Summer type:image dog")
    assert parse(["in:Re:zero photos"]).filters.inside == ("Re:zero photos",)


@pytest.mark.parametrize(
    "text",
    [
        "3:10 to Yuma",
        "re: hello",
        "ratio 4:3",
        "foo:bar",
        "type: image",
        "well-known",
        "-leash",
        "5' 11\" tall",
        "-()",
        "note: bring c:\\stuff",
        "dear:John",
        "-(not a filter)",
        "a:b",
        "x:2",
    ],
)
def test_text_that_only_looks_like_syntax_stays_words(text: str) -> None:
    assert parse(text) == parse([text]) == Query((Term(text),))


def test_the_clock_is_what_the_caller_says() -> None:
    query = parse("after:7d before:today", now=datetime(2024, 3, 5, 14, 30))
    assert (query.filters.after, query.filters.before) == (datetime(2024, 2, 27, 14, 30), datetime(2024, 3, 5))


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("dog typ:image", "typ:"),
        ("dog -tpye:image", "tpye:"),
        ("dog type:image,photo cat", "photo"),
        ('a dog "red car', '"'),
        ('in:Work,"Summer', '"'),
        ("after:yesteryear dog", "yesteryear"),
        ("size:>2MB size:<1MB", "size:<1MB"),
        ("near:1,2,far", "far"),
        ("dog + - cat", "+ -"),
        ("dog +", "+"),
        ("dog - type:image", "-"),
        ("see https://example.org/a b", "https://example.org/a"),
        ("dog + nowhere.jpg", "nowhere.jpg"),
        (["a dog", "type:photo"], "photo"),
        (["dog", "in:Summer 2023,"], ","),
    ],
)
def test_an_error_points_at_its_place(query: str | list[str], place: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(query)
    error = caught.value
    assert error.query is not None
    start, end = error.place
    assert error.query[start:end] == place or error.query[start - 1 : end] == place
    shown, carets = error.pointer or ("", "")
    assert shown.strip() == error.query
    assert shown[carets.index("^") : len(carets)].strip() == error.query[start:end].strip()
    assert str(error).splitlines()[1:3] == [shown, carets]


def test_filters_alone_can_be_read() -> None:
    assert parse_filters('type:image "red car"') == parse('type:image "red car"').filters
    assert parse_filters("  ") == Filters()
    for text in ("dog", "type:image dog", "type:image + ./pool.jpg", '2:"dog"'):
        with pytest.raises(QueryError, match="Only filters"):
            parse_filters(text)
    with pytest.raises(QueryError, match="did you mean type:"):
        parse_filters("typ:image")


def test_reading_words_imports_nothing_heavy() -> None:
    probe = "import sys; from mmsearch.query.language import parse; parse('a dog - leash'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    heavy = {"numpy", "PIL", "fractions", "decimal", "calendar", "mmsearch.query.filter_syntax"}
    assert not heavy & set(done.stdout.split())
