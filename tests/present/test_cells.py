from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmsearch.present.cells import snippet, wrapped


def test_a_text_is_cut_between_words() -> None:
    assert snippet("a short text", 20) == ["a short text"]
    assert snippet("a somewhat longer text", 14) == ["a somewhat…"]
    assert snippet("one two three four five", 9, lines=2) == ["one two", "three…"]
    assert snippet("one two three four five", 9, lines=9) == ["one two", "three", "four five"]


def test_a_word_that_is_too_long_is_cut_inside() -> None:
    assert snippet("x" * 30, 10) == ["x" * 9 + "…"]
    assert snippet("a " + "x" * 30, 10, lines=2) == ["a xxxxxxxx", "xxxxxxxxx…"]


def test_wide_characters_take_two_cells() -> None:
    assert snippet("犬と猫と鳥と馬と羊", 9) == ["犬と猫と…"]
    assert wrapped("犬と猫", 4) == ["犬と", "猫"]


def test_nothing_to_show_is_no_line() -> None:
    assert snippet("", 10) == snippet(" \n", 10, lines=3) == []


def test_white_space_and_control_characters_break_no_line() -> None:
    assert snippet("a\n\n b\x1b[31m\tc", 40) == ["a b\\x1b[31m c"]


@given(st.text(), st.integers(3, 40), st.integers(1, 5))
def test_there_are_never_more_lines_or_cells_than_there_is_room_for(text: str, room: int, lines: int) -> None:
    found = snippet(text, room, lines=lines)
    assert len(found) <= lines
    assert all(line and len(wrapped(line, room)) == 1 for line in found)


@given(st.lists(st.text("abc", min_size=1, max_size=9)), st.integers(9, 40))
def test_what_fits_is_shown_in_full(words: list[str], room: int) -> None:
    assert " ".join(snippet(" ".join(words), room, lines=10**6)).split() == words
