"""Documents and captions go in, passages to learn from come out, as an index would get them."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from mmsearch.errors import MediaError, UsageError
from mmsearch.media.text import TEXT_SUFFIXES, read_passages
from mmsearch.types import Failure

__all__ = ["compose_passages", "read_caption_groups", "read_documents"]

_SENTENCES = (2, 5)
_STRANGERS = (0, 0, 0, 1, 2, 3)


def read_documents(paths: Iterable[Path], *, most: int | None = None, seed: int = 0) -> tuple[list[str], list[Failure]]:
    """Read the passages of text documents.

    Args:
        paths: Documents, and folders of them.
        most: Passages to take of each path at most, from documents drawn at random.
        seed: Of the draw.

    Returns:
        Passages, each once, and the documents that cannot be read.

    Raises:
        UsageError: A path is not there.
    """
    found: dict[str, None] = {}
    failures: list[Failure] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"There is no {path}.")
        files = [path] if path.is_file() else _documents(path)
        random.Random(seed).shuffle(files)
        found.update(dict.fromkeys(islice(_passages(files, failures), most)))
    return list(found), failures


def compose_passages(groups: Sequence[Sequence[str]], *, rounds: int = 3, seed: int = 0) -> list[str]:
    """Make passages of captions: two to five of one picture, and often some of others.

    Args:
        groups: The captions of each picture.
        rounds: How many passages each picture gives.
        seed: Of everything random.
    """
    draw = random.Random(seed)
    everything = [caption for group in groups for caption in group]
    passages = []
    for group in [*groups] * rounds:
        own = draw.sample(list(group), min(len(group), draw.randint(*_SENTENCES)))
        sentences = own + draw.sample(everything, min(len(everything), draw.choice(_STRANGERS)))
        if draw.random() < 0.3:
            draw.shuffle(sentences)
        passages.append(draw.choice((" ", " ", "\n")).join(_sentence(caption, draw) for caption in sentences))
    draw.shuffle(passages)
    return passages


def read_caption_groups(table: Path) -> list[list[str]]:
    """Read the captions of each picture from a table with the columns ``image`` and ``caption``.

    Raises:
        UsageError: It cannot be read, or is no such table.
    """
    groups: dict[str, list[str]] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                if row["caption"]:
                    groups.setdefault(row["image"], []).append(row["caption"])
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UsageError(f"{table} is no table of captions.", hint="Each row is: image,caption") from error
    return list(groups.values())


def _documents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in TEXT_SUFFIXES and path.is_file())


def _passages(files: Iterable[Path], failures: list[Failure]) -> Iterator[str]:
    for file in files:
        try:
            for passage in read_passages(file):
                yield passage.text
        except MediaError as error:
            failures.append(Failure(file, error.reason))


def _sentence(caption: str, draw: random.Random) -> str:
    """A caption as people would write it into a text: mostly with a capital letter and a full stop."""
    text = caption.strip().removesuffix(".").rstrip()
    if draw.random() < 0.7:
        text = text[:1].upper() + text[1:]
    return text + "." if draw.random() < 0.9 else text
