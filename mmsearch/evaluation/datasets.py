"""Pictures with captions, pictures or sounds in class folders: files on disk -> what there is to measure.

Measuring reads its data as training does (`mmsearch.training.datasets`); this names what it needs of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmsearch.media import modality_of
from mmsearch.training.captions import CaptionedImages as CaptionSet
from mmsearch.training.captions import read_captions
from mmsearch.training.classes import ClassSet
from mmsearch.training.classes import read_classes as read_classes_of
from mmsearch.training.datasets import read_dataset
from mmsearch.types import Modality

__all__ = ["CaptionSet", "ClassSet", "is_sound", "read_captions", "read_classes", "read_dataset"]

_EITHER = frozenset({Modality.IMAGE, Modality.AUDIO})


def read_classes(folder: Path, only: Sequence[str] = ()) -> ClassSet:
    """Find the pictures of a folder that has one folder for each class; the sounds, where there are no pictures.

    Args:
        folder: Its folders are the classes; underscores in their names are read as spaces.
        only: Patterns, such as ``4-*``; files whose name fits none of them are passed over.

    Raises:
        UsageError: There is no such folder, or it has fewer than two classes.
    """
    found = read_classes_of(folder, kinds=_EITHER, only=only)
    return found if all(map(is_sound, found.items)) else read_classes_of(folder, only=only)


def is_sound(path: Path) -> bool:
    """Whether a file is a sound, by its name."""
    return modality_of(path) == Modality.AUDIO
