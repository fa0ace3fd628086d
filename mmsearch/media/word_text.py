"""A Word document (.docx) -> blocks of its paragraphs, headings and rows of tables; the adapter of zip and XML.

Parts are read as a stream of events within a limit, so that neither a zip bomb nor deep nesting costs memory; entities
are refused (defusedxml).
"""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Iterator
from typing import IO, Any, BinaryIO

from mmsearch.errors import MediaError
from mmsearch.media.blocks import Block
from mmsearch.media.encodings import clean

__all__ = ["MAX_PART_BYTES", "feed_xml", "word_blocks"]

MAX_PART_BYTES = 64 << 20
"""Uncompressed size of the text of a document at most; that of a book of a thousand pages is a tenth of it."""

_CHUNK_BYTES = 1 << 20
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_WORDS = (
    "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}",
    "{http://purl.oclc.org/ooxml/wordprocessingml/main}",
)
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING = re.compile(r"(heading|title|subtitle|berschrift|titre|t[ií]tulo)\s*\d?", re.IGNORECASE)
_NOTES = ("footnotes.xml", "endnotes.xml")
_LEVELS = frozenset("012345678")
_DIRECTORY_BYTES = 16 << 20


def word_blocks(stream: BinaryIO) -> Iterator[Block]:
    """Blocks of a Word document: its text, then its footnotes and endnotes; each ends with a blank line.

    Raises:
        MediaError: It is no Word document, encrypted, damaged, or larger than `MAX_PART_BYTES` when unpacked.
    """
    head = stream.read(8)
    if head == _OLE:
        raise MediaError(None, "an encrypted document, or one of Word before 2007")
    if _directory_bytes(stream) > _DIRECTORY_BYTES:
        raise MediaError(None, "a zip file of too many files")
    try:
        with zipfile.ZipFile(stream) as package:
            names = set(package.namelist())
            main = _main_part(package, names)
            folder = main.rpartition("/")[0]
            headings = _heading_styles(package, f"{folder}/styles.xml", names)
            for name in (main, *(f"{folder}/{part}" for part in _NOTES)):
                if name in names:
                    yield from _part_blocks(package, name, headings)
    except MediaError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive may raise anything in the decompressors
        reason = "an encrypted zip file" if "password" in str(error) else "damaged or no Word document"
        raise MediaError(None, reason) from error


def feed_xml(stream: IO[bytes], target: Any, limit: int) -> Iterator[None]:
    """Hand the tags and texts of XML to a target (``start``, ``end``, ``data``), a pause after each mebibyte.

    Raises:
        MediaError: It is damaged, has entities, is larger than the limit, or defusedxml is not installed.
    """
    try:
        defused = importlib.import_module("defusedxml.ElementTree")  # it has no types
        refusals: type[Exception] = importlib.import_module("defusedxml.common").DefusedXmlException
    except ImportError as error:
        raise MediaError(None, "XML needs the package defusedxml") from error
    parser = defused.DefusedXMLParser(target=target)
    try:
        while data := stream.read(_CHUNK_BYTES):
            limit -= len(data)
            if limit < 0:
                raise MediaError(None, "too large when unpacked")
            parser.feed(data)
            yield
        parser.close()
    except refusals as error:
        raise MediaError(None, "XML with entities") from error
    except (defused.ParseError, LookupError, ValueError) as error:  # ValueError: an encoding that expat has no use for
        raise MediaError(None, "damaged XML") from error


def _directory_bytes(stream: BinaryIO) -> int:
    """Size that a zip file gives its list of files, which is held in memory; 0 where there is none."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - 0xFFFF - 22))
    tail = stream.read()
    stream.seek(0)
    found = tail.rfind(b"PK\5\6")
    return int.from_bytes(tail[found + 12 : found + 16], "little") if found >= 0 else 0


def _main_part(package: zipfile.ZipFile, names: set[str]) -> str:
    if "word/document.xml" in names:
        return "word/document.xml"
    # Some writers number it; others leave the folder out.
    found = sorted(name for name in names if re.fullmatch(r"(word/)?document\d*\.xml", name))
    if not found:
        raise MediaError(None, "a zip file that is no Word document")
    return found[0]


def _heading_styles(package: zipfile.ZipFile, name: str, names: set[str]) -> set[str]:
    """Ids of the styles of headings, whatever the language of the Word that wrote them."""
    styles = _Styles()
    if name in names:
        with package.open(name) as part:
            for _ in feed_xml(part, styles, MAX_PART_BYTES):
                pass
    return styles.headings


def _part_blocks(package: zipfile.ZipFile, name: str, headings: set[str]) -> Iterator[Block]:
    if package.getinfo(name).file_size > MAX_PART_BYTES:
        raise MediaError(None, "too large when unpacked")
    paragraphs = _Paragraphs(headings)
    with package.open(name) as part:
        for _ in feed_xml(part, paragraphs, MAX_PART_BYTES):
            yield from paragraphs.ready
            paragraphs.ready.clear()
    yield from paragraphs.ready


def _word(tag: str) -> str:
    """Name of a tag of Word's own vocabulary, empty for any other."""
    for prefix in _WORDS:
        if tag.startswith(prefix):
            return tag[len(prefix) :]
    return ""


def _value(attributes: dict[str, str], name: str = "val") -> str:
    return next((attributes[prefix + name] for prefix in _WORDS if prefix + name in attributes), "")


class _Styles:
    """Target that collects the styles whose name or level in the outline is that of a heading."""

    def __init__(self) -> None:
        self.headings: set[str] = set()
        self._style = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _word(tag)
        if name == "style":
            self._style = _value(attributes, "styleId")
        elif self._style and (
            (name == "name" and _HEADING.fullmatch(_value(attributes)))
            or (name == "outlineLvl" and _value(attributes) in _LEVELS)
        ):
            self.headings.add(self._style)

    def end(self, tag: str) -> None:
        pass

    def data(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class _Paragraphs:
    """Target that makes blocks of paragraphs; those of a row of a table become one line."""

    def __init__(self, headings: set[str]) -> None:
        self.ready: list[Block] = []
        self._headings = headings
        self._open: list[list[str]] = []  # a text box is a paragraph inside a paragraph
        self._title = False
        self._row: list[str] = []
        self._rows = 0
        self._in_text = False
        self._skipped = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._skipped or tag == _FALLBACK:
            self._skipped += 1  # what older programs show instead
            return
        name = _word(tag)
        if name == "t":
            self._in_text = True
        elif name == "p":
            self._open.append([])
            self._title = False
        elif name in ("tab", "br", "cr"):
            if self._open:
                self._open[-1].append("\n" if name != "tab" else " ")
        elif name == "noBreakHyphen" and self._open:
            self._open[-1].append("-")
        elif name == "pStyle":
            style = _value(attributes)
            self._title = style in self._headings or bool(_HEADING.fullmatch(style))
        elif name == "outlineLvl":
            self._title = self._title or _value(attributes) in _LEVELS
        elif name == "tr":
            self._rows += 1

    def end(self, tag: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        name = _word(tag)
        if name == "t":
            self._in_text = False
        elif name == "p" and self._open:
            self._paragraph("".join(self._open.pop()))
        elif name == "tr":
            self._rows = max(0, self._rows - 1)
            if not self._rows and self._row:
                self.ready.append(Block(" | ".join(self._row) + "\n\n"))
                self._row = []

    def data(self, text: str) -> None:
        if self._in_text and self._open:
            self._open[-1].append(text)

    def close(self) -> None:
        pass

    def _paragraph(self, text: str) -> None:
        text = "\n".join(line for line in (" ".join(part.split()) for part in clean(text).split("\n")) if line)
        if not text:
            return
        if self._rows:
            self._row.append(text)
        else:
            title = self._title and len(text) <= 300
            self.ready.append(Block(text + "\n\n", heading=text if title else None, title=title))
        self._title = False
