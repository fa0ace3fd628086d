"""Bytes of a text file -> its characters in chunks, whatever encoding it has; what is no text at all is refused.

A byte order mark counts most, then the pattern of zeros that UTF-16 and UTF-32 have, then valid UTF-8, then what the
document says of itself, and at last statistics (charset-normalizer). Only the beginning of a file is looked at, so that
a file of any size is read once and in bounded memory.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from typing import BinaryIO

from mmsearch.errors import MediaError

__all__ = ["SAMPLE_BYTES", "characters_of", "clean", "encoding_of"]

SAMPLE_BYTES = 1 << 16
"""How much of a file's beginning tells its encoding, and the size of the chunks that it is read in."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_STATISTICS_BYTES = 1 << 15
_PRINTABLE = re.compile(rb"[\t-\r -~\0]*+")
# Kana and the punctuation of Chinese and Japanese, Hangul, Cyrillic; ideographs, letters and digits beside them.
_SCRIPTS = re.compile("[\u3000-\u30ff\uff00-\uffef\uac00-\ud7a3\u0400-\u04ff]")
_WITH_SCRIPTS = re.compile("[\t-\r -~\u2000-\u206f\u4e00-\u9fff]")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f]")
_ASCII_CONTROLS = "".join(chr(code) for code in (*range(1, 9), *range(11, 32), 127))  # without the zeros of holes
_BLANKED = str.maketrans(dict.fromkeys("\0" + _ASCII_CONTROLS, " "))
_WINDOW = 4096
_BINARY = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\ufffd]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_BINARY_SHARE = 0.02
# Names that documents give, and what is meant by them in truth; others may be no text or slow to decode.
_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso8859-9": "cp1254",
}
_DECLARED = re.compile(r"(iso8859|cp(437|8\d\d|9\d\d|12\d\d)|koi8|mac|euc_|big5|gb|shift_jis|tis|ascii)")
# What text files are found in; among all code pages there are, statistics go astray on short texts.
_CODE_PAGES = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "iso8859_7"),
    *("koi8_r", "cp437", "cp850", "cp866", "cp874", "gb18030", "big5", "cp932", "euc_jp", "cp949", "iso2022_jp"),
]
# Letters and signs of Western Europe, without those whose places are letters of other languages in their code pages.
_WESTERN = frozenset("àáâäãåæçèéêëìíîïñòóôöøœùúûüÿßÀÁÂÄÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖØŒÙÚÛÜ‘’“”„–—…«»°§€£©®·¡\xa0".encode("cp1252"))
_LEGACY = "mmsearch.legacy"


def _as_legacy(error: UnicodeError) -> tuple[str, int]:
    """Read bytes that are not UTF-8 as what they most often are in a file that otherwise is: Windows-1252."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error(_LEGACY, _as_legacy)


def clean(text: str) -> str:
    """Put blanks for control characters and U+FFFD for lone surrogates, one for one; tabs and line ends stay.

    Where a text goes over into bytes of something else, as a damaged file does, all of these are blanks.
    """
    if text.isascii():
        zeros = text.count("\0")
        controls = sum(map(text.count, _ASCII_CONTROLS))
        cleaned = text.translate(_BLANKED) if zeros or controls else text
    else:
        zeros = text.count("\0")
        cleaned, count = _CONTROLS.subn(" ", text)
        controls = count - zeros
        cleaned = _SURROGATES.sub("\ufffd", cleaned)
    if controls <= max(16, (len(text) - zeros) // 10):
        return cleaned
    if len(text) <= _WINDOW:
        return " " * len(text)
    return "".join(clean(text[start : start + _WINDOW]) for start in range(0, len(text), _WINDOW))


def characters_of(stream: BinaryIO, *, declared: re.Pattern[bytes] | None = None) -> Iterator[str]:
    r"""Read a text file: chunks of its characters without a byte order mark, every line end one ``\n``, cleaned.

    Args:
        stream: The file, at its beginning.
        declared: Where the document names its encoding in its first 2 KiB, in group 1.

    Raises:
        MediaError: It is binary, or a package that is needed to tell its encoding is not installed.
        OSError: It could not be read.
    """
    head = b""
    while len(head) < SAMPLE_BYTES and (data := stream.read(SAMPLE_BYTES - len(head))):
        head += data
    named = declared.search(head[:2048]) if declared else None
    name, mark = encoding_of(head, named.group(1) if named else b"")
    errors = _LEGACY if name == "utf-8" else "replace"
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(name)(errors), translate=True)
    data = head[mark:]
    try:
        while data:
            if text := decoder.decode(data):
                yield clean(text)
            data = stream.read(SAMPLE_BYTES)
        if text := decoder.decode(b"", final=True):
            yield clean(text)
    except UnicodeError as error:
        raise MediaError(None, f"not text in {name}") from error


def encoding_of(head: bytes, declared: bytes = b"") -> tuple[str, int]:
    """Tell the encoding of a text by its beginning.

    Args:
        head: The first bytes; all of them where there are fewer than `SAMPLE_BYTES`.
        declared: The name that the document itself gives, if any.

    Returns:
        The name of a Python codec, and the length of the byte order mark.

    Raises:
        MediaError: It is binary, or its encoding cannot be told.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    name = _by_zeros(head) or _utf8(head) or _by_script(head) or _declared(declared, head) or _by_statistics(head)
    text = codecs.getincrementaldecoder(name)("replace").decode(head)
    if len(_BINARY.findall(text)) > 2 + _BINARY_SHARE * len(text):
        raise MediaError(None, "not text")
    return name, 0


def _utf8(head: bytes) -> str | None:
    """UTF-8 if there is no more than a trace of anything else."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = head.decode("utf-8", "replace")
        wide = sum(not c.isascii() for c in text)
        return "utf-8" if text.count("\ufffd") * 5 < wide else None
    if len(head) < SAMPLE_BYTES:
        try:
            head.decode("utf-8")
        except UnicodeDecodeError:  # the last character is not whole: another encoding, unless there are more of them
            return "utf-8" if sum(byte >= 0x80 for byte in head) > 8 else None
    return "utf-8"


def _by_zeros(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: zeros in every other byte, or in three of four."""
    head = head[: len(head) // 4 * 4] or head
    zeros = [head[place::4].count(0) for place in range(4)]
    quarter = len(head) // 4
    if not any(zeros) or len(head) < 2 or len(head) % 2:
        return None
    for name, low in (("utf-32-le", 0), ("utf-32-be", 3)):
        others = sum(zeros) - zeros[low]
        if quarter and others >= 2.5 * quarter and zeros[low] < 0.02 * quarter + 1 and _reads(head, name):
            return name
    pairs = len(head) // 2
    for name, high in (("utf-16-le", 1), ("utf-16-be", 0)):
        count, other = head[high::2].count(0), head[1 - high :: 2].count(0)
        # Text in Latin letters has a zero in nearly every pair; other scripts have them at blanks and line ends.
        needed = 0.6 if _PRINTABLE.fullmatch(head) else 0.02
        if count >= needed * pairs and other * 20 < count and _reads(head, name):
            return name
    return None


def _by_script(head: bytes) -> str | None:
    """UTF-16 without a mark in scripts that may do without blanks, and so without zeros."""
    if len(head) < 16 or len(head) % 2:
        return None
    for name in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(name)().decode(head)[:4096]
        except UnicodeDecodeError:
            continue
        scripts = len(_SCRIPTS.findall(text))
        if scripts * 20 >= len(text) and (scripts + len(_WITH_SCRIPTS.findall(text))) * 20 >= len(text) * 19:
            return name
    return None


def _reads(head: bytes, name: str) -> bool:
    """Whether nearly all characters exist that bytes stand for in an encoding."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(head)[:4096]
    except UnicodeDecodeError:
        return False
    missing = sum(unicodedata.category(c) in ("Cn", "Co", "Cs") for c in text)
    return missing <= len(text) // 100


def _declared(name: bytes, head: bytes) -> str | None:
    try:
        codec = codecs.lookup(name.decode("ascii", "replace").strip()).name
        codec = _MEANT.get(codec, codec)
        if not _DECLARED.match(codec):
            return None
        codecs.getincrementaldecoder(codec)().decode(head)
    except (LookupError, ValueError):  # unknown, or not what it says
        return None
    return codec


def _by_statistics(head: bytes) -> str:
    if len(_BINARY.findall(head.decode("latin-1"))) > 2 + _BINARY_SHARE * len(head):
        raise MediaError(None, "not text")
    if _is_western(head):
        return "cp1252"
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MediaError(None, "its encoding can only be told with the package charset-normalizer") from error
    wide = next((place for place, byte in enumerate(head) if byte >= 0x80), 0)
    start = head.rfind(b"\n", 0, wide) + 1 if wide > _STATISTICS_BYTES // 2 else 0
    sample = head[start : start + _STATISTICS_BYTES]
    if len(head) > len(sample):
        # A character that is cut in two would rule its own encoding out.
        sample = sample[: max(sample.rfind(b"\n"), sample.rfind(b" ")) + 1] or sample
    best = from_bytes(sample, cp_isolation=_CODE_PAGES, enable_fallback=False).best()
    return "cp1252" if best is None else best.encoding


def _is_western(head: bytes) -> bool:
    """Whether all letters beyond ASCII are those of Western Europe in Windows-1252, and not too many.

    Statistics know no difference between code pages of neighbours in a short text.
    """
    letters = sum(bytes((byte,)).isalpha() for byte in head)
    wide = [byte for byte in head if byte >= 0x80]
    return len(wide) * 4 <= letters + len(wide) and all(byte in _WESTERN for byte in wide)
