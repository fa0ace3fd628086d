"""Files of captions go in, pictures with what people say of them come out: CSV tables and COCO's JSON; NumPy only."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError

__all__ = ["CaptionedImages", "join", "read_captions", "read_coco"]

_DELIMITERS = (",", "\t", ";", "|")
_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedImages:
    """Pictures and what people say of them; sequences of numbers are taken for `owners` and `sources` as well.

    Attributes:
        images: Files; one that is there twice is two pictures.
        captions: Sentences, in the order of their file.
        owners: (captions,) for each the index of its picture; a picture may have none.
        sources: (images,) for each the index of where it comes from, in `source_names`.
        source_names: The files or folders that were read.
    """

    images: tuple[Path, ...]
    captions: tuple[str, ...]
    owners: NDArray[np.int64]
    sources: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    source_names: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        owners = np.asarray(self.owners, np.int64)
        sources = np.asarray(self.sources, np.int64)
        if not sources.size:
            sources = np.zeros(len(self.images), np.int64)
        if owners.shape != (len(self.captions),) or not _within(owners, len(self.images)):
            raise ValueError("each caption needs the index of one of the images")
        if sources.shape != (len(self.images),) or not _within(sources, len(self.source_names)):
            raise ValueError("each image needs the index of one of the sources")
        object.__setattr__(self, "owners", owners)
        object.__setattr__(self, "sources", sources)

    @property
    def photos(self) -> tuple[Path, ...]:
        """The pictures, by their former name."""
        return self.images

    def select(self, images: NDArray[np.int64]) -> CaptionedImages:
        """Some of the pictures, each at most once and in the order given, with their captions in the order of these."""
        images = np.asarray(images, np.int64)
        places = np.full(len(self.images), -1)
        places[images] = np.arange(len(images))
        kept = np.flatnonzero(places[self.owners] >= 0)
        return CaptionedImages(
            images=tuple(self.images[i] for i in images),
            captions=tuple(self.captions[i] for i in kept),
            owners=places[self.owners[kept]],
            sources=self.sources[images],
            source_names=self.source_names,
        )


def _within(indices: NDArray[np.int64], bound: int) -> bool:
    return not indices.size or bool(indices.min() >= 0 and indices.max() < bound)


def join(sets: Iterable[CaptionedImages]) -> CaptionedImages:
    """Make one set of several, in their order; each keeps its sources, and what is in two of them is there twice."""
    images: list[Path] = []
    captions: list[str] = []
    names: list[str] = []
    owners, sources = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for part in sets:
        owners.append(part.owners + len(images))
        sources.append(part.sources + len(names))
        images += part.images
        captions += part.captions
        names += part.source_names
    return CaptionedImages(
        tuple(images), tuple(captions), np.concatenate(owners), np.concatenate(sources), tuple(names) or ("",)
    )


def read_captions(table: Path, images: Path, *, subject: str = "image") -> CaptionedImages:
    """Read a CSV file of captions.

    Columns are parted by commas, tabs, semicolons or bars, whichever the heading shows; its text is UTF-8, or UTF-16
    with a byte order mark. A last column ``caption`` may hold delimiters that nobody quoted.

    Args:
        table: With a heading that has the columns ``image`` and ``caption``, in capitals or not; others are ignored.
        images: The folder that the names in ``image`` are relative to.
        subject: Another column than ``image``, for files of another kind; a row where it is empty is passed over.

    Raises:
        UsageError: The file or the folder cannot be read, a column or a caption is missing, or pictures are.
    """
    rows = _read(table, images, lambda content: list(_table_rows(table, content, subject)), "a CSV file")
    return _captioned(table, images, rows, hint=f"Each row is: {subject},caption")


def read_coco(annotations: Path, images: Path) -> CaptionedImages:
    """Read a JSON file of captions in the form of COCO (Chen et al. 2015, arXiv 1504.00325).

    Args:
        annotations: Has the lists ``images`` of ``{"id", "file_name"}`` and ``annotations`` of ``{"image_id",
            "caption"}``; all else is ignored, and pictures without captions are.
        images: The folder that the file names are relative to.

    Raises:
        UsageError: The file or the folder cannot be read, an entry lacks something, or pictures are missing.
    """
    rows = _read(annotations, images, lambda content: _coco_rows(annotations, content), "a JSON file")
    return _captioned(annotations, images, rows, hint='Each annotation is: {"image_id": 1, "caption": "A dog."}')


Rows = list[tuple[str, str]]


def _read(file: Path, images: Path, parse: Callable[[str], Rows], kind: str) -> Rows:
    if not images.is_dir():
        raise UsageError(f"There is no folder {images}.", hint="Name the folder of the pictures with --images DIR.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read {file}: {error.strerror}.") from error
    try:
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return parse(content.decode("utf-16" if utf16 else "utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{file} is not {kind} in UTF-8: line {line} has the byte {content[error.start]:#x}."
        ) from error
    except RecursionError as error:
        raise UsageError(f"{file} is not {kind} of captions: it is nested too deep.") from error


def _captioned(file: Path, images: Path, rows: Rows, hint: str) -> CaptionedImages:
    if not rows:
        raise UsageError(f"There are no captions in {file}.", hint=hint)
    names = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    missing = [name for name in names if not _is_file(images / name)]
    if missing:
        named = ", ".join(missing[1:_NAMED])
        more = f", then {named}{' and more' if len(missing) > _NAMED else ''}" if named else ""
        raise UsageError(
            f"{len(missing)} of the {len(names)} pictures in {file} are not in {images}, "
            f"the first is {missing[0]}{more}.",
            hint="Name the folder of the pictures with --images DIR.",
        )
    return CaptionedImages(
        images=tuple(images / name for name in names),
        captions=tuple(caption for _, caption in rows),
        owners=np.array([names[name] for name, _ in rows], np.int64),
        source_names=(str(file),),
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _table_rows(table: Path, content: str, subject: str) -> Iterator[tuple[str, str]]:
    heading = next(iter(io.StringIO(content, newline="")), "")
    delimiter = max(_DELIMITERS, key=lambda mark: len({subject, "caption"} & set(_columns(heading.split(mark)))))
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    rows = _numbered(table, reader)
    columns = _columns(next(rows, (1, []))[1])
    if not {subject, "caption"} <= set(columns):
        raise UsageError(f"The first line of {table} does not name the columns {subject} and caption.")
    image_at, caption_at = columns.index(subject), columns.index("caption")
    for line, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) > len(columns) and caption_at == len(columns) - 1:
            row[caption_at:] = [delimiter.join(row[caption_at:])]
        if len(row) != len(columns):
            raise UsageError(f"Line {line} of {table} has {len(row)} columns instead of {len(columns)}.")
        name, caption = row[image_at].strip(), _cell(row[caption_at])
        if not name and subject != "image":
            continue
        if not name or not caption:
            raise UsageError(f"Line {line} of {table} lacks its {'caption' if name else 'image'}.")
        yield name, caption


def _numbered(table: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with the lines that they begin in."""
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(
            f"Line {line} of {table} cannot be read as CSV: {error}.",
            hint="A quotation mark within a quoted caption is doubled, and each has its end.",
        ) from error


def _columns(cells: Iterable[str]) -> list[str]:
    return [cell.strip().strip('"').strip().casefold() for cell in cells]


def _cell(cell: str) -> str:
    """A caption in one line, without the quotation marks that a blank before them kept from being read as such."""
    caption = " ".join(cell.split())
    if cell[:1].isspace() and len(caption) > 1 and caption[0] == caption[-1] == '"':
        inner = caption[1:-1].replace('""', "\0")
        return caption if '"' in inner else inner.replace("\0", '"').strip()
    return caption


def _coco_rows(file: Path, content: str) -> Rows:
    try:
        parsed = json.loads(content)
    except json.JSONDecodeError as error:
        raise UsageError(f"{file} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
    lists = [parsed.get(key) if isinstance(parsed, dict) else None for key in ("images", "annotations")]
    if not all(isinstance(entries, list) for entries in lists):
        raise UsageError(
            f"{file} lacks the lists images and annotations.",
            hint="In COCO's form, images have id and file_name, and annotations have image_id and caption.",
        )
    names: dict[str, str] = {}
    for number, entry in enumerate(lists[0] or [], start=1):
        key, name = _fields(entry, "id", "file_name")
        if not key or not name:
            raise UsageError(f"Image {number} in {file} lacks its {'file_name' if key else 'id'}.")
        if names.setdefault(key, name) != name:
            raise UsageError(f"Two images in {file} have the id {key}: {names[key]} and {name}.")
    rows = []
    for number, entry in enumerate(lists[1] or [], start=1):
        key, caption = _fields(entry, "image_id", "caption")
        if not key or not caption:
            raise UsageError(f"Annotation {number} in {file} lacks its {'caption' if key else 'image_id'}.")
        if key not in names:
            raise UsageError(f"Annotation {number} in {file} is of image {key}, which is not among its images.")
        rows.append((names[key], " ".join(caption.split())))
    return rows


def _fields(entry: object, key: str, text: str) -> tuple[str, str]:
    """A number or word, and a text; empty where the entry has none."""
    found = entry if isinstance(entry, dict) else {}
    number, words = found.get(key), found.get(text)
    return (
        str(number).strip() if isinstance(number, int | str) else "",
        words.strip() if isinstance(words, str) else "",
    )
