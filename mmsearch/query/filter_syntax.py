"""Filters as people write them: a key and its values -> `Filters`; the one reader of inline filters and of flags."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from mmsearch.errors import QueryError
from mmsearch.filters import Area, Filters, Range
from mmsearch.query.filter_values import EXAMPLES, READERS, ValueProblem
from mmsearch.query.lexer import KEYS, Lexeme, Part, Source, parts_of

__all__ = ["both", "filter_from", "flag", "near_miss", "together"]


_ANYTHING = Filters()


def filter_from(lexeme: Lexeme, source: Source, now: datetime) -> Filters:
    """What a filter, quotation or group limits a search to, without its minus.

    Raises:
        QueryError: A value cannot be read, with its place.
    """
    if lexeme.kind == "group":
        found = Filters()
        for inner in lexeme.inner:
            limit = filter_from(inner, source, now)
            found = both(found, Filters(excluded=(limit,)) if inner.negated else limit, inner, source)
        return found
    if lexeme.kind == "quoted":
        if not lexeme.text.strip():
            raise source.error("Nothing stands between the quotation marks.", lexeme.start, lexeme.end)
        return Filters(phrases=(lexeme.text,))
    return _read(lexeme.key, lexeme.parts, source, now)


def flag(key: str, value: str, now: datetime, before: Filters = _ANYTHING) -> Filters:
    """What an option of the command line limits a search to: ``--after 2023`` is ``after:2023``.

    Args:
        key: Of the filter.
        value: What was given for it; quotation marks are needed only around commas.
        now: What ``7d`` counts from.
        before: What other options said already.

    Raises:
        QueryError: The value cannot be read, or nothing can pass it and the others, with its place.
    """
    source = Source(f"--{key} {value}")
    start, end = len(key) + 3, len(source.text)
    found = _read(key, parts_of(source, start, end), source, now)
    return both(before, found, Lexeme("filter", value, start, max(end, start + 1), key=key), source)


def both(one: Filters, other: Filters, lexeme: Lexeme, source: Source) -> Filters:
    """Two filters of one query together.

    Raises:
        QueryError: Nothing can pass both; the place is that of the second.
    """
    try:
        return together(one, other)
    except QueryError as error:
        raise source.error(error.message, lexeme.start, lexeme.end, hint=error.hint) from error


def together(one: Filters, other: Filters) -> Filters:
    """What passes both, as if they stood in one query.

    Raises:
        QueryError: Nothing can.
    """
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(one)):
        mine, theirs = getattr(one, name), getattr(other, name)
        if theirs is None or mine is None or mine == theirs:
            continue
        if isinstance(mine, Range):
            values[name] = _intersection(mine, theirs)
        elif name == "modalities" and not mine & theirs:
            raise QueryError("Nothing is of two types.", hint="For either: type:image,video")
        elif isinstance(mine, Area):
            raise QueryError("A search is near one place only.")
        elif isinstance(mine, datetime):
            values[name] = max(mine, theirs) if name == "after" else min(mine, theirs)
    return replace(one.joined(other), **values)


def near_miss(key: str) -> str | None:
    """The key that was meant by one that does not exist, where a letter of it is wrong, missing or too much."""
    key = key.lower()
    for known in sorted(KEYS):
        longer, shorter = (known, key) if len(known) >= len(key) else (key, known)
        if len(known) < 4 or len(longer) - len(shorter) > 1 or key[0] != known[0]:
            continue
        at = next((place for place, pair in enumerate(zip(longer, shorter, strict=False)) if pair[0] != pair[1]), None)
        if at is None:
            return known
        if len(longer) > len(shorter):
            wrong = longer[at + 1 :] != shorter[at:]
        else:
            swapped = longer[at : at + 2] == shorter[at : at + 2][::-1] and longer[at + 2 :] == shorter[at + 2 :]
            wrong = longer[at + 1 :] != shorter[at + 1 :] and not swapped
        if not wrong:
            return known
    return None


def _read(key: str, parts: tuple[Part, ...], source: Source, now: datetime) -> Filters:
    for part in parts:
        if not part.text.strip():
            raise source.error(
                f"A value of {key}: is empty.", part.start, max(part.end, part.start + 1), hint=EXAMPLES[key]
            )
    try:
        return READERS[key](parts, now)
    except ValueProblem as problem:
        start, end = problem.part.start, problem.part.end
        raise source.error(problem.message, start, end, hint=problem.hint or EXAMPLES[key]) from problem.__cause__
    except QueryError as error:  # what the values say of themselves, such as a place that is not on the Earth
        raise source.error(error.message, parts[0].start, parts[-1].end, hint=error.hint or EXAMPLES[key]) from error


def _intersection(one: Range, other: Range) -> Range:
    lows = [end for end in (one.low, other.low) if end is not None]
    highs = [end for end in (one.high, other.high) if end is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low > high:
        raise QueryError(f"No number is both from {low} on and up to {high}.")
    return Range(low, high)
