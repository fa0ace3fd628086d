"""The values of filters -> `Filters`: one reader for each key."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mmsearch.filters import Area, Fact, Filters
from mmsearch.query import dates, quantities
from mmsearch.query.lexer import Part
from mmsearch.types import Modality

__all__ = ["EXAMPLES", "READERS", "ValueProblem", "plain_value"]

DISTANCE_KM = 1.0
"""How far from a place ``near:lat,lon`` looks."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WHOLE = re.compile(r"-?\d+", re.ASCII)

_Read = Callable[[tuple[Part, ...], datetime], Filters]


class ValueProblem(Exception):
    """A value that cannot be read."""

    def __init__(self, part: Part, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.part, self.message, self.hint = part, message, hint


def _one(name: str, value: Any) -> Filters:
    return Filters(**{name: value})


def _only(parts: tuple[Part, ...], key: str) -> Part:
    if len(parts) > 1:
        raise ValueProblem(parts[1], f"{key}: takes one value.")
    return parts[0]


def _types(parts: tuple[Part, ...], now: datetime) -> Filters:
    found = set()
    for part in parts:
        try:
            found.add(Modality(part.text.strip().lower()))
        except ValueError:
            kinds = ", ".join(sorted(map(str, Modality)))
            raise ValueProblem(part, f"There is no type {part.text.strip()!r}.", f"Types: {kinds}.") from None
    return Filters(modalities=frozenset(found))


def _facts(parts: tuple[Part, ...], now: datetime) -> Filters:
    facts: dict[str, Fact] = {"gps": "gps", "camera": "camera", "date": "date", "caption": "caption", "sound": "sound"}
    found: set[Fact] = set()
    for part in parts:
        fact = facts.get(part.text.strip().lower())
        if fact is None:
            raise ValueProblem(
                part, f"Nothing is known of {part.text.strip()!r}.", f"An item can have: {', '.join(facts)}."
            )
        found.add(fact)
    return Filters(has=frozenset(found))


def _texts(name: str) -> _Read:
    def read(parts: tuple[Part, ...], now: datetime) -> Filters:
        return _one(name, tuple(dict.fromkeys(part.text for part in parts)))

    return read


def _phrase(parts: tuple[Part, ...], now: datetime) -> Filters:
    return Filters(phrases=(",".join(part.text for part in parts),))


def _moment(name: str) -> _Read:
    def read(parts: tuple[Part, ...], now: datetime) -> Filters:
        part = _only(parts, name)
        try:
            return _one(name, dates.moment(part.text.strip(), now))
        except ValueError:
            raise _no_date(part) from None

    return read


def _period(parts: tuple[Part, ...], now: datetime) -> Filters:
    part = _only(parts, "date")
    first, dots, last = part.text.partition("..")
    try:
        start, end = dates.period(first.strip(), now)
        end = dates.period(last.strip(), now)[1] if dots else end
    except ValueError:
        raise _no_date(part) from None
    if end is not None and end <= start:
        raise ValueProblem(part, "The dates are the wrong way round.")
    return Filters(after=start, before=end)


def _no_date(part: Part) -> ValueProblem:
    return ValueProblem(part, f"{part.text!r} is no date.", f"Dates: {dates.FORMS}.")


def _range(name: str, key: str, read: quantities.Reader) -> _Read:
    def reading(parts: tuple[Part, ...], now: datetime) -> Filters:
        part = _only(parts, key)
        try:
            return _one(name, quantities.range_of(part.text.strip(), read))
        except ValueError:
            raise ValueProblem(part, f"{part.text!r} is no {_NOUNS[key]}.") from None

    return reading


def _near(parts: tuple[Part, ...], now: datetime) -> Filters:
    if not 2 <= len(parts) <= 3:
        raise ValueProblem(parts[-1], "A place is degrees north, degrees east, and how far from it.")
    for part in parts[:2]:
        if not _NUMBER.fullmatch(part.text.strip()):
            raise ValueProblem(part, f"{part.text!r} is no number of degrees.")
    distance = DISTANCE_KM
    if len(parts) == 3:
        try:
            distance = quantities.kilometres(parts[2].text.strip())
        except ValueError:
            raise ValueProblem(parts[2], f"{parts[2].text!r} is no distance.") from None
    return Filters(near=Area(float(parts[0].text), float(parts[1].text), distance))


def _metadata(parts: tuple[Part, ...], now: datetime) -> Filters:
    return Filters(metadata=tuple(dict.fromkeys(map(_pair, parts))))


def _pair(part: Part) -> tuple[str, str | int | float | bool]:
    name, quoted_name = "", False
    for place, piece in enumerate(part.pieces):
        before, equals, after = ("", "", "") if piece.quoted else piece.text.partition("=")
        if not equals:
            name, quoted_name = name + piece.text, piece.quoted
            continue
        name += before
        rest = part.pieces[place + 1 :]
        text = after + "".join(piece.text for piece in rest)
        quoted = any(piece.quoted for piece in rest)
        if not (name or quoted_name) or not (text or quoted):
            break
        return name, text if quoted else plain_value(text)
    raise ValueProblem(part, "Metadata is a name and a value.")


def plain_value(text: str) -> str | int | float | bool:
    """What a value of metadata means that is not quoted: a number, true or false, else words."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE.fullmatch(text):
        return int(text) if len(text) < 4000 else text
    return float(text) if _NUMBER.fullmatch(text) else text


_NOUNS = {"size": "size", "width": "width", "height": "height", "duration": "duration"}
EXAMPLES = {
    "type": "For example: type:image,video or type:audio,text",
    "path": "For example: path:2023/** or path:*.png",
    "in": 'For example: in:Holidays or in:"Summer 2023"',
    "after": "For example: after:2023-06 or after:7d",
    "before": "For example: before:2023-06-01",
    "date": "For example: date:2023-06 or date:2022..2023",
    "camera": 'For example: camera:canon or camera:"EOS R5"',
    "size": "For example: size:>2MB, size:<=500kB or size:1MB..5MB",
    "width": "For example: width:>4000 or width:1000..2000",
    "height": "For example: height:>4000 or height:1000..2000",
    "near": "For example: near:48.85,2.35,5km",
    "has": "For example: has:gps",
    "duration": "For example: duration:<60s, duration:1:30 or duration:1m..2m",
    "meta": 'For example: meta:shop=berlin or meta:name="two words"',
    "exact": 'For example: exact:"red car"',
}
READERS: dict[str, _Read] = {
    "type": _types,
    "path": _texts("paths"),
    "in": _texts("inside"),
    "after": _moment("after"),
    "before": _moment("before"),
    "date": _period,
    "camera": _texts("cameras"),
    "size": _range("size_bytes", "size", quantities.size_bytes),
    "width": _range("width", "width", quantities.pixels),
    "height": _range("height", "height", quantities.pixels),
    "near": _near,
    "has": _facts,
    "duration": _range("duration_ms", "duration", quantities.duration_ms),
    "meta": _metadata,
    "exact": _phrase,
}
