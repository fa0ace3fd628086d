from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch import media
from mmsearch.errors import MediaError
from mmsearch.media import modality_of
from mmsearch.media.text import TEXT_SUFFIXES, read_passages, read_text
from mmsearch.types import Modality
from tests.media.documents import checked, lines_drawn, paragraph, pdf, texts, word

NEEDED = {".docx": "defusedxml", ".pdf": "pypdf"}
SEEDS = {
    ".csv": b"name,age\nAnn,3\n",
    ".docx": word(paragraph("A dog.")),
    ".html": b"<h1>Dogs</h1><p class='a'>A dog &amp; a cat.</p><script>x</script>",
    ".json": b'[{"name": "Ann", "tags": [{"a": 1}]}]',
    ".jsonl": b'{"name": "Ann"}\n{"name": "Bob"}\n',
    ".md": b"# Dogs\n\nA dog.\n\n```\ncode\n```\n",
    ".pdf": pdf([lines_drawn(["A dog."])]),
    ".rst": b"Dogs\n====\n\nA dog.\n",
    ".srt": b"1\n00:00:01,000 --> 00:00:02,000\nA dog.\n",
    ".txt": b"A dog. A cat.\n",
    ".vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\nA dog.\n",
}


def _need(suffix: str) -> None:
    pytest.importorskip("charset_normalizer")
    pytest.importorskip(NEEDED.get(suffix, "charset_normalizer"))


@pytest.mark.parametrize("suffix", sorted(SEEDS))
def test_every_format_is_read_from_a_file_as_from_its_content(tmp_path: Path, suffix: str) -> None:
    _need(suffix)
    path = tmp_path / f"notes{suffix.upper()}"
    path.write_bytes(SEEDS[suffix])
    passages = list(read_passages(path))
    assert passages == checked(SEEDS[suffix], path.name)
    assert passages[0].text in read_text(path)


def test_every_kind_of_text_that_can_be_read_is_found() -> None:
    assert TEXT_SUFFIXES == media.TEXT_SUFFIXES
    assert all(modality_of(f"notes{suffix}") == Modality.TEXT for suffix in TEXT_SUFFIXES)


def test_a_span_of_a_plain_text_is_that_of_the_file_as_python_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"\xef\xbb\xbfFirst line.\r\nA caf\xc3\xa9 at the beach.\r\n")
    (passage,) = read_passages(path)
    assert path.read_text(encoding="utf-8-sig")[passage.start_char : passage.end_char] == passage.text


def test_a_part_of_a_text_is_read_by_its_span() -> None:
    content = b"A dog at the beach. " * 20_000
    assert read_text(content, start_char=200_000, end_char=200_006) == "A dog "
    assert read_text(content, start_char=399_995) == "ach. "


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"", "a.txt", "empty file"),
        (b" \n\t ", "a.txt", "no text in it"),
        (b"\xef\xbb\xbf", "a.md", "no text in it"),
        (b"\x7fELF\2\1\1" + bytes(200), "a.txt", "not text"),
        (b"a dog", "a.exe", "not a kind of text that can be read (.exe)"),
        (b"{}", "a.json", "no text in it"),
        (b"WEBVTT", "a.vtt", "no text in it"),
    ],
)
def test_what_has_no_text_is_refused_with_a_reason(content: bytes, name: str, reason: str) -> None:
    with pytest.raises(MediaError) as caught:
        list(read_passages(content, path=Path(name)))
    assert (caught.value.reason, caught.value.path) == (reason, Path(name))


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    for name, reason in (("none.txt", "no such file"), ("pipe.txt", "not a regular file"), (".", "not a kind")):
        with pytest.raises(MediaError, match=reason):
            list(read_passages(tmp_path / name) if name != "." else read_passages(b"a", path=Path("a.b")))


def test_reading_may_end_before_the_text_does(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"A dog at the beach. " * 50_000)
    passages = read_passages(path)
    next(passages)
    passages.close()
    assert not [name for name in os.listdir("/proc/self/fd") if _target(name) == str(path)]


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.md", b"## A dog\nruns along the beach.\n"),
        ("a.rst", b"Dogs\n====\nThey run along the beach.\n"),
        ("a.csv", b"Ann,3,A dog at the beach\n"),
        ("quoted.csv", b'Ann,"3,A dog at the beach\n'),
        ("a.jsonl", b'{"name": "Ann", "age": 3}\n'),
        ("a.json", b'{"name": "Ann", "age": 3},\n'),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\nA dog barks.\n\n"),
    ],
)
def test_a_large_file_is_read_in_parts(tmp_path: Path, name: str, unit: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(
        (b"[" if name == "a.json" else b"A dog.\n")
        + unit * ((2 << 20) // len(unit))
        + (b"{}]" if name == "a.json" else b"")
    )
    tracemalloc.start()
    try:
        assert read_text(path, start_char=1 << 40) == ""
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000  # less than the file, however large that is


@pytest.mark.parametrize("unit", [b"A small dog runs along the beach. ", b"x", b" ", b"\0"])
def test_a_large_text_is_split_in_little_memory(tmp_path: Path, unit: bytes) -> None:
    path = tmp_path / "large.txt"
    path.write_bytes(b"A dog at the beach. " * 5000 + unit * ((1 << 20) // len(unit)) + b"\nThe last words.")
    last = ""
    tracemalloc.start()
    try:
        for passage in read_passages(path):
            last = passage.text
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last.endswith("The last words.")
    assert peak < 700_000


@pytest.mark.slow
def test_a_sparse_text_of_two_gigabytes_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.txt"
    with path.open("wb") as file:
        file.write(b"A dog at the beach. " * 5000)
        file.truncate(2 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\nThe last words.")
    last = ""
    tracemalloc.start()
    try:
        for passage in read_passages(path):
            last = passage.text
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last == "The last words."
    assert peak < 700_000


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=2000))
def test_any_bytes_are_passages_or_refused(suffix: str, content: bytes) -> None:
    _need(suffix)
    _read_or_refuse(content, suffix)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SEEDS)), st.integers(0, 2000), st.binary(max_size=60), st.integers(0, 2000))
def test_a_damaged_document_is_passages_or_refused(suffix: str, at: int, junk: bytes, cut: int) -> None:
    _need(suffix)
    whole = SEEDS[suffix]
    at %= len(whole)
    _read_or_refuse((whole[:at] + junk + whole[at + len(junk) // 2 :])[: len(whole) - cut % len(whole) // 4], suffix)


MARKS = st.sampled_from(
    [
        *"<>/\"'=&;,:#-[]{}| \n`~*_",
        *("<p>", "<div hidden>", "</div>", "<!--", "-->", "<script>", "</script>", "<svg/>", "&amp;", "&#99999999999;"),
        *("word", "Dr. ", '"a": ', "null", "1e5", "```", "===", "00:01.000 --> 00:02.000\n", "NOTE"),
    ]
)


@settings(deadline=None)
@given(st.sampled_from(sorted(set(SEEDS) - {".docx", ".pdf"})), st.lists(MARKS, max_size=80).map("".join))
def test_any_marks_are_passages_or_refused(suffix: str, text: str) -> None:
    _read_or_refuse(text.encode(), suffix)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["dog", "cat", ". ", " ", "\n", "\n\n", "# ", "é", "犬。", "\r\n"]), max_size=300).map(
        "".join
    )
)
def test_plain_texts_keep_every_word(text: str) -> None:
    content = ("words before. " + text).encode()
    for suffix in (".txt", ".md", ".rst"):
        checked(content, f"a{suffix}")


def _read_or_refuse(content: bytes, suffix: str) -> None:
    try:
        checked(content, f"a{suffix}")
    except MediaError as error:
        assert error.reason
        assert error.path == Path(f"a{suffix}")


def test_real_sentences_stay_below_the_limit_of_the_built_in_model(shared_data: Path) -> None:
    from mmsearch.encoders.wordpiece import WordPiece

    tokens = WordPiece(Path(modality_of.__code__.co_filename).parent.parent / "models" / "mini_vocabulary.txt")
    content = (shared_data / "sentences" / "coco_val2017_captions.txt").read_bytes()[:200_000]
    passages = texts(content, "captions.txt")
    assert max(len(tokens.encode(text, 1000)) for text in passages) < 128
