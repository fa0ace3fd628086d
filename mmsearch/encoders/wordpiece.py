"""Text goes in, the ids of its word pieces come out: BERT's uncased tokenisation in plain Python.

The ``tokenizers`` package gives the same ids, but reading its file takes longer than answering a query; a vocabulary
with one piece a line is read in a few milliseconds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["WordPiece"]

MAX_WORD_CHARACTERS = 100
# Blocks of ideographs, each of which is a word by itself.
IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Splits text into the longest pieces that a vocabulary knows.

    Args:
        vocabulary: File with one piece a line; the number of the line, from 0, is the id.
    """

    def __init__(self, vocabulary: Path) -> None:
        pieces = vocabulary.read_text(encoding="utf-8").splitlines()
        self._ids = dict(zip(pieces, range(len(pieces)), strict=True))
        self._pieces = pieces
        self._unknown = self._ids["[UNK]"]
        self._first = self._ids["[CLS]"]
        self._last = self._ids["[SEP]"]
        self._word = lru_cache(maxsize=65536)(self._split)

    def __len__(self) -> int:
        """Number of pieces."""
        return len(self._ids)

    def piece(self, id_: int) -> str:
        """The piece of an id."""
        return self._pieces[id_]

    def encode(self, text: str, limit: int) -> list[int]:
        """Ids of one text between the marks of its beginning and end, `limit` at most with both marks."""
        ids = [self._first]
        # No word gives fewer than one piece, and none is longer than this in characters that matter.
        for word in _words(text[: limit * (MAX_WORD_CHARACTERS + 1) * 4]):
            ids += self._word(word)
            if len(ids) >= limit:
                break
        return [*ids[: limit - 1], self._last]

    def encode_all(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Ids of many texts."""
        return [self.encode(text, limit) for text in texts]

    def _split(self, word: str) -> tuple[int, ...]:
        """Pieces of one word, the longest first match each time."""
        if len(word) > MAX_WORD_CHARACTERS:
            return (self._unknown,)
        ids = self._ids
        pieces: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            for end in range(len(word), start, -1):
                piece = ids.get(prefix + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start = end
                    break
            else:
                return (self._unknown,)
        return tuple(pieces)


def _words(text: str) -> list[str]:
    """Lower-case words without accents; every sign of punctuation and every ideograph is a word."""
    if text.isascii():
        spaced = [_ascii_part(c) for c in text.lower()]
    else:
        cleaned = "".join(_cleaned(c) for c in text)
        bare = (c for c in unicodedata.normalize("NFD", cleaned) if unicodedata.category(c) != "Mn")
        spaced = [f" {c} " if _is_punctuation(c) else c for c in "".join(bare).lower()]
    return "".join(spaced).split()


def _ascii_part(c: str) -> str:
    """An ASCII character as `_words` joins it."""
    if c.isalnum() or c == " ":
        return c
    if c in "\t\n\r":
        return " "
    return f" {c} " if c.isprintable() else ""


def _cleaned(c: str) -> str:
    """A character with control characters dropped, blanks made plain and ideographs set apart."""
    if c in "\t\n\r":
        return " "
    code = ord(c)
    category = unicodedata.category(c)
    if code in (0, 0xFFFD) or category in ("Cc", "Cf", "Co", "Cs"):
        return ""
    if c.isspace():
        return " "
    if any(low <= code <= high for low, high in IDEOGRAPHS):
        return f" {c} "
    return c


def _is_punctuation(c: str) -> bool:
    """Whether a character is a word by itself: all of ASCII that is neither letter, digit nor blank, and category P."""
    if c.isascii():
        return c.isprintable() and not c.isalnum() and c != " "
    return unicodedata.category(c).startswith("P")
