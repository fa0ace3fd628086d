"""The options that say which of the hits are shown, and in what order."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.errors import UsageError

__all__ = [
    "AUTO",
    "All",
    "Diverse",
    "Dups",
    "GroupBy",
    "MinRelevance",
    "NoFold",
    "NoWords",
    "Offset",
    "Page",
    "least_of",
    "offset_of",
    "strength_of",
]

AUTO = "auto"
"""The value of ``--diverse`` where none was given."""

MinRelevance = Annotated[
    float | None,
    typer.Option(
        "--min-relevance", metavar="P", show_default=False, help="Leave out what is less likely to match: 0 to 1."
    ),
]
All = Annotated[bool, typer.Option("--all", help="Show what comes nearest, however little it matches.")]
Offset = Annotated[
    int | None, typer.Option("--offset", metavar="N", show_default=False, help="Pass over the first N hits.")
]
Page = Annotated[
    int | None, typer.Option("--page", metavar="N", show_default=False, help="The Nth page of -k hits, from 1.")
]
Diverse = Annotated[
    str | None,
    typer.Option(
        "--diverse", metavar="[X]", show_default=False, help="Push down what repeats better hits: 0 to 1, else 0.5."
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option("--group-by", metavar="WHAT", show_default=False, help="Arrange hits by item, day, month or folder."),
]
NoFold = Annotated[bool, typer.Option("--no-fold", help="Near-duplicates as hits of their own.")]
Dups = Annotated[bool, typer.Option("--dups", help="List near-duplicates and copies, of all or of what is asked for.")]
NoWords = Annotated[bool, typer.Option("--no-words", help="By meaning alone, not by words in names and texts.")]


def offset_of(offset: int | None, page: int | None, k: int) -> int:
    """How many hits to pass over.

    Raises:
        UsageError: A number is out of range, or both are given.
    """
    if offset is not None and page is not None:
        raise UsageError("Only one of --offset and --page can be given.", hint="--page 2 is --offset 10 with -k 10.")
    if page is not None and page < 1:
        raise UsageError(f"--page must be at least 1, not {page}.", hint="The first page is --page 1.")
    if offset is not None and offset < 0:
        raise UsageError(f"--offset must be at least 0, not {offset}.", hint="Leave it out to begin at the best hit.")
    return (page - 1) * k if page is not None else offset or 0


def least_of(min_relevance: float | None, show_all: bool) -> float | None:
    """The relevance that a hit needs to be shown; None where the engine is to decide.

    Raises:
        UsageError: The number is out of range, or both are given.
    """
    if show_all and min_relevance is not None:
        raise UsageError("Only one of --all and --min-relevance can be given.", hint="--all is --min-relevance 0.")
    if min_relevance is not None and not 0 <= min_relevance <= 1:
        raise UsageError(f"--min-relevance is between 0 and 1, not {min_relevance:g}.", hint="For example: 0.5")
    return 0.0 if show_all else min_relevance


def strength_of(diverse: str | None) -> float | None:
    """How strongly to diversify; None for not at all.

    Raises:
        UsageError: It is no number, or out of range.
    """
    if diverse is None:
        return None
    from mmsearch.rerank.diversity import DIVERSITY, check_strength

    try:
        strength = DIVERSITY if diverse == AUTO else float(diverse)
    except ValueError:
        raise UsageError(f"--diverse is between 0 and 1, not {diverse!r}.", hint="For example: --diverse 0.5") from None
    check_strength(strength)
    return strength
