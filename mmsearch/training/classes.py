"""Folders of classes go in, pictures or sounds with what they are come out, and sentences that say it; NumPy only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from mmsearch.errors import ExtraMissingError, UsageError
from mmsearch.media import modality_of
from mmsearch.training.captions import CaptionedImages
from mmsearch.types import Modality

__all__ = ["CLASS_PROMPTS", "ClassSet", "caption_classes", "class_names", "fill_prompt", "read_classes"]

CLASS_PROMPTS = ("a photo of a {}", "a picture of a {}", "a close-up photo of a {}", "a {}", "{}")


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Pictures or sounds in classes.

    Attributes:
        names: Of the classes, as they are put into sentences.
        items: The files.
        labels: For each the index of its class.
    """

    names: tuple[str, ...]
    items: tuple[Path, ...]
    labels: tuple[int, ...]


_IMAGES = frozenset({Modality.IMAGE})
_KINDS = {Modality.IMAGE: "pictures", Modality.AUDIO: "sounds"}


def read_classes(folder: Path, *, kinds: frozenset[Modality] = _IMAGES, only: Sequence[str] = ()) -> ClassSet:
    """Find the pictures of a folder that has one folder for each class.

    Args:
        folder: Its folders are the classes; underscores in their names are read as spaces. Hidden ones and those
            without a picture are no classes.
        kinds: What is looked for: pictures, sounds or both.
        only: Patterns, such as ``4-*``; files whose name fits none of them are passed over.

    Raises:
        UsageError: There is no such folder, or it has fewer than two classes.
    """
    try:
        folders = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UsageError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    classes: dict[str, list[Path]] = {}
    for entry in folders:
        if pictures := list(_files(entry, kinds, only)):
            classes.setdefault(" ".join(entry.name.replace("_", " ").split()), []).extend(pictures)
    if len(classes) < 2:
        what = " or ".join(word for kind, word in _KINDS.items() if kind in kinds)
        what += f" named {' or '.join(only)}" if only else ""
        raise UsageError(
            f"{folder} has {len(classes)} folders with {what}, and classes need at least two.",
            hint="Give the folder that holds one folder for each class.",
        )
    return ClassSet(
        names=tuple(classes),
        items=tuple(picture for pictures in classes.values() for picture in pictures),
        labels=tuple(label for label, pictures in enumerate(classes.values()) for _ in pictures),
    )


def _files(folder: Path, kinds: frozenset[Modality], only: Sequence[str]) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or modality_of(name) not in kinds:
                continue
            if not only or any(fnmatch(name, pattern) for pattern in only):
                yield Path(here, name)


def caption_classes(classes: ClassSet, prompts: Sequence[str] = CLASS_PROMPTS, *, source: str = "") -> CaptionedImages:
    """Give each picture one caption for each prompt, with the name of its class in it.

    The captions of a class are those of all its pictures: a loss must not take them for wrong
    (`mmsearch.training.sampling.BatchSampler.shared`).

    Args:
        classes: Pictures and what they show.
        prompts: Sentences with ``{}`` for the name.
        source: Where the pictures come from.

    Raises:
        UsageError: There is no prompt, or one without its ``{}``.
    """
    if not prompts:
        raise UsageError("Classes need at least one prompt, such as 'a photo of a {}'.")
    sentences = [[fill_prompt(prompt, name) for prompt in prompts] for name in classes.names]
    return CaptionedImages(
        images=classes.items,
        captions=tuple(sentence for label in classes.labels for sentence in sentences[label]),
        owners=np.repeat(np.arange(len(classes.items)), len(prompts)),
        source_names=(source,),
    )


def fill_prompt(prompt: str, name: str) -> str:
    """Put the name of a class into a sentence, with the article that it needs: an for an owl, none for tulips.

    Args:
        prompt: With one ``{}``; ``a`` or ``an`` right before it becomes the right article.
        name: Of the class.

    Raises:
        UsageError: The prompt has no ``{}``, or several.
    """
    if prompt.count("{}") != 1:
        raise UsageError(f"The prompt {prompt!r} must have {{}} once, for the name of a class.")
    match = re.search(r"(?i:\b(an?) )\{\}", prompt)
    if match is None:
        return prompt.replace("{}", name)
    article = "" if _is_plural(name) else "an " if _sounds_like_a_vowel(name) else "a "
    filled = prompt[: match.start()] + article + name + prompt[match.end() :]
    return filled[0].upper() + filled[1:] if match[1][0] == "A" and match.start() == 0 else filled


_SINGULAR = {
    *("albinos", "atlas", "canvas", "christmas", "cosmos", "flandres", "gas", "hen-of-the-woods", "lens", "malinois"),
    *("patas", "pyrenees", "rhinoceros", "series", "species", "thermos", "triceratops"),
}
_PLURAL = {
    *("bikinis", "children", "emus", "feet", "geese", "gnus", "kiwis", "men", "menus", "mice", "people", "police"),
    *("skis", "taxis", "teeth", "women"),
}


def _is_plural(name: str) -> bool:
    last = name.casefold().split()[-1] if name.split() else ""
    if last in _PLURAL:
        return True
    return last.endswith("s") and not last.endswith(("ss", "us", "is", "'s")) and last not in _SINGULAR


def _sounds_like_a_vowel(name: str) -> bool:
    first = re.split(r"[\s-]", name.strip(), maxsplit=1)[0]
    if first.isupper() and (len(first) < 4 or not re.search("[AEIOUY]", first)):
        return first[0] in "AEFHILMNORSX"  # spelled, as in an SUV
    if first[:1].isdigit():
        return first[0] == "8" or first in ("11", "18")
    word = first.casefold()
    if re.match(r"hour|honou?r|honest|heir", word):
        return True
    if re.match(r"uni(?![nmd])|us[eua]|ut[aeio]|ur[aio]|uk|ub[io]|eu|ewe|once|one$|ouija", word):
        return False
    return word[:1] in tuple("aeiouàáâäèéêëìíîïòóôöùúûü")


def class_names() -> list[str]:
    """First names of the thousand classes of ImageNet, in the order of its classifiers.

    Raises:
        ExtraMissingError: timm, which has them, is not installed.
    """
    try:
        from timm.data import ImageNetInfo  # type: ignore[attr-defined, unused-ignore]
    except ImportError as error:
        raise ExtraMissingError("The names of ImageNet's classes", "train") from error
    info = ImageNetInfo()
    return [info.index_to_description(index).split(",")[0].strip() for index in range(info.num_classes())]
