"""Paths as people and programs read them: hits -> text that is safe to show, or raw bytes for other programs."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.types import Hit, Item

__all__ = ["path_bytes", "printable", "shown_path"]

# Control and format characters, surrogates, unassigned ones, and the separators that break a line.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
# The joiners inside emoji and many scripts are format characters that do no harm.
_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    r"""Write out what would move the cursor, hide or reorder text: a newline as ``\n``, the raw byte ff as ``\xff``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def shown_path(path: str | os.PathLike[str], *, base: str | os.PathLike[str] | None = None) -> str:
    """A path for people: relative to `base` where that is shorter, with nothing in it that a terminal would obey.

    Args:
        path: Absolute.
        base: Usually the working directory; None leaves the path absolute.
    """
    whole = os.fspath(path)
    if base is not None:
        try:
            relative = os.path.relpath(whole, base)
        except ValueError:  # another drive
            relative = whole
        whole = min(whole, relative, key=len)
    return printable(whole)


def path_bytes(hits: Iterable[Hit | Item], end: bytes) -> Iterator[bytes]:
    """The absolute path of each hit or item as the bytes that the file system knows, followed by `end`.

    A file with several hits is written once, and items without a file, which have no path, are left out.
    """
    for path in dict.fromkeys(hit.path for hit in hits):
        if path is not None:
            yield os.fsencode(path) + end
