from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.errors import UsageError
from mmsearch.evaluation import PROMPTS, read_prompts


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "prompts.txt").write_bytes(content)
    return tmp_path / "prompts.txt"


def test_each_line_is_a_sentence_and_remarks_are_passed_over(tmp_path: Path) -> None:
    file = written(tmp_path, b"\xef\xbb\xbf# flowers\n\n a photo of a {}, a flower.\r\n{} in a vase\n")
    assert read_prompts(file) == ("a photo of a {}, a flower.", "{} in a vase")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no sentences"),
        (b"# only a remark\n", "no sentences"),
        (b"a photo of a {}\n\na photo\n", "Line 3 .* must have {} once"),
        (b"{} and {}\n", "Line 1 .* must have {} once"),
        ("ein schöner {}".encode("latin-1"), "not a text file in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_the_place(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_prompts(written(tmp_path, content))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot read .*none\.txt"):
        read_prompts(tmp_path / "none.txt")


def test_the_built_in_sentences_name_the_class_once_and_differ() -> None:
    assert all(prompt.count("{}") == 1 for prompt in PROMPTS)
    assert len(set(PROMPTS)) == len(PROMPTS)
