"""What people wrote into a picture's metadata -> titles, descriptions and keywords: XMP, IPTC and EXIF.

Garbage in there is passed over, as for the rest of EXIF; only a sidecar file that is no XMP at all is an error.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import ExifTags, Image

from mmsearch.errors import MediaError
from mmsearch.media.encodings import clean
from mmsearch.media.files import open_regular, reason_of
from mmsearch.media.formats import open_image, sniff
from mmsearch.media.image import quiet_decoders
from mmsearch.media.word_text import feed_xml

__all__ = ["MAX_WORDS_CHARACTERS", "Description", "DescriptionKind", "embedded_descriptions", "xmp_descriptions"]

DescriptionKind = Literal["caption", "title", "description", "keywords"]

MAX_XMP_BYTES = 8 << 20
MAX_WORDS_CHARACTERS = 4000
"""Length of one description; what is longer is cut."""
_MAX_KEYWORDS = 100

_XMP_KINDS: dict[str, DescriptionKind] = {
    "{http://purl.org/dc/elements/1.1/}description": "description",
    "{http://purl.org/dc/elements/1.1/}title": "title",
    "{http://purl.org/dc/elements/1.1/}subject": "keywords",
    "{http://ns.adobe.com/photoshop/1.0/}Headline": "title",
    "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}AltTextAccessibility": "description",
    "{http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/}ExtDescrAccessibility": "description",
}
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_IPTC_KINDS: dict[int, DescriptionKind] = {5: "title", 105: "title", 120: "description", 25: "keywords"}
_EXIF_KINDS: dict[int, DescriptionKind] = {
    0x010E: "description",
    0x9C9B: "title",
    0x9C9C: "description",
    0x9C9E: "keywords",
    0x9C9F: "title",
}
_USER_COMMENT = 0x9286
# What cameras and programs write there by themselves.
_BOILERPLATE = ("digital camera", "sony dsc", "dcim\\", "created with", "screenshot", "processed with", "default")


@dataclass(frozen=True, slots=True)
class Description:
    """What somebody wrote about a picture.

    Attributes:
        text: One line of at most `MAX_WORDS_CHARACTERS`; keywords are joined by commas.
        kind: What it is.
        origin: Where it is written: ``xmp``, ``iptc``, ``exif``, ``text`` or ``table``.
    """

    text: str
    kind: DescriptionKind
    origin: Literal["xmp", "iptc", "exif", "text", "table"]


def one_line(text: str) -> str:
    """Text in a single line of bounded length."""
    return " ".join(clean(text[: 4 * MAX_WORDS_CHARACTERS]).split())[:MAX_WORDS_CHARACTERS].rstrip()


def xmp_descriptions(packet: bytes) -> tuple[Description, ...]:
    """Titles, descriptions and keywords of an XMP packet or sidecar file, in its order.

    Raises:
        MediaError: It is no XML, has entities, is larger than 8 MiB, or defusedxml is not installed.
    """
    target = _Xmp()
    for _ in feed_xml(io.BytesIO(packet.strip(b"\0 ")), target, MAX_XMP_BYTES):
        pass
    return tuple(_joined(target.found, "xmp"))


class _Xmp:
    """Target that collects the words of known properties, as elements or as attributes."""

    def __init__(self) -> None:
        self.found: list[tuple[DescriptionKind, str]] = []
        self._depth = 0
        self._kind: DescriptionKind | None = None
        self._until = 0
        self._words: list[str] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._kind is None and tag in _XMP_KINDS:
            self._kind, self._until = _XMP_KINDS[tag], self._depth
        if tag == f"{_RDF}li":
            self._take()
        for name, value in attributes.items():
            if name in _XMP_KINDS:
                self.found.append((_XMP_KINDS[name], value))

    def end(self, tag: str) -> None:
        if self._kind is not None and (tag == f"{_RDF}li" or self._depth == self._until):
            self._take()
            if self._depth == self._until:
                self._kind = None
        self._depth -= 1

    def data(self, text: str) -> None:
        if self._kind is not None:
            self._words.append(text)

    def close(self) -> None:
        pass

    def _take(self) -> None:
        if self._kind is not None and len(self.found) < 1000:
            self.found.append((self._kind, "".join(self._words)))
        self._words.clear()


def embedded_descriptions(photo: Path | bytes) -> tuple[Description, ...]:
    """What is written inside a picture's file, none where it is no picture or cannot be told; pixels are not decoded.

    Args:
        photo: The file, or its content.

    Raises:
        MediaError: The file could not be read.
    """
    try:
        with open_regular(photo) if isinstance(photo, Path) else io.BytesIO(photo) as stream:
            kind = sniff(stream.read(64))
            stream.seek(0)
            if kind is None:
                return ()
            with quiet_decoders():
                try:
                    return tuple(_embedded(open_image(stream, kind)))
                except Exception:  # what a damaged picture is met with is told when it is decoded
                    return ()
    except OSError as error:
        raise MediaError(photo if isinstance(photo, Path) else None, reason_of(error)) from error


def _embedded(image: Image.Image) -> Iterator[Description]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    if isinstance(packet, bytes) and packet:
        with contextlib.suppress(MediaError):
            yield from xmp_descriptions(packet)
    with contextlib.suppress(Exception):  # as any garbage may lie in there
        yield from _joined(_iptc(image), "iptc")
    with contextlib.suppress(Exception):
        yield from _joined(_exif(image), "exif")


def _iptc(image: Image.Image) -> list[tuple[DescriptionKind, str]]:
    from PIL import ImageFile, IptcImagePlugin

    found: dict[tuple[int, int], Any] = {}
    if isinstance(image, ImageFile.ImageFile):
        found = dict(IptcImagePlugin.getiptcinfo(image) or {})
    words: list[tuple[DescriptionKind, str]] = []
    for number, kind in _IPTC_KINDS.items():
        values = found.get((2, number))
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, bytes):
                words.append((kind, _decoded(value)))
    return words


def _exif(image: Image.Image) -> list[tuple[DescriptionKind, str]]:
    exif = image.getexif()
    words: list[tuple[DescriptionKind, str]] = []
    for tag, kind in _EXIF_KINDS.items():
        value = exif.get(tag)
        if isinstance(value, bytes | tuple) and tag >= 0x9C9B:  # Windows writes UTF-16 as bytes
            value = bytes(value).decode("utf-16-le", "replace").split("\0")[0].replace(";", ", ")
        elif isinstance(value, bytes):
            value = _decoded(value)
        if isinstance(value, str):
            words.append((kind, value))
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT)
    if isinstance(comment, bytes) and len(comment) > 8:
        mark, content = comment[:8], comment[8:]
        if mark.startswith(b"UNICODE"):
            order = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
            words.append(("description", content.decode(order, "replace")))
        elif mark.startswith((b"ASCII", b"\0\0\0\0")):
            words.append(("description", _decoded(content)))
    return [(kind, text) for kind, text in words if not any(mark in text.lower() for mark in _BOILERPLATE)]


def _decoded(value: bytes) -> str:
    value = value.split(b"\0")[0]
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace")


def _joined(found: list[tuple[DescriptionKind, str]], origin: Literal["xmp", "iptc", "exif"]) -> Iterator[Description]:
    """Descriptions with words in them; keywords become one."""
    keywords: list[str] = []
    for kind, text in found:
        line = one_line(text)
        if not any(character.isalpha() for character in line):
            continue
        if kind != "keywords":
            yield Description(line, kind, origin)
        elif line not in keywords and len(keywords) < _MAX_KEYWORDS:
            keywords.append(line)
    if keywords:
        yield Description(one_line(", ".join(keywords)), "keywords", origin)
