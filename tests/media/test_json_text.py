from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import MediaError
from mmsearch.media import json_text
from mmsearch.media.json_text import json_blocks, json_line_blocks
from tests.media.documents import texts


def _objects(text: str, size: int = 7) -> list[tuple[str, str]]:
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    return [(block.heading or "", block.text.rstrip("\n")) for block in json_blocks(chunks)]


def test_an_object_tells_its_values_and_its_lists_of_objects_stand_by_themselves() -> None:
    value = {
        "title": "Dogs",
        "size": {"w": 1.50, "h": None},
        "tags": ["a", "b"],
        "ok": True,
        "items": [{"q": 1}, {"q": 2}],
    }
    assert _objects(json.dumps(value).replace("1.5", "1.50")) == [
        ("", "title: Dogs; size.w: 1.50; tags: a, b; ok: true"),
        ("items", "q: 1"),
        ("items", "q: 2"),
    ]


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}]', '{"a": 1}\n{"a": 2}', ' [ {"a":1},\n{"a":2} ] '])
def test_arrays_and_values_one_after_the_other_are_read_alike(text: str) -> None:
    assert [row for _, row in _objects(text)] == ["a: 1", "a: 2"]


def test_numbers_stay_as_they_are_written() -> None:
    assert [row for _, row in _objects("[12345678901234567890123, 1e999, " + "9" * 5000 + ", NaN]")][:2] == [
        "12345678901234567890123",
        "1e999",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1', "truncated JSON"),
        ('[{"a": 1}', "truncated JSON"),
        ('[{"a": "x', "truncated JSON"),
        ("[1 2]", "damaged JSON"),
        ("hello", "damaged JSON"),
        ('{"a": 1} xx                                    ', "damaged JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a":' * 80 + "1" + "}" * 80, "nested too deeply"),
    ],
)
def test_damaged_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        _objects(text, size=65_536)


def test_an_enormous_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_VALUE_CHARACTERS", 1000)
    with pytest.raises(MediaError, match="a JSON value of more than"):
        _objects('["' + "x" * 5000 + '"]', size=100)


def test_a_lone_surrogate_in_json_is_replaced() -> None:
    assert texts('{"a": "x\\ud800y"}', "a.json") == ["a: x\ufffdy"]


def test_lines_that_are_no_json_are_passed_over() -> None:
    lines = ['{"a": 1}\n', "not json\n", "\n", '{"a": 2}\n', '{"a": ']
    assert [block.text for block in json_line_blocks(lines)] == ["a: 1\n", "a: 2\n"]
    with pytest.raises(MediaError, match="no line of it is JSON"):
        list(json_line_blocks(["hello\n", "world\n"]))


def test_keys_that_repeat_in_every_value_do_not_make_a_text_of_a_file_many_times_larger() -> None:
    text = json.dumps({"k" * 10_000: {f"key{number}": 1 for number in range(1000)}})
    assert len("".join(row for _, row in _objects(text, size=65_536))) < 20 * len(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(JSON, st.integers(1, 30), st.booleans())
def test_any_json_is_read_however_it_comes_in(value: Any, size: int, spaced: bool) -> None:
    text = json.dumps(value, indent=1 if spaced else None)
    assert _objects(text, size) == _objects(text, 10_000)
