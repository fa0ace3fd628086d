"""A query is written as a string that is read back to an equal query."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.errors import QueryError
from mmsearch.filters import FACTS, Area, Filters, Range
from mmsearch.query.language import Query, Term, parse, parse_filters
from mmsearch.query.spelling import spell_filters
from mmsearch.types import Modality

NAMES = (
    "pool.jpg",
    "my photo.jpg",
    'a "b" \\c.png',
    "~/x.jpg",
    "deep/dir/clip.mp4",
    "notes",
    "-dash.jpg",
    "+",
    "type:x.png",
)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Files with all kinds of names, in the working directory."""
    folder = tmp_path_factory.mktemp("files")
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not looked at")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


# Pieces of syntax come up much more often than chance would have them.
MARKS = r'" \ + - : , = ( ) -( ./ / ~/ .. type: 2: in: pool.jpg a dog 2023 true 7d > é 犬 x.jpg http://x'
SYNTAX = st.sampled_from([*MARKS.split(), " ", "  ", " - ", "\n", "\t", "\x00", "\u00a0"])
TEXT = st.one_of(st.lists(SYNTAX, max_size=6).map("".join), st.text(max_size=8)).filter(lambda text: bool(text.strip()))
FINITE = st.floats(allow_nan=False)
NUMBERS = st.one_of(st.none(), st.integers(-10, 2**60))
MOMENTS = st.one_of(
    st.none(),
    st.datetimes(),
    st.datetimes().map(lambda moment: moment.replace(hour=0, minute=0, second=0, microsecond=0)),
)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.one_of(st.just(()), st.lists(values, max_size=3, unique=True).map(tuple))


@st.composite
def ranges(draw: st.DrawFn) -> Range | None:
    low, high = draw(NUMBERS), draw(NUMBERS)
    if low is not None and high is not None:
        low, high = sorted((low, high))
    return draw(st.sampled_from([None, Range(low, high)]))


def named(values: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    """Without pairs that are equal though their types differ, of which one would be enough."""
    return tuple(dict.fromkeys(values))


def filters(*, deep: int = 2) -> st.SearchStrategy[Filters]:
    plain = st.builds(
        Filters,
        modalities=st.one_of(st.none(), st.frozensets(st.sampled_from(list(Modality)), min_size=1)),
        paths=several(TEXT),
        inside=several(TEXT),
        after=MOMENTS,
        before=MOMENTS,
        cameras=several(TEXT),
        size_bytes=ranges(),
        width=ranges(),
        height=ranges(),
        duration_ms=ranges(),
        near=st.one_of(
            st.none(),
            st.builds(Area, st.floats(-90, 90), st.floats(-180, 180), st.floats(0, exclude_min=True)),
        ),
        has=st.frozensets(st.sampled_from(FACTS)),
        phrases=several(TEXT),
        metadata=several(
            st.tuples(st.text(max_size=5), st.one_of(st.text(max_size=6), TEXT, st.integers(), st.booleans(), FINITE))
        ).map(named),
        excluded=several(filters(deep=deep - 1).filter(bool)) if deep else st.just(()),
    )
    return st.one_of(plain, st.just(Filters()), st.builds(Filters, phrases=several(TEXT)))


CONTENTS = st.one_of(TEXT, TEXT.map(lambda text: " ".join(text.split())), st.sampled_from(NAMES).map(Path))
WEIGHTS = st.one_of(st.just(1.0), st.floats(1e-9, 1e9))
TERMS = st.lists(
    st.builds(lambda content, weight, sign: Term(content, sign * weight), CONTENTS, WEIGHTS, st.sampled_from([1, -1])),
    max_size=4,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(TERMS, filters())
def test_any_query_is_read_back_from_its_spelling(terms: list[Term], limits: Filters) -> None:
    try:
        query = Query(tuple(terms), limits)
    except QueryError:  # nothing in it to look for
        return
    text = str(query)
    assert parse(text) == query, text
    assert str(parse(text)) == text


@given(filters())
def test_any_filters_are_read_back_from_their_spelling(limits: Filters) -> None:
    assert parse_filters(spell_filters(limits)) == limits


@given(st.one_of(st.lists(SYNTAX, max_size=12).map("".join), st.text()))
def test_what_can_be_read_is_read_again_from_its_spelling(text: str) -> None:
    try:
        query = parse(text)
    except QueryError:
        return
    assert parse(str(query)) == query


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("a  dog on the beach", "a dog on the beach"),
        ("2:dog + ./pool.jpg - leash", "2:dog + ./pool.jpg - leash"),
        ('"./my photo.jpg" dog', '"./my photo.jpg" + dog'),
        ("dog type:video,image", "type:image,video dog"),
        ('dog "red car" - "blue car"', '"red car" -"blue car" dog'),
        ('in:"Summer 2023" size:>2MB', 'in:"Summer 2023" size:>=2000001'),
        ("dog -(type:video after:2023)", "-(type:video after:2023-01-01) dog"),
        ("0.50:dog + cat", "0.5:dog + cat"),
    ],
)
def test_the_spelling_is_short(text: str, spelling: str) -> None:
    assert str(parse(text)) == spelling


def test_contents_in_memory_are_told_of() -> None:
    assert str(Query((Term(b"\xff\xd8"), Term("dog", -2.0)))) == "<in memory> - 2:dog"


def test_a_moment_is_written_as_short_as_it_can_be() -> None:
    spelled = {spell_filters(Filters(after=datetime(2023, 6, 1, *time))) for time in ((), (12, 30), (0, 0, 5))}
    assert spelled == {"after:2023-06-01", "after:2023-06-01T12:30", "after:2023-06-01T00:00:05"}
