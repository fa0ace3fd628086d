from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mmsearch.present.paths import path_bytes, printable, shown_path
from tests.present.samples import hit

ANY_BYTES = st.binary(min_size=1).map(os.fsdecode)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("dog.jpg", "Ein schöner Tag.jpg", "犬 👩‍👩‍👧.jpg", "a\u202fb.png"):
        assert printable(name) == name


def test_control_characters_and_bad_bytes_are_written_out() -> None:
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert printable("gpj.\u202eexe") == "gpj.\\u202eexe"


@given(st.text() | ANY_BYTES)
def test_nothing_that_a_terminal_obeys_gets_through(name: str) -> None:
    shown = printable(name)
    shown.encode("utf-8")
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)


def test_a_path_is_relative_where_that_is_shorter() -> None:
    assert shown_path("/home/ann/photos/dog.jpg", base="/home/ann") == "photos/dog.jpg"
    assert shown_path("/mnt/dog.jpg", base="/home/ann/deep/down") == "/mnt/dog.jpg"
    assert shown_path("/home/ann/dog.jpg") == "/home/ann/dog.jpg"


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name), max_size=5))
def test_paths_for_programs_are_the_bytes_of_the_file_system(names: list[bytes]) -> None:
    hits = [hit(Path(os.fsdecode(b"/" + name))) for name in names]
    written = b"".join(path_bytes(hits, b"\0"))
    assert written.split(b"\0")[:-1] == list(dict.fromkeys(os.fsencode(one.path) for one in hits if one.path))


def test_a_file_with_several_hits_is_written_once() -> None:
    hits = [hit(Path("/a.mp4")), hit(Path("/b.jpg"), rank=2), hit(Path("/a.mp4"), rank=1, start_ms=500)]
    assert b"".join(path_bytes(hits, b"\n")) == b"/a.mp4\n/b.jpg\n"


def test_an_item_without_a_file_has_no_path_to_print() -> None:
    assert list(path_bytes([hit(None), hit(Path("/a.jpg"))], b"\n")) == [b"/a.jpg\n"]
