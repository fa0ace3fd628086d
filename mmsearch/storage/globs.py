"""Patterns of paths: ``2023/**`` and ``*.png`` -> regular expressions, and what an index can do for them."""

from __future__ import annotations

import functools
import re

__all__ = ["Glob"]

_PIECE = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
_WILD = frozenset("*?[")


class Glob:
    """A pattern that whole paths fit, capitals or not.

    ``*`` and ``?`` stand for characters of one name, ``[abc]`` for one of them, ``**`` for any number of folders. A
    pattern without ``/`` is one of the last name alone. One without any wildcard is a file, or a folder with all that
    lies below it.

    Attributes:
        prefix: What every path that fits begins with, as far as it has no letters, which may be written otherwise.
        regex: To be matched from the beginning of a path to its end.
    """

    def __init__(self, pattern: str) -> None:
        pattern = pattern.removeprefix("./").rstrip("/") or pattern
        plain = not _WILD & set(pattern)
        anywhere = "/" not in pattern
        text = "".join(_translated(piece) for piece in _PIECE.findall(pattern))
        self.regex = self.compiled(f"{'(?:.*/)?' if anywhere else ''}{text}{'(?:/.*)?' if plain else ''}")
        self.prefix = "" if anywhere else _literal(pattern)

    def below(self, folder: str) -> str:
        """What the paths that fit begin with, relative to a folder; nothing where that cannot be told."""
        whole = folder.rstrip("/") + "/"
        return self.prefix[len(whole) :] if self.prefix.startswith(whole) else ""

    @staticmethod
    def escaped(name: str) -> str:
        """A name as a pattern that it alone fits."""
        return re.sub(r"[*?\[]", r"[\g<0>]", name)

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def compiled(regex: str) -> re.Pattern[str]:
        """A regular expression that stands for whole paths."""
        return re.compile(rf"(?:{regex})\Z" if not regex.endswith(r"\Z") else regex, re.IGNORECASE | re.DOTALL)


def _translated(piece: str) -> str:
    match piece:
        case "**/":
            return "(?:.*/)?"
        case "/**":
            return "/.*"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if piece.startswith("[") and len(piece) > 2:
        negated = piece[1] == "!"
        inner = piece[2 if negated else 1 : -1].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
        inner = inner.replace("^", "\\^")
        return f"[{'^' if negated else ''}{inner}]"
    return re.escape(piece)


def _literal(pattern: str) -> str:
    """The beginning of a pattern up to its first wildcard, or the first letter that has another case."""
    end = next(
        (at for at, character in enumerate(pattern) if character in _WILD or character.lower() != character.upper()),
        len(pattern),
    )
    return pattern[:end]
