"""An exported text tower and what the original gives in; whether the two are the same out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.text_tokens import TextTokens, padded
from mmsearch.encoders.text_tower import TextTower
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.model_folder import TextMeta

__all__ = ["PROBES", "NotExportableError", "check_embeddings", "check_tokens", "first_line"]

PROBES = (
    "a dog on the beach",
    "",
    "  Two  CATS,\tand a child's 3 red balloons!\n",
    "It's 12:45 — don't \u201cwait\u201d…",
    "naïve café crème brûlée, ÀÉÎ ß",
    "日本語の写真 и кошка на диване 🐈‍⬛❤️",
    "fish &amp; chips &lt;br&gt; a_b-c/d #tag @name",
    "<end_of_text> in the middle <start_of_text>",
    "broken encoding: \u00c3\u00a9 and \ufb01ne ﬀ １２ \x07",
    "a very long caption of very many words " * 40,
)
"""What may tell two tokenizers apart: case, contractions, accents, scripts, entities, control characters, length."""

_LEAST_COSINE = 0.999


class NotExportableError(Exception):
    """The text tower runs in torch only; the message is the reason."""


def check_tokens(expected: NDArray[Any], folder: Path, meta: TextMeta) -> None:
    """Compare the exported tokenizer with the original.

    Args:
        expected: What the original makes of `PROBES`, (n, length), padded to the longest of them or to all it can be.
        folder: Holds the exported one.
        meta: How it is fed.

    Raises:
        NotExportableError: It gives other tokens.
    """
    rows, length = TextTokens(folder, meta)(PROBES), expected.shape[1]
    as_expected = replace(meta, trimmed=False, context_length=length)
    if max(map(len, rows)) > length or not np.array_equal(padded(rows, as_expected), expected):
        raise NotExportableError("its tokenizer gives other tokens when converted")


def check_embeddings(expected: NDArray[np.float32], folder: Path, meta: TextMeta) -> None:
    """Compare the exported tower with the original.

    Args:
        expected: What the original makes of `PROBES`, (n, dim), L2-normalised.
        folder: Holds the exported one.
        meta: How it is fed.

    Raises:
        NotExportableError: It does not run, or gives other embeddings.
    """
    try:
        embeddings = TextTower(folder, meta).encode(PROBES)
    except EncoderError as error:
        raise NotExportableError(f"its text tower does not run on ONNX Runtime: {first_line(error)}") from error
    worst = float((embeddings * expected).sum(axis=1).min())
    if not worst >= _LEAST_COSINE:  # also where it is not a number
        raise NotExportableError(f"its text tower gives other embeddings on ONNX Runtime (cosine {worst:.4f})")


def first_line(error: Exception) -> str:
    """What an error says, cut to be part of a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
