"""The exceptions that mmsearch raises; every foreign error is translated into one of them at its adapter.

MmsearchError
├── UsageError                 wrong arguments: exit code 2
│   └── QueryError             a query that cannot be read, with the place in it
├── LibraryError               a library that cannot be used as asked
│   ├── LibraryNotFoundError   nothing has been indexed there yet
│   ├── LibraryLockedError     another process is writing to it
│   ├── LibraryTooNewError     made by a newer version of mmsearch
│   ├── LibraryDamagedError    its catalog is not a readable SQLite database
│   └── EncoderMismatchError   made with another encoder
├── EncoderError               an encoder failed while encoding
│   ├── UnknownEncoderError    no encoder has that id
│   ├── ModelMissingError      its weights are not on this machine
│   └── ExtraMissingError      it needs a package that is not installed
├── MediaError                 one file could not be read or decoded
├── PlayerError                no program could open a hit for the user
└── StorageError               the disk is full, read-only or failing
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "EncoderError",
    "EncoderMismatchError",
    "ExtraMissingError",
    "LibraryDamagedError",
    "LibraryError",
    "LibraryLockedError",
    "LibraryNotFoundError",
    "LibraryTooNewError",
    "MediaError",
    "MmsearchError",
    "ModelMissingError",
    "PlayerError",
    "QueryError",
    "StorageError",
    "UnknownEncoderError",
    "UsageError",
]


class MmsearchError(Exception):
    """Base of every error that mmsearch raises on purpose.

    Args:
        message: One sentence: what happened, and to which file.
        hint: The command or step that mends it, shown on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} {self.hint}"


class UsageError(MmsearchError):
    """The arguments make no sense together or by themselves."""


class QueryError(UsageError):
    """A query that cannot be read.

    Args:
        message: One sentence: what is wrong.
        hint: What helps.
        query: The whole query, where the place in it is known.
        place: Where in it, first character and the one after the last.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        query: str | None = None,
        place: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(message, hint=hint)
        self.query = query
        self.place = place

    @property
    def pointer(self) -> tuple[str, str] | None:
        """Two lines for people: the query, or what of it is around the place, and a line with ``^`` under the place."""
        if self.query is None:
            return None
        start, end = self.place
        first, last = max(0, start - _AROUND), min(len(self.query), max(end, start + 1) + _AROUND)
        lead = "\N{HORIZONTAL ELLIPSIS}" if first > 0 else ""
        trail = "\N{HORIZONTAL ELLIPSIS}" if last < len(self.query) else ""
        before = lead + _shown(self.query[first:start])
        under = _shown(self.query[start : min(end, last)])
        rest = _shown(self.query[start:last]) + trail
        return f"  {before}{rest}", "  " + " " * _cells(before) + "^" * max(1, _cells(under))

    def __str__(self) -> str:
        if self.pointer is None:
            return super().__str__()
        return "\n".join([self.message, *self.pointer, *filter(None, [self.hint])])


# Characters of a long query that are shown on either side of the place.
_AROUND = 60


def _shown(text: str) -> str:
    """A text of which every character takes the cells that it is counted with."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cells(text: str) -> int:
    import unicodedata

    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


class LibraryError(MmsearchError):
    """A library that cannot be used as asked."""


class LibraryNotFoundError(LibraryError):
    """No library lies at that place."""


class LibraryLockedError(LibraryError):
    """Another process is writing to the library."""


class LibraryTooNewError(LibraryError):
    """The library was made by a newer version of mmsearch."""


class LibraryDamagedError(LibraryError):
    """The catalog of the library is not a readable SQLite database."""


class EncoderMismatchError(LibraryError):
    """The library holds vectors of another encoder."""


class EncoderError(MmsearchError):
    """An encoder failed; this ends the run, since every later batch would fail as well."""


class UnknownEncoderError(EncoderError, UsageError):
    """No encoder has the given id."""


class ModelMissingError(EncoderError):
    """The weights of an encoder are not on this machine and could not be fetched."""


class ExtraMissingError(EncoderError):
    """A package that belongs to an extra, or to the full installation, is not installed.

    Args:
        what: What was asked for, such as ``An open_clip model``.
        extra: The extra that has the package; None where the full installation has it and the light one leaves it out.
    """

    def __init__(self, what: str, extra: str | None = None) -> None:
        needed = "the full installation" if extra is None else "packages that are not installed"
        wanted = "mmsearch" if extra is None else f"'mmsearch[{extra}]'"
        super().__init__(f"{what} needs {needed}.", hint=f"Run: pip install {wanted}")
        self.extra = extra


class MediaError(MmsearchError):
    """One file could not be read or decoded.

    Args:
        path: The file, or None for content from memory.
        reason: A short phrase without the path, such as ``truncated JPEG``.
    """

    def __init__(self, path: Path | None, reason: str) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.path = path
        self.reason = reason


class PlayerError(MmsearchError):
    """A hit could not be shown: its file is gone, or no program for it could be started."""


class StorageError(MmsearchError):
    """The disk is full, read-only or failing."""
