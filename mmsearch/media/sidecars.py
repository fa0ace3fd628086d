"""A photo -> the captions that belong to it: in files beside it, in its folder's table, and in its own metadata."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import MediaError
from mmsearch.media import modality_of
from mmsearch.media.descriptions import Description, embedded_descriptions, one_line, xmp_descriptions
from mmsearch.media.encodings import characters_of
from mmsearch.media.files import open_regular, reason_of
from mmsearch.media.tables import csv_rows
from mmsearch.media.text import read_passages
from mmsearch.types import Failure, Modality

__all__ = [
    "CAPTION_TABLE",
    "MAX_CAPTIONS",
    "MAX_CAPTION_BYTES",
    "SidecarCaptions",
    "captions_beside",
    "joined",
    "sidecar_captions",
    "sidecar_files",
    "sidecar_names",
]

CAPTION_TABLE = "captions.csv"
"""Name of a folder's table of captions; its columns ``image`` and ``caption`` are read, any others are not."""
MAX_CAPTIONS = 32
"""Captions of one photo at most, the first ones in the order of `sidecar_captions`."""

MAX_CAPTION_BYTES = 16 << 10
"""Size of a text file beside a photo beyond which it is a document of its own."""

_XMP_BYTES = 8 << 20
_TABLE_BYTES = 256 << 20
_IMAGE_COLUMNS = ("image", "filename", "file_name", "file", "path", "photo")
_CAPTION_COLUMNS = ("caption", "description", "text", "title")


@dataclass(frozen=True, slots=True)
class SidecarCaptions:
    """What is written about a photo.

    Attributes:
        captions: Each text once, best first: text files, the table, XMP files, then what is inside the photo.
        failures: Sidecar files that are there but could not be read.
    """

    captions: tuple[Description, ...]
    failures: tuple[Failure, ...] = ()


def sidecar_files(file: Path) -> tuple[Path, ...]:
    """Where captions of a photo or subtitles of a video may be written, whether or not the files are there.

    A change in one of them changes what the photo or video is found by. Other kinds of files have none.
    """
    return tuple(file.parent / name for name in sidecar_names(file.name))


def sidecar_names(name: str) -> tuple[str, ...]:
    """The names of `sidecar_files`, which lie in the folder of the file of this name; takes about a microsecond."""
    match modality_of(name):
        case Modality.IMAGE:
            stem = os.path.splitext(name)[0]
            return (f"{stem}.txt", f"{name}.txt", CAPTION_TABLE, f"{stem}.xmp", f"{name}.xmp")
        case Modality.VIDEO:
            stem = os.path.splitext(name)[0]
            return (f"{stem}.srt", f"{name}.srt", f"{stem}.vtt", f"{name}.vtt")
        case _:
            return ()


def sidecar_captions(photo: Path) -> SidecarCaptions:
    """Read the captions that belong to a photo; what cannot be read among them is told and passed over.

    They are ``photo.txt`` and ``photo.jpg.txt`` (up to 16 KiB, split as any text; a longer one is a document of its
    own), the rows of ``captions.csv`` in the same folder, ``photo.xmp`` and ``photo.jpg.xmp``, and the title,
    description and keywords in the photo's XMP, IPTC and EXIF. A table is read once for all photos of its folder.
    """
    beside = captions_beside(photo)
    failures = list(beside.failures)
    inside: tuple[Description, ...] = ()
    try:
        inside = embedded_descriptions(photo)
    except MediaError as error:
        failures.append(Failure(photo, error.reason))
    return SidecarCaptions(joined((*beside.captions, *inside)), tuple(failures))


def captions_beside(photo: Path) -> SidecarCaptions:
    """Those of the captions that lie in other files than the photo's."""
    captions: list[Description] = []
    failures: list[Failure] = []
    for path in sidecar_files(photo):
        try:
            captions.extend(_read(path, photo))
        except FileNotFoundError:
            continue
        except MediaError as error:
            failures.append(Failure(path, error.reason))
        except OSError as error:
            failures.append(Failure(path, reason_of(error)))
    return SidecarCaptions(joined(captions), tuple(failures))


def joined(captions: Iterable[Description]) -> tuple[Description, ...]:
    """Each caption once, whatever its capitals; `MAX_CAPTIONS` of them at most."""
    found: dict[str, Description] = {}
    for caption in captions:
        found.setdefault(caption.text.casefold(), caption)
    return tuple(found.values())[:MAX_CAPTIONS]


def _read(path: Path, photo: Path) -> Iterator[Description]:
    stat = path.stat()
    if path.name == CAPTION_TABLE:
        table = _table(path, stat.st_mtime_ns, stat.st_size)
        for caption in table.get(photo.name, ()) or table.get(photo.stem, ()):
            yield Description(caption, "caption", "table")
    elif path.suffix == ".xmp":
        yield from xmp_descriptions(_content(path, _XMP_BYTES))
    elif 0 < stat.st_size <= MAX_CAPTION_BYTES:
        for passage in read_passages(_content(path, MAX_CAPTION_BYTES), path=path):
            yield Description(one_line(passage.text), "caption", "text")


def _content(path: Path, limit: int) -> bytes:
    with open_regular(path) as file:
        data = b""
        while len(data) <= limit and (chunk := file.read(limit + 1 - len(data))):
            data += chunk
    if len(data) > limit:
        raise MediaError(path, f"more than {limit >> 10} KiB")
    return data


@functools.lru_cache(maxsize=4)
def _table(path: Path, mtime_ns: int, size_bytes: int) -> Mapping[str, tuple[str, ...]]:
    """Captions of a table by the name of the photo; kept until the file changes.

    Raises:
        MediaError: It has no column of images or of captions, or is larger than 256 MiB.
    """
    if size_bytes > _TABLE_BYTES:
        raise MediaError(path, f"more than {_TABLE_BYTES >> 20} MiB")
    with open_regular(path) as file:
        rows = csv_rows(characters_of(file))
        header = [cell.strip().lower() for cell in next(rows, [])]
        image = next((header.index(name) for name in _IMAGE_COLUMNS if name in header), None)
        caption = next((header.index(name) for name in _CAPTION_COLUMNS if name in header), None)
        if image is None or caption is None:
            raise MediaError(path, "no columns image and caption")
        found: dict[str, list[str]] = {}
        for row in rows:
            if len(row) > max(image, caption) and (text := one_line(row[caption])):
                captions = found.setdefault(os.path.basename(row[image].strip().replace("\\", "/")), [])
                if len(captions) < MAX_CAPTIONS:
                    captions.append(text)
    return {name: tuple(captions) for name, captions in found.items()}
