"""A query -> the string that `mmsearch.query.language.parse` reads to an equal one."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from mmsearch.errors import QueryError
from mmsearch.filters import Filters
from mmsearch.query import dates
from mmsearch.query.filter_values import plain_value
from mmsearch.query.language import Query, Term, parse
from mmsearch.query.quantities import spelled_range

__all__ = ["quoted", "spell", "spell_filters"]

_SAFE = re.compile(r"[\w*?.@#%&+~/:\[\]{}!-]+")
_PATHS = ("./", "../", "/", "~/")


def spell(query: Query) -> str:
    """Write a query as a string; one without contents in memory is read back to an equal query.

    Files are read back as long as they are there. Not everything has a spelling: blank words, words that are to be
    found exactly and are blank, no types at all, a weight that is infinite, and numbers that are none.
    """
    pieces = [spell_filters(query.filters)] if query.filters else []
    for place, term in enumerate(query.terms):
        if term.weight < 0:
            pieces.append("-")
        elif place > 0:
            pieces.append("+")
        pieces.append(_term(term))
    return " ".join(pieces)


def spell_filters(filters: Filters) -> str:
    """Write filters as a string."""
    return " ".join(_pieces(filters))


def quoted(text: str, *, path: bool = False) -> str:
    """A text in quotation marks; unless it is to be one, what looks like a path is marked as none."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"\\{escaped}"' if text.startswith(_PATHS) and not path else f'"{escaped}"'


def _term(term: Term) -> str:
    weight = abs(term.weight)
    before = "" if weight == 1 else f"{_number(weight)}:"
    if isinstance(term.content, Path):
        name = str(term.content)
        name = name if name.startswith(("/", "../")) else f"./{name}"
        candidates, last = [before + name], before + quoted(name, path=True)
    elif isinstance(term.content, str):
        candidates = [before + term.content]
        last = (before or "1:") + quoted(term.content)
    else:
        return f"{before}<in memory>"
    wanted = Query((Term(term.content, weight),))
    return next((text for text in candidates if _reads(text, wanted)), last)


def _reads(text: str, wanted: Query) -> bool:
    try:
        return parse(text) == wanted
    except QueryError:
        return False


def _number(weight: float) -> str:
    return format(Decimal(repr(weight)), "f").removesuffix(".0")


def _pieces(filters: Filters) -> Iterable[str]:
    if filters.modalities is not None:
        yield f"type:{','.join(sorted(map(str, filters.modalities))) or 'none'}"
    for key, values in (("path", filters.paths), ("in", filters.inside), ("camera", filters.cameras)):
        if values:
            yield f"{key}:{','.join(map(_value, values))}"
    for key, moment in (("after", filters.after), ("before", filters.before)):
        if moment is not None:
            yield f"{key}:{dates.spelled(moment)}"
    ranges = (("size", filters.size_bytes), ("width", filters.width), ("height", filters.height))
    for key, limits in ranges:
        if limits is not None:
            yield f"{key}:{spelled_range(limits)}"
    if filters.duration_ms is not None:
        yield f"duration:{spelled_range(filters.duration_ms, 'ms')}"
    if filters.near is not None:
        place = (filters.near.latitude, filters.near.longitude)
        yield f"near:{','.join(map(_float, place))},{_float(filters.near.radius_km)}km"
    if filters.has:
        yield f"has:{','.join(sorted(filters.has))}"
    if filters.metadata:
        yield f"meta:{','.join(f'{_value(name)}={_metadata(value)}' for name, value in filters.metadata)}"
    yield from map(quoted, filters.phrases)
    for excluded in filters.excluded:
        pieces = list(_pieces(excluded))
        one = len(pieces) == 1 and not pieces[0].startswith("-")
        yield f"-{pieces[0]}" if one else f"-({' '.join(pieces)})"


def _value(text: str) -> str:
    return text if _SAFE.fullmatch(text) else quoted(text)


def _metadata(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value if _SAFE.fullmatch(value) and plain_value(value) == value else quoted(value)
    return repr(value) if isinstance(value, int) or math.isfinite(value) else _float(value)


def _float(number: float) -> str:
    if math.isinf(number):  # a number that is too large to be anything else
        return "1e999" if number > 0 else "-1e999"
    return repr(number).removesuffix(".0") if number == 0 or abs(number) < 1e15 else repr(number)
