"""The names in a folder -> which files belong to others there: captions to photos, subtitles to videos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b

from mmsearch.media.sidecars import MAX_CAPTION_BYTES, sidecar_names

__all__ = ["Beside"]

_SUFFIXES = (".csv", ".srt", ".txt", ".vtt", ".xmp")


class Beside:
    """The sidecar files of one folder.

    Args:
        folder: The folder.
        names: Of the files in it that are looked at; None looks at the disk for each photo and video.
    """

    def __init__(self, folder: str, names: Iterable[str] | None = None) -> None:
        self._folder = folder
        self._names = None if names is None else {name for name in names if name.lower().endswith(_SUFFIXES)}
        self._facts: dict[str, tuple[int, int] | None] = {}
        self._found: dict[str, tuple[str, ...]] = {}

    def of(self, name: str) -> tuple[str, ...]:
        """The files that belong to a file, as far as they are there."""
        if self._names is not None and not self._names:
            return ()
        found = self._found.get(name)
        if found is None:
            others = sidecar_names(name)
            found = self._found[name] = tuple([other for other in others if self._stat(other) is not None])
        return found

    def claimed(self, names: Iterable[str]) -> frozenset[str]:
        """The files that belong to any of the others, so that they are no documents by themselves."""
        return frozenset(other for name in names for other in self.of(name)) if self._names else frozenset()

    def number(self, name: str) -> int:
        """A number that changes with the files that belong to a file, below 2**63; 0 where there are none."""
        facts: Mapping[str, tuple[int, int] | None] = {other: self._stat(other) for other in self.of(name)}
        if not facts:
            return 0
        digest = blake2b(repr(facts).encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) >> 1 | 1

    def _stat(self, name: str) -> tuple[int, int] | None:
        """Size and time of a file that may belong to another; None where there is none, or too large for a caption."""
        if self._names is not None and name not in self._names:
            return None
        if name not in self._facts:
            self._facts[name] = None
            with suppress(OSError):
                status = os.stat(os.path.join(self._folder, name))
                if not (name.endswith(".txt") and status.st_size > MAX_CAPTION_BYTES):
                    self._facts[name] = (status.st_size, status.st_mtime_ns)
        return self._facts[name]
