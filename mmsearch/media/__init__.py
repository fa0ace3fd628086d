"""Bytes on disk -> decoded content: the one door for files that are indexed and files that are queried."""

from __future__ import annotations

import os
from pathlib import Path

from mmsearch.types import Modality

__all__ = ["IMAGE_SUFFIXES", "modality_of"]

IMAGE_SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".png",
        ".tif",
        ".tiff",
        ".webp",
    }
)


def modality_of(path: str | Path) -> Modality | None:
    """Say what a file holds, going by the suffix of its name; None for a kind of file that is not supported."""
    suffix = os.path.splitext(path)[1]
    return Modality.IMAGE if suffix in IMAGE_SUFFIXES or suffix.lower() in IMAGE_SUFFIXES else None
