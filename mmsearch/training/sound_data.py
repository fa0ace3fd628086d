"""Folders of classes and tables of captions go in, sounds with what is said of them come out; NumPy only."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import MediaError, UsageError
from mmsearch.training.captions import CaptionedImages, join, read_captions
from mmsearch.training.classes import read_classes
from mmsearch.training.datasets import read_dataset
from mmsearch.training.sound_phrases import caption_phrases, class_phrases
from mmsearch.types import Failure, Modality

__all__ = ["SoundSet", "decode", "read_phrases", "read_sounds", "with_made_sounds"]

_LONGEST_MS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class SoundSet:
    """Sounds and what is said of them.

    Attributes:
        sounds: Files, or samples at 16 kHz where they were made.
        labels: (n,) for each the index of what it is.
        names: Of what sounds can be: of classes, or captions.
        phrases: Sentences for each of the names.
        classes: How many of the names, the first ones, are classes; the others are captions.
        pictures: Captioned pictures, to learn what the things look like and what other sentences are about.
    """

    sounds: tuple[Path | NDArray[np.float32], ...]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    classes: int
    pictures: CaptionedImages = field(
        default_factory=lambda: CaptionedImages((), (), np.zeros(0, np.int64), source_names=())
    )

    def select(self, chosen: NDArray[np.int64]) -> SoundSet:
        """Some of the sounds; names stay, also those that no sound has any more."""
        return SoundSet(
            tuple(self.sounds[i] for i in chosen),
            self.labels[chosen],
            self.names,
            self.phrases,
            self.classes,
            self.pictures,
        )

    def matching(self, patterns: Sequence[str]) -> NDArray[np.bool_]:
        """(n,) whether a sound's file has a name that fits one of the patterns, such as ``4-*``."""
        names = [sound.name if isinstance(sound, Path) else "" for sound in self.sounds]
        return np.array([any(fnmatch(name, pattern) for pattern in patterns) for name in names], bool)


def read_sounds(
    folders: Sequence[Path],
    captions: Sequence[Path] = (),
    photos: Sequence[Path] = (),
    *,
    phrases: Mapping[str, Sequence[str]] | None = None,
) -> SoundSet:
    """Find the sounds of folders of classes and of tables of captions.

    Args:
        folders: Each has one folder for each class; classes of the same name in several of them are one.
        captions: Tables with the columns ``caption`` and ``sound``; rows without a sound are passed over. Sounds lie in
            ``sound`` or ``sounds`` beside the table, or right there. Pictures of a column ``image`` are taken as well.
        photos: Captioned pictures, as `read_dataset` reads them.
        phrases: Sentences for the names of classes, besides the usual ones.

    Raises:
        UsageError: Something is missing or cannot be read, or there are no classes.
    """
    by_class: dict[str, list[Path]] = {}
    for folder in folders:
        found = read_classes(folder, kinds=frozenset({Modality.AUDIO}))
        for sound, label in zip(found.items, found.labels, strict=True):
            by_class.setdefault(found.names[label], []).append(sound)
    unknown = sorted(set(phrases or {}) - set(by_class))
    if unknown:
        raise UsageError(f"There is no class {unknown[0]!r}, but there are phrases for it.")
    names = {name: class_phrases(name, phrases) for name in by_class}
    sounds: list[Path | NDArray[np.float32]] = [sound for found in by_class.values() for sound in found]
    labels = [label for label, found in enumerate(by_class.values()) for _ in found]
    known = {name: label for label, name in enumerate(names)}
    pictures = [read_dataset(source) for source in photos]
    for table in captions:
        beside = [table.parent / name for name in ("sound", "sounds") if (table.parent / name).is_dir()]
        heard = read_captions(table, beside[0] if beside else table.parent, subject="sound")
        for sound, caption in zip((heard.images[i] for i in heard.owners), heard.captions, strict=True):
            if caption not in names:
                known[caption] = len(names)
                names[caption] = caption_phrases(caption)
            sounds.append(sound)
            labels.append(known[caption])
        if "image" in _heading(table):
            pictures.append(read_dataset(table))
    return SoundSet(
        tuple(sounds), np.array(labels, np.int64), tuple(names), tuple(names.values()), len(by_class), join(pictures)
    )


def with_made_sounds(
    sounds: SoundSet, made: Sequence[tuple[str, NDArray[np.float32]]], phrases: Mapping[str, Sequence[str]]
) -> SoundSet:
    """The same with sounds that were made; their names count as captions.

    Args:
        sounds: The set.
        made: Names and samples at 16 kHz.
        phrases: Sentences for the names.
    """
    new = tuple(dict.fromkeys(name for name, _ in made))
    places = {name: len(sounds.names) + i for i, name in enumerate(new)}
    return SoundSet(
        (*sounds.sounds, *(samples for _, samples in made)),
        np.concatenate([sounds.labels, np.array([places[name] for name, _ in made], np.int64)]),
        (*sounds.names, *new),
        (*sounds.phrases, *(tuple(phrases[name]) for name in new)),
        sounds.classes,
        sounds.pictures,
    )


def read_phrases(table: Path) -> dict[str, list[str]]:
    """Read a CSV file with the columns ``class`` and ``phrase``, as many rows for a class as there are sentences.

    Raises:
        UsageError: It cannot be read or lacks a column.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UsageError(f"Cannot read {table}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table} is not a CSV file in UTF-8.") from error
    found: dict[str, list[str]] = {}
    for row in rows:
        name, phrase = (row.get("class") or "").strip(), (row.get("phrase") or "").strip()
        if not name or not phrase:
            raise UsageError(f"{table} has a row without class or phrase.", hint="Its first line is: class,phrase")
        found.setdefault(" ".join(name.replace("_", " ").split()), []).append(phrase)
    return found


def decode(
    sounds: SoundSet, rate: int, told: Callable[[int], None] | None = None
) -> tuple[SoundSet, list[NDArray[np.float32]], tuple[Failure, ...]]:
    """Decode all sounds, at most the first twenty seconds of each.

    Args:
        sounds: The set.
        rate: Of the samples, Hz.
        told: Called with the number of those that are done.

    Returns:
        The set without sounds that cannot be read, their samples, and the others with reasons.
    """
    from mmsearch.media.audio import read_audio

    good: list[int] = []
    samples: list[NDArray[np.float32]] = []
    failures = []
    for number, sound in enumerate(sounds.sounds):
        if not isinstance(sound, Path):
            good.append(number)
            samples.append(sound)
            continue
        try:
            windows = read_audio(
                sound, rate=rate, window_ms=_LONGEST_MS, hop_ms=_LONGEST_MS, max_windows=1, skip_silence=False
            )
            samples.append(next(iter(windows)).samples)
            good.append(number)
        except MediaError as error:
            failures.append(Failure(sound, error.reason))
        if told is not None:
            told(number + 1)
    return (sounds.select(np.array(good, np.int64)) if failures else sounds), samples, tuple(failures)


def _heading(table: Path) -> list[str]:
    with table.open(encoding="utf-8-sig", errors="replace") as stream:
        return [
            cell.strip().strip('"').casefold()
            for cell in stream.readline().replace(";", ",").replace("\t", ",").split(",")
        ]
