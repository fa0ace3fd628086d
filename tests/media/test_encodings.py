from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import MediaError
from mmsearch.media.encodings import SAMPLE_BYTES, characters_of, clean, encoding_of

FRENCH = "Café crème et gâteau à la plage, c'était l'été dernier."
GERMAN = "Über den Wolken muß die Freiheit wohl grenzenlos sein. Schöne Grüße aus Köln."
POLISH = "Zażółć gęślą jaźń. Dzień dobry, jak się masz? Piękna pogoda nad morzem w Gdańsku."
RUSSIAN = "Собака бежит по пляжу и лает на волны. Солнце садится за горизонт."
JAPANESE = "犬が浜辺を走っています。とても楽しそうです。今日は天気がいいですね。"
CHINESE = "一只狗在沙滩上奔跑。今天天气很好，我们去海边散步。"
KOREAN = "개가 해변에서 달리고 있습니다. 날씨가 좋네요."


def _read(content: bytes) -> str:
    return "".join(characters_of(io.BytesIO(content)))


@pytest.mark.parametrize("text", [FRENCH, GERMAN, POLISH, RUSSIAN, JAPANESE, CHINESE, KOREAN, "plain\nascii"])
@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_with_and_without_a_mark(text: str, name: str) -> None:
    assert _read(text.encode(name)) == text


@pytest.mark.parametrize(("mark", "name"), [(codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF32_BE, "utf-32-be")])
def test_marks_of_either_order_of_bytes_are_known(mark: bytes, name: str) -> None:
    assert _read(mark + FRENCH.encode(name)) == FRENCH


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (FRENCH, "latin-1"),
        (GERMAN, "cp1252"),
        ("caf\xe9", "latin-1"),
        (POLISH, "cp1250"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (CHINESE, "gb18030"),
        (KOREAN, "cp949"),
    ],
)
def test_older_encodings_are_told_by_statistics(text: str, name: str) -> None:
    pytest.importorskip("charset_normalizer")
    assert _read(text.encode(name)) == text


def test_a_stray_byte_does_not_spoil_a_file_of_utf8() -> None:
    assert _read(f"{GERMAN} ".encode() * 4 + b"caf\xe9") == f"{GERMAN} " * 4 + "café"


def test_an_older_encoding_that_shows_late_is_read_as_what_it_most_often_is() -> None:
    assert _read(b"plain words\n" * 10_000 + b"caf\xe9").endswith("words\ncafé")


def test_what_a_document_says_of_its_encoding_counts() -> None:
    russian = RUSSIAN.encode("cp866")
    assert encoding_of(russian, b"ibm866") == ("cp866", 0)
    assert encoding_of(b"caf\xe9", b"ISO-8859-1") == ("cp1252", 0)


@pytest.mark.parametrize("name", [b"punycode", b"zlib", b"utf-7", b"rot13", b"", b"\xff", b"no such codec"])
def test_a_document_cannot_choose_a_codec_that_is_no_encoding_of_text(name: bytes) -> None:
    assert encoding_of(b"caf\xe9 cr\xe8me", name) == ("cp1252", 0)


def test_every_line_end_becomes_one_and_the_same() -> None:
    assert _read(b"a\r\nb\rc\nd") == "a\nb\nc\nd"
    text = "a\r\n" * SAMPLE_BYTES  # one pair of them lies across two chunks
    assert _read(b"x" + text.encode()) == "x" + "a\n" * SAMPLE_BYTES


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 8,
        b"\x89PNG\r\n\x1a\n" + bytes(range(200)) * 10,
        b"\0" * 5000,
        b"PK\3\4" + bytes(range(0, 250, 3)) * 20,
    ],
)
def test_binary_data_is_no_text(content: bytes) -> None:
    with pytest.raises(MediaError, match=r"^not text$"):
        _read(content)


def test_a_stray_nul_is_a_blank() -> None:
    assert _read(b"a dog\0and a cat sleep " * 3) == "a dog and a cat sleep " * 3


def test_a_hole_in_a_file_is_blank() -> None:
    text = _read(b"a dog sleeps\n" * SAMPLE_BYTES + b"\0" * 10 * SAMPLE_BYTES + b"\na cat")
    assert text.split() == ["a", "dog", "sleeps"] * SAMPLE_BYTES + ["a", "cat"]


def test_bytes_of_something_else_in_a_text_are_blank() -> None:
    junk = bytes(range(1, 32)) * 1000
    text = _read(b"a dog sleeps\n" * SAMPLE_BYTES + junk + b"a cat\n" * SAMPLE_BYTES)
    assert len(text) == 19 * SAMPLE_BYTES + len(junk)
    assert set(text.split()) <= {"a", "dog", "sleeps", "cat", "t"}
    assert text.endswith("a cat\n")


def test_cleaning_keeps_every_character_in_its_place() -> None:
    assert clean("a\0b\x1b[0m\tc\nd\ud800e\x85f") == "a b [0m\tc\nd\ufffde\x85f"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_text_or_refused(content: bytes) -> None:
    pytest.importorskip("charset_normalizer")
    try:
        _read(content).encode("utf-8")
    except MediaError as error:
        assert error.reason


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"]), min_size=1, max_size=300))
def test_utf8_is_never_taken_for_anything_else(text: str) -> None:
    assert _read(("words before it " + text).encode()) == "words before it " + text
