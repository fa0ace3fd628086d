"""Pictures with captions or in class folders: files on disk -> what there is to measure.

Captions are a CSV file with the columns ``image`` and ``caption``, one caption a row, as Flickr8k has them. Classes are
folders, one each.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import UsageError
from mmsearch.media import modality_of
from mmsearch.types import Modality

__all__ = ["CaptionSet", "ClassSet", "read_captions", "read_classes"]


@dataclass(frozen=True, slots=True)
class CaptionSet:
    """Pictures and their captions.

    Attributes:
        images: Each picture once.
        captions: The captions, in the order of the file.
        owners: For each caption the index of its picture.
    """

    images: tuple[Path, ...]
    captions: tuple[str, ...]
    owners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Pictures in classes.

    Attributes:
        names: Of the classes, as they are put into sentences.
        items: The pictures.
        labels: For each picture the index of its class.
    """

    names: tuple[str, ...]
    items: tuple[Path, ...]
    labels: tuple[int, ...]


def read_captions(table: Path, images: Path) -> CaptionSet:
    """Read a CSV file of captions.

    Args:
        table: With a heading that has the columns ``image`` and ``caption``; others are ignored.
        images: The folder that the names in ``image`` are relative to.

    Raises:
        UsageError: The file or the folder cannot be read, a column or a caption is missing, or pictures are.
    """
    if not images.is_dir():
        raise UsageError(f"There is no folder {images}.", hint="Name the folder of the pictures with --images DIR.")
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_caption_rows(table, file))
    except OSError as error:
        raise UsageError(f"Cannot read {table}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} is not a CSV file in UTF-8: {error}.") from error
    if not rows:
        raise UsageError(f"There are no captions in {table}.", hint="Each row is: image,caption")
    names = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    missing = [name for name in names if not (images / name).is_file()]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(names)} pictures in {table} are not in {images}, the first is {missing[0]}.",
            hint="Name the folder of the pictures with --images DIR.",
        )
    return CaptionSet(
        images=tuple(images / name for name in names),
        captions=tuple(caption for _, caption in rows),
        owners=tuple(names[name] for name, _ in rows),
    )


def _caption_rows(table: Path, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    reader = csv.reader(lines)
    columns = [column.strip() for column in next(reader, [])]
    if not {"image", "caption"} <= set(columns):
        raise UsageError(f"The first line of {table} does not name the columns image and caption.")
    image_at, caption_at = columns.index("image"), columns.index("caption")
    for row in reader:
        if not row:
            continue
        if len(row) > len(columns) and caption_at == len(columns) - 1:
            row[caption_at:] = [",".join(row[caption_at:])]  # a caption with commas that nobody quoted
        if len(row) != len(columns):
            raise UsageError(f"Line {reader.line_num} of {table} has {len(row)} columns instead of {len(columns)}.")
        name, caption = row[image_at].strip(), row[caption_at].strip()
        if not name or not caption:
            raise UsageError(f"Line {reader.line_num} of {table} lacks its {'caption' if name else 'image'}.")
        yield name, caption


def read_classes(folder: Path) -> ClassSet:
    """Find the pictures of a folder that has one folder for each class.

    Args:
        folder: Its folders are the classes; underscores in their names are read as spaces. Hidden ones and those
            without a picture are no classes.

    Raises:
        UsageError: There is no such folder, or it has fewer than two classes.
    """
    try:
        folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    classes = {entry.name.replace("_", " ").strip(): list(_pictures(entry)) for entry in folders}
    classes = {name: pictures for name, pictures in classes.items() if pictures}
    if len(classes) < 2:
        raise UsageError(
            f"{folder} has {len(classes)} folders with pictures, and classes need at least two.",
            hint="Give the folder that holds one folder for each class.",
        )
    return ClassSet(
        names=tuple(classes),
        items=tuple(picture for pictures in classes.values() for picture in pictures),
        labels=tuple(label for label, pictures in enumerate(classes.values()) for _ in pictures),
    )


def _pictures(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and modality_of(name) == Modality.IMAGE:
                yield Path(here, name)
