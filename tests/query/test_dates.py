"""Dates as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.query.dates import moment, period, spelled

NOW = datetime(2024, 3, 31, 14, 30, 15, 500)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2023", (2023, 1, 1), (2024, 1, 1)),
        ("2024-02", (2024, 2, 1), (2024, 3, 1)),
        ("2023-12", (2023, 12, 1), (2024, 1, 1)),
        ("2023-6-1", (2023, 6, 1), (2023, 6, 2)),
        ("2023-06-01T12:00", (2023, 6, 1, 12), (2023, 6, 1, 12, 1)),
        ("2023-06-01T12:00:59", (2023, 6, 1, 12, 0, 59), (2023, 6, 1, 12, 1)),
        ("today", (2024, 3, 31), (2024, 4, 1)),
        ("Yesterday", (2024, 3, 30), (2024, 3, 31)),
        ("7d", (2024, 3, 24), (2024, 3, 25)),
        ("1m", (2024, 2, 29), (2024, 3, 1)),
    ],
)
def test_a_date_is_a_period(text: str, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    assert period(text, NOW) == (datetime(*start), datetime(*end))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOW.replace(day=24)),
        ("2w", NOW.replace(day=17)),
        ("1m", NOW.replace(month=2, day=29)),
        ("13M", NOW.replace(year=2023, month=2, day=28)),
        ("1y", NOW.replace(year=2023)),
        ("2023-06", datetime(2023, 6, 1)),
    ],
)
def test_a_span_is_so_long_ago(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


def test_after_the_last_moment_nothing_comes() -> None:
    for text in ("9999", "9999-12", "9999-12-31", "9999-12-31T23:59", "9999-12-31T23:59:59.999999"):
        assert period(text, NOW)[1] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023-13",
        "2023-02-30",
        "23",
        "20230",
        "2023-06-01T25:00",
        "0000",
        "9999y",
        "99999999999d",
        "9" * 5000 + "d",
        "soon",
        "٢٠٢٣",
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    for read in (moment, period):
        with pytest.raises(ValueError):
            read(text, NOW)


@given(st.datetimes())
def test_any_moment_is_read_back(value: datetime) -> None:
    assert moment(spelled(value), NOW) == value
