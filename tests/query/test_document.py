"""Every example of the document that defines the language is what the document says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mmsearch.errors import QueryError
from mmsearch.query.filter_values import EXAMPLES, READERS
from mmsearch.query.language import parse
from mmsearch.query.lexer import KEYS

TEXT = (Path(__file__).parents[2] / "docs" / "query-language.md").read_text("utf-8")
SECTIONS = dict(zip(re.findall(r"(?m)^## (.+)$", TEXT), re.split(r"(?m)^## .+$", TEXT)[1:], strict=True))


def examples(section: str) -> list[str]:
    """The first cells of the tables of queries in a section."""
    tables = re.findall(r"(?m)^\| (?:query|filter) \|.*\n\|[-|]+\n((?:\|.*\n)+)", SECTIONS[section])
    return [cell for table in tables for cell in re.findall(r"(?m)^\| `(.+?)` \|", table)]


GOOD = [query for section in ("Terms", "Exact words", "Filters", "Leaving out") for query in examples(section)]
BAD = examples("Errors")


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pool.jpg", "my photo.jpg"):
        (tmp_path / name).write_bytes(b"not looked at")


@pytest.mark.parametrize("text", GOOD)
def test_an_example_is_read_and_written_back(text: str) -> None:
    query = parse(text, stdin=lambda: b"a dog")
    assert parse(str(query)) == query


@pytest.mark.parametrize("text", examples("Filters"))
def test_a_filter_limits_and_is_no_term(text: str) -> None:
    query = parse(text)
    assert query.filters and not query.terms


@pytest.mark.parametrize("text", BAD)
def test_an_error_is_one_and_points_at_its_place(text: str) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.query == text
    start, end = caught.value.place
    assert 0 <= start < end <= len(text)


def test_what_is_said_to_stay_words_does() -> None:
    said = SECTIONS["What stays words"].split("To look for", maxsplit=1)[0]
    words = re.findall(r"`(.+?)`", said.replace("\n", " "))
    assert len(words) > 4
    for text in words:
        (term,) = parse(text).terms
        assert (term.content, term.weight, parse(text).filters) == (text, 1.0, parse("dog").filters)


def test_what_can_be_written_as_a_value_can_be() -> None:
    keys = {"comparisons": "size", "sizes": "size", "durations": "duration", "dates": "after", "so long ago": "before"}
    rows = re.findall(r"(?m)^\| ([a-z ]+) \| (`.+) \|$", SECTIONS["Filters"].partition("| values |")[2])
    assert {row[0] for row in rows} == {*keys, "distances"}
    for name, cell in rows:
        for value in re.findall(r"`(.+?)`", cell):
            assert parse(f"near:1,2,{value}" if name == "distances" else f"{keys[name]}:{value}").filters


def test_the_ways_to_write_it_in_a_shell_are_the_same() -> None:
    lines = [line for line in SECTIONS["In a shell"].splitlines() if line.startswith("mmsearch query ")]
    first, second = (parse(shlex.split(line)[2:]) for line in lines[:2])
    assert first == second
    assert parse(shlex.split(lines[0])[2]) == first


def test_the_error_that_is_shown_is_the_one_that_comes() -> None:
    (shown,) = re.findall(r"```\nmmsearch: (There is.+?)```", SECTIONS["Errors"], re.DOTALL)
    with pytest.raises(QueryError) as caught:
        parse("dog type:photo")
    assert str(caught.value) == shown.strip()


def test_every_key_is_in_the_table_and_in_the_grammar() -> None:
    assert KEYS == READERS.keys() == EXAMPLES.keys()
    assert {text.partition(":")[0] for text in examples("Filters")} | {"exact"} == KEYS
    grammar = re.search(r"key        = (.+?) ;", SECTIONS["Grammar"], re.DOTALL)
    assert grammar is not None
    assert set(re.findall(r'"(\w+)"', grammar[1])) == KEYS


@pytest.mark.parametrize("key", sorted(KEYS))
def test_the_example_that_an_error_gives_of_a_filter_is_one(key: str) -> None:
    said = EXAMPLES[key].removeprefix("For example: ")
    for example in re.split(r" or |, (?=[a-z]+:)", said):
        assert parse(example).filters
