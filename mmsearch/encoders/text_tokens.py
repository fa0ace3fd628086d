"""Texts in, token ids out, with the `tokenizers` library alone; equal to what a model's own tokenizer gives."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.model_folder import TextMeta

__all__ = ["CLEANERS", "MERGES", "VOCABULARY", "TextTokens", "padded"]

VOCABULARY, MERGES = "vocabulary.json", "merges.txt"
_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
# What ftfy and html.unescape leave as it is: printable ASCII without an ampersand, and the usual white space.
_PLAIN = re.compile(r"[\t\n\r\x20-\x25\x27-\x7e]*")
_WITHOUT_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


class TextTokens:
    """The tokenizer of one exported text tower.

    Args:
        folder: Holds ``vocabulary.json`` and ``merges.txt``, or ``tokenizer.json``.
        meta: How texts are cleaned, wrapped and cut.

    Raises:
        EncoderError: The file cannot be read.
    """

    def __init__(self, folder: Path, meta: TextMeta) -> None:
        self._meta = meta
        self._clean = CLEANERS[meta.clean]
        try:
            self._tokenizer = _byte_pairs(folder, meta) if meta.special else _whole(folder)
        except Exception as error:  # tokenizers raises bare exceptions
            raise EncoderError(f"The tokenizer in {folder} cannot be read.") from error

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most as many as the tower takes."""
        meta = self._meta
        rows = [
            encoding.ids
            for encoding in self._tokenizer.encode_batch(
                [self._clean(text) for text in texts], add_special_tokens=meta.wrap is None
            )
        ]
        if meta.wrap is not None:
            start, end = meta.wrap
            rows = [[start, *row[: meta.context_length - 2], end] for row in rows]
        if meta.zeroed is not None:
            rows = [[0 if token == meta.zeroed else token for token in row] for row in rows]
        return rows


def padded(rows: Sequence[list[int]], meta: TextMeta) -> NDArray[np.int64]:
    """Lay out token ids as (n, length): as long as the longest row, or as the tower must have it."""
    length = max(map(len, rows), default=0) if meta.trimmed else meta.context_length
    tokens = np.full((len(rows), length), meta.pad_id, np.int64)
    for into, row in zip(tokens, rows, strict=True):
        into[: len(row)] = row
    return tokens


def _byte_pairs(folder: Path, meta: TextMeta) -> Any:
    """CLIP's byte-pair encoding; texts come to it cleaned and lower-cased."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

    files = [str(folder / name) for name in (VOCABULARY, MERGES)]
    tokenizer = Tokenizer(models.BPE.from_file(*files, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in meta.special])
    return tokenizer


def _whole(folder: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _repaired(text: str) -> str:
    """Mend broken encodings and resolve HTML entities, as the models were trained; plain texts stay as they are."""
    if _PLAIN.fullmatch(text):
        return text
    import html
    import unicodedata

    text = _characters(text)
    try:
        import ftfy
    except ImportError:  # the light installation: what ftfy does to a text that is not garbled
        text = unicodedata.normalize("NFC", text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}))
    else:
        text = ftfy.fix_text(text)
    return html.unescape(html.unescape(text))


def _characters(text: str) -> str:
    """The text itself, without a file name's stray bytes, which are no characters."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _whitespace(text: str) -> str:
    return " ".join(_repaired(text).split())


def _lower(text: str) -> str:
    return _whitespace(text).lower()


def _canonicalize(text: str) -> str:
    return " ".join(_repaired(text).translate(_WITHOUT_PUNCTUATION).lower().split())


CLEANERS: dict[str, Callable[[str], str]] = {
    "none": _characters,
    "lower": _lower,
    "whitespace": _whitespace,
    "canonicalize": _canonicalize,
}
