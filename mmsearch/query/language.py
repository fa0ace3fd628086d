"""Reads what a person asked for: command-line tokens or Python values -> `Query`.

A query is a list of terms with weights. Between terms ``+`` adds and ``-`` pushes away; ``2:dog`` weighs a term; a
token that names a picture is that picture; ``-`` where a term should stand is standard input. Words that follow one
another are one term: ``a dog + ./pool.jpg - leash``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import QueryError
from mmsearch.filters import Filters
from mmsearch.media import modality_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Query", "Term", "parse"]

_WEIGHT = re.compile(r"(?P<weight>\d+(?:\.\d+)?):(?P<rest>.+)", re.DOTALL)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_OPERATORS = ("+", "-")


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to look for, or to avoid.

    Attributes:
        content: Words, the path of a file, the bytes of a picture, or a picture in memory.
        weight: How much it counts; negative pushes away. Never 0.
    """

    content: str | Path | bytes | Image.Image
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for: at least one term with a positive weight, or filters alone.

    Attributes:
        terms: What is looked for by meaning.
        filters: What every hit has to pass. With filters and no terms, all that passes is found, newest first.
    """

    terms: tuple[Term, ...] = ()
    filters: Filters = Filters()

    def __post_init__(self) -> None:
        if not any(term.weight > 0 for term in self.terms) and (self.terms or not self.filters):
            raise QueryError(
                "A query needs something to look for, not only something to avoid.",
                hint='For example: mmsearch query "a dog" - leash',
            )


def parse(terms: str | Sequence[str], *, stdin: Callable[[], bytes] | None = None) -> Query:
    """Read a query from the tokens of a command line.

    Args:
        terms: One token a list entry, as a shell hands them over. A plain string is one token.
        stdin: Reads standard input for the term ``-``; None where there is none.

    Raises:
        QueryError: The query is empty, an operator has no term beside it, a weight is 0, or a file is not there.
    """
    tokens = [terms] if isinstance(terms, str) else list(terms)
    if not any(token.strip() for token in tokens):
        raise QueryError("The query is empty.", hint='For example: mmsearch query "a dog on the beach"')
    # With a single token nothing can be weighed against anything, so "3:10 to Yuma" stays as it is.
    weighable = len(tokens) > 1
    found: list[Term] = []
    words: list[str] = []
    sign, weight = 1.0, 1.0
    operand_due = True  # at the start, and after an operator

    def flush() -> None:
        nonlocal words, weight
        if words:
            found.append(Term(" ".join(words), sign * weight))
        words, weight = [], 1.0

    for position, token in enumerate(tokens):
        text = token.strip()
        if not text:
            continue
        if text in _OPERATORS and not (operand_due and _stands_for_stdin(tokens, position)):
            if operand_due and found:
                raise QueryError(f"Nothing stands between {_operator_before(tokens, position)!r} and {text!r}.")
            flush()
            sign, operand_due = (1.0 if text == "+" else -1.0), True
            continue
        if operand_due and text == "-":
            found.append(Term(_standard_input(stdin), sign))
            operand_due = False
            continue
        own_weight, rest = _weighed(text) if weighable else (None, text)
        file = _file(rest)
        if file is not None or own_weight is not None or (not operand_due and not words):
            if not operand_due:
                flush()
            if file is not None:
                found.append(Term(file, sign * (own_weight or 1.0)))
            else:
                weight = own_weight or 1.0
                words.append(rest)
        else:
            words.append(rest)
        operand_due = False
    if operand_due:
        raise QueryError(f"Nothing stands after {tokens[-1].strip()!r}.", hint="Put words or a picture there.")
    flush()
    return Query(tuple(found))


def _operator_before(tokens: Sequence[str], position: int) -> str:
    """The operator that stands before `position`, for an error message."""
    return next(token.strip() for token in reversed(tokens[:position]) if token.strip())


def _stands_for_stdin(tokens: Sequence[str], position: int) -> bool:
    """Whether the ``-`` at `position`, where a term is due, is a term: nothing follows that it could push away."""
    if tokens[position].strip() != "-":
        return False
    following = next((token.strip() for token in tokens[position + 1 :] if token.strip()), None)
    return following is None or following in _OPERATORS


def _standard_input(stdin: Callable[[], bytes] | None) -> str | bytes:
    """Words or a picture from standard input."""
    if stdin is None:
        raise QueryError("There is no standard input to read '-' from.")
    data = stdin()
    if not data.strip():
        raise QueryError("Standard input is empty.", hint="For example: mmsearch query - < photo.jpg")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return data
    return data if "\x00" in text else " ".join(text.split())


def _weighed(text: str) -> tuple[float | None, str]:
    match = _WEIGHT.fullmatch(text)
    if match is None:
        return None, text
    weight = float(match["weight"])
    if weight == 0:
        raise QueryError(f"The weight of {text!r} is 0, so it would not count.", hint="Leave it out, or use '-'.")
    return weight, match["rest"].strip()


def _file(text: str) -> Path | None:
    """The picture that a token names, or None where it is words."""
    if _ADDRESS.fullmatch(text):
        raise QueryError(f"{text} is an address, and mmsearch fetches nothing.", hint="Save the picture first.")
    path = Path(os.path.expanduser(text))
    try:
        if path.is_file() and (modality_of(path) is not None or _written_as_path(text)):
            return path
        there = path.exists()
    except (OSError, ValueError):  # words too long for a path, or with a NUL in them
        return None
    if there and _written_as_path(text):
        raise QueryError(f"{text} is not a file.", hint=f"To search inside a folder: mmsearch index {text}")
    if not there and (_written_as_path(text) or (modality_of(path) is not None and " " not in text)):
        raise QueryError(f"There is no file {text}.")
    return None


def _written_as_path(text: str) -> bool:
    return text.startswith(("./", "../", "/", "~/", ".\\", "..\\"))
