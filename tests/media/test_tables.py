from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import MediaError
from mmsearch.media.tables import csv_rows, table_blocks
from tests.media.documents import checked, texts


def _rows(text: str) -> list[str]:
    return [block.text.rstrip("\n") for block in table_blocks([text])]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_a_row_tells_its_cells_by_the_names_of_their_columns(delimiter: str) -> None:
    text = "name,what it is,age\nAnn,a small dog,3\n\nBob,,\n".replace(",", delimiter)
    assert _rows(text) == ["name: Ann; what it is: a small dog; age: 3", "name: Bob"]


def test_a_table_without_names_of_columns_keeps_its_first_row() -> None:
    assert _rows("1,A dog.\n2,A cat.\n") == ["1; A dog.", "2; A cat."]


def test_a_cell_of_several_lines_is_one_line_of_the_text() -> None:
    assert _rows('name,text\nAnn,"two\nlines, ""quoted"""\n') == ['name: Ann; text: two lines, "quoted"']


def test_each_row_is_a_passage_and_a_long_one_is_several() -> None:
    content = "name,text\nAnn,a dog\nBob," + "a cat sleeps on the sofa. " * 60 + "\n"
    passages = texts(content, "a.csv")
    assert passages[0] == "name: Ann; text: a dog"
    assert passages[1].startswith("name: Bob; text: a cat sleeps")
    assert len(passages) > 4


def test_a_quotation_mark_that_nothing_ends_costs_no_words() -> None:
    lines = [f"dog {number},barks" for number in range(20_000)]
    rows = [" ".join(row) for row in csv_rows(["name,what\n", '"open,' + "\n".join(lines)])]
    assert "dog 19999" in rows[-1]
    assert sum("barks" in row for row in rows) > 19_000


@settings(deadline=None)
@given(st.lists(st.lists(st.text(max_size=8), max_size=4), max_size=6))
def test_any_table_gives_passages_with_their_places(rows: list[list[str]]) -> None:
    content = "\n".join(",".join(row) for row in rows).encode("utf-8", "replace")
    try:
        checked(b"name,age\n" + content, "a.csv")
    except MediaError as error:
        assert error.reason in ("no text in it", "not text")
