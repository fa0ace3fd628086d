"""Filters as people write them become values."""

from __future__ import annotations

from datetime import datetime

import pytest

from mmsearch.errors import QueryError
from mmsearch.filters import Area, Filters, Range
from mmsearch.query.filter_syntax import flag, near_miss
from mmsearch.query.language import parse_filters
from mmsearch.query.lexer import KEYS

NOW = datetime(2024, 3, 31, 14, 30, 15, 500)


def read(text: str) -> Filters:
    return parse_filters(text, now=NOW)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("type:image,VIDEO", Filters.of(modalities=["image", "video"])),
        ("TYPE:image", Filters.of(modalities=["image"])),
        ("path:2023/**,*.png", Filters.of(paths=["2023/**", "*.png"])),
        ('path:"a,b/*"', Filters.of(paths="a,b/*")),
        ('in:"Summer 2023",Work', Filters.of(inside=["Summer 2023", "Work"])),
        ("in:a in:b", Filters.of(inside=["a", "b"])),
        ('camera:"EOS R5"', Filters.of(cameras="EOS R5")),
        ("has:gps,Camera", Filters.of(has=["gps", "camera"])),
        ("near:48.85,2.35", Filters.of(near=Area(48.85, 2.35, 1.0))),
        ("near:-48.85,2.35,500m", Filters.of(near=Area(-48.85, 2.35, 0.5))),
        ("near:0,0,2mi", Filters.of(near=Area(0.0, 0.0, 3.218688))),
        ("meta:shop=berlin,year=2023", Filters.of(metadata={"shop": "berlin", "year": 2023})),
        ('meta:"first name"="Ann Lee"', Filters.of(metadata={"first name": "Ann Lee"})),
        ('meta:a="2023" meta:b=true meta:c=1.5', Filters.of(metadata={"a": "2023", "b": True, "c": 1.5})),
        ("meta:formula=a=b", Filters.of(metadata={"formula": "a=b"})),
        ("after:2023-06 before:2024", Filters.of(after=datetime(2023, 6, 1), before=datetime(2024, 1, 1))),
        ("after:2022 after:2023", Filters.of(after=datetime(2023, 1, 1))),
        ("date:2023-02", Filters.of(after=datetime(2023, 2, 1), before=datetime(2023, 3, 1))),
        ("date:today", Filters.of(after=datetime(2024, 3, 31), before=datetime(2024, 4, 1))),
        ("date:2021..2023-06", Filters.of(after=datetime(2021, 1, 1), before=datetime(2023, 7, 1))),
        ("size:>2MB", Filters.of(size_bytes=Range(low=2_000_001))),
        ("size:>1MB size:<5MB", Filters.of(size_bytes=Range(1_000_001, 4_999_999))),
        ("width:4000", Filters.of(width=Range(4000, 4000))),
        ("height:1000..2000px", Filters.of(height=Range(1000, 2000))),
        ("duration:1:30", Filters.of(duration_ms=Range(90_000, 90_999))),
    ],
)
def test_a_filter_is_what_it_says(text: str, filters: Filters) -> None:
    assert read(text) == filters


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type:photo", "no type 'photo'"),
        ("type:image type:video", "two types"),
        ("has:money", "known of 'money'"),
        ("near:48.85", "degrees north"),
        ("near:91,0", "no place at 91"),
        ("near:1,2,-3km", "above 0"),
        ("near:1,2,3,4", "degrees north"),
        ("near:north,2", "degrees"),
        ("near:1,2 near:3,4", "one place"),
        ("after:2023,2024", "one value"),
        ("after:2023-02-30", "no date"),
        ("date:2023..2022", "wrong way round"),
        ("size:large", "no size"),
        ("size:5MB..1MB", "No number lies"),
        ("size:>5MB size:<1MB", "No number is both"),
        ("width:>wide", "no width"),
        ("duration:long", "no duration"),
        ("meta:shop", "name and a value"),
        ("meta:=berlin", "name and a value"),
        ("in:a,,b", "empty"),
        ('camera:" "', "empty"),
        ('""', "between the quotation marks"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        read(text)
    assert caught.value.query == text


def test_an_option_is_read_as_the_filter_of_that_name() -> None:
    for key, value in (("after", "7d"), ("size", "1MB..5MB"), ("near", "48.85,2.35,5km"), ("type", "image,video")):
        assert flag(key, value, NOW) == read(f"{key}:{value}")
    assert flag("in", "Summer 2023,Work", NOW) == read('in:"Summer 2023",Work')
    assert flag("type", "image, text", NOW) == read("type:image,text")
    assert flag("exact", "red, green", NOW) == read('"red, green"')
    with pytest.raises(QueryError, match="no size") as caught:
        flag("size", "large", NOW)
    assert caught.value.pointer == ("  --size large", "         ^^^^^")


@pytest.mark.parametrize("key", sorted(KEYS))
def test_a_key_with_one_mistake_is_recognised_where_it_is_long_enough(key: str) -> None:
    mistakes = (key[:-1], f"{key}s", key[:-1] + "q", key[:-2] + key[:-3:-1])
    for mistake in mistakes:
        if len(key) >= 4 and mistake not in KEYS:
            assert near_miss(mistake) in KEYS
    assert near_miss(f"{key}word") is None


@pytest.mark.parametrize("word", ["foo", "re", "http", "dear", "bear", "note", "c", "wide"])
def test_other_words_are_no_mistakes(word: str) -> None:
    assert near_miss(word) is None
