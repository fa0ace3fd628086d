"""Sizes, lengths and distances as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.filters import Range
from mmsearch.query.quantities import duration_ms, kilometres, pixels, range_of, size_bytes, spelled_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512", 512),
        ("512B", 512),
        ("2kB", 2000),
        ("2KB", 2000),
        ("2k", 2000),
        ("1.5 MB", 1_500_000),
        ("3gb", 3 * 10**9),
        ("1TB", 10**12),
        ("2KiB", 2048),
        ("1MiB", 2**20),
        ("1GiB", 2**30),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert size_bytes(text)[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90_000),
        ("1m30s", 90_000),
        ("1:30", 90_000),
        ("1:02:03", 3_723_000),
        ("2h", 7_200_000),
        ("90", 90_000),
        ("1.5s", 1500),
        ("1500ms", 1500),
        ("0:00.5", 500),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert duration_ms(text)[0] == expected


@pytest.mark.parametrize(("text", "expected"), [("5", 5.0), ("5km", 5.0), ("500m", 0.5), ("1mi", 1.609344)])
def test_distances(text: str, expected: float) -> None:
    assert kilometres(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">2", Range(low=3)),
        (">=2", Range(low=2)),
        ("<2", Range(high=1)),
        ("<=2", Range(high=2)),
        ("> 2.5", Range(low=3)),
        ("<2.5", Range(high=2)),
        (">=2.5", Range(low=3)),
        ("<=2.5", Range(high=2)),
        ("=2", Range(2, 2)),
        ("2", Range(2, 2)),
        ("1..3", Range(1, 3)),
        ("1..", Range(low=1)),
        ("..3", Range(high=3)),
    ],
)
def test_comparisons_are_ranges_of_whole_numbers(text: str, expected: Range) -> None:
    assert range_of(text, pixels) == expected


def test_a_duration_alone_is_what_a_player_shows_as_that() -> None:
    assert range_of("1:30", duration_ms) == Range(90_000, 90_999)
    assert range_of("90000ms", duration_ms) == Range(90_000, 90_000)


@pytest.mark.parametrize("text", ["", "MB", "2XB", ">", "1...3", "><2", "1,5", "two", "0x10", "1e9999", "٢"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    for read in (size_bytes, pixels, duration_ms):
        with pytest.raises(ValueError):
            range_of(text, read)
    with pytest.raises(ValueError):
        kilometres(text)


@given(st.one_of(st.none(), st.integers()), st.one_of(st.none(), st.integers()))
def test_any_range_is_read_back(low: int | None, high: int | None) -> None:
    if low is not None and high is not None:
        low, high = sorted((low, high))
    limits = Range(low, high)
    assert range_of(spelled_range(limits), size_bytes) == limits
    assert range_of(spelled_range(limits, "ms"), duration_ms) == limits
