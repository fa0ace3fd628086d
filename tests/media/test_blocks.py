from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.media.blocks import lines_of, markdown_blocks, rst_blocks


def _headings(blocks: object) -> list[str]:
    return [block.heading for block in blocks if block.title]  # type: ignore[attr-defined]


def test_headings_of_markdown_are_found_in_both_forms() -> None:
    text = "# One\ntext\n\nTwo\n===\n\nThree\n---\n### Four *stars* ##\n#\n#no heading\n    # code\n"
    assert _headings(markdown_blocks([text])) == ["One", "Two", "Three", "Four *stars", ""]


def test_what_looks_like_a_heading_in_code_or_front_matter_is_none() -> None:
    text = "---\ntitle: x\n---\n\n```sh\n# comment\n~~~\n# more\n```\n\n~~~~\n# too\n~~~\n~~~~\n# Real\n"
    assert _headings(markdown_blocks([text])) == ["Real"]


def test_a_rule_below_a_paragraph_of_lines_makes_no_heading() -> None:
    assert _headings(markdown_blocks(["one\ntwo\n---\n\n---\n"])) == []


def test_headings_of_restructuredtext_have_lines_below_or_around_them() -> None:
    text = "=====\nTitle\n=====\n\nPart\n----\n\ntext\n\nToo long for this\n---\n\n====  ====\na     b\n====  ====\n"
    assert _headings(rst_blocks([text])) == ["Title", "Part"]


def test_a_heading_is_found_after_many_lines() -> None:
    text = "line\n" * 1000 + "\nHeading\n=======\n" + "line\n" * 1000
    assert _headings(markdown_blocks([text])) == ["Heading"]
    assert _headings(rst_blocks([text])) == ["Heading"]


LINES = st.sampled_from(["# a", "===", "---", "----", "a", "", "```", "~~~", "bb", "x" * 400, "    "])


@settings(deadline=None)
@given(st.lists(LINES, max_size=200), st.integers(1, 50))
def test_blocks_are_the_text_in_parts(lines: list[str], size: int) -> None:
    text = "\n".join(lines)
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    for blocks in (markdown_blocks, rst_blocks):
        assert "".join(block.text for block in blocks(chunks)) == text


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("ab\n"), max_size=20), max_size=20), st.integers(1, 8))
def test_lines_are_whole_unless_they_are_too_long(chunks: list[str], limit: int) -> None:
    text = "".join(chunks)
    lines = list(lines_of(chunks, limit))
    assert "".join(lines) == text
    assert all(len(line) <= limit for line in lines)
    assert all("\n" not in line[:-1] for line in lines)
