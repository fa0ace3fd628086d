"""Sizes, lengths and distances as people write them -> whole numbers, and ranges of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction

from mmsearch.filters import Range

__all__ = ["Reader", "duration_ms", "kilometres", "pixels", "range_of", "size_bytes", "spelled_range"]

Reader = Callable[[str], tuple[Fraction, Fraction]]
"""A quantity -> its value, and how much the last place that was written is worth; ValueError where it is none."""

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?"
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]*)", re.IGNORECASE | re.ASCII)
_SIZES = {
    "": 1,
    "b": 1,
    **{f"{letter}{end}": 1000**power for power, letter in enumerate("kmgt", start=1) for end in ("", "b")},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
_PIXELS = re.compile(rf"({_NUMBER})\s*(?:px)?", re.IGNORECASE | re.ASCII)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{2}(?:\.\d+)?)", re.ASCII)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.IGNORECASE | re.ASCII)
_SPANS = re.compile(rf"-?(?:{_SPAN.pattern})+", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(_NUMBER, re.IGNORECASE | re.ASCII)
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DISTANCE = re.compile(rf"({_NUMBER})\s*(km|mi|m|)", re.IGNORECASE | re.ASCII)
_UNITS_KM = {"km": Fraction(1), "": Fraction(1), "m": Fraction(1, 1000), "mi": Fraction(1_609_344, 1_000_000)}


def size_bytes(text: str) -> tuple[Fraction, Fraction]:
    """Bytes: ``512``, ``2MB`` (powers of 1000), ``1.5 GiB`` (powers of 1024)."""
    match = _SIZE.fullmatch(text)
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError(text)
    return Fraction(match[1]) * _SIZES[match[2].lower()], Fraction(1)


def pixels(text: str) -> tuple[Fraction, Fraction]:
    """Pixels: ``4000``, ``4000px``."""
    match = _PIXELS.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return Fraction(match[1]), Fraction(1)


def duration_ms(text: str) -> tuple[Fraction, Fraction]:
    """Milliseconds: ``90s``, ``1m30s``, ``1:30``, ``2h``, ``1500ms``; a number alone is seconds."""
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        seconds = int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + Fraction(clock[3])
        return seconds * 1000, Fraction(1000)
    if _PLAIN.fullmatch(text):
        return Fraction(text) * 1000, Fraction(1000)
    if not _SPANS.fullmatch(text):
        raise ValueError(text)
    spans = _SPAN.findall(text)
    total = sum((Fraction(number) * _UNITS_MS[unit.lower()] for number, unit in spans), Fraction(0))
    finest = Fraction(1 if any(unit.lower() == "ms" for _, unit in spans) else 1000)
    return (-total if text.startswith("-") else total), finest


def kilometres(text: str) -> float:
    """A distance: ``5km``, ``500m``, ``3mi``; a number alone is kilometres."""
    match = _DISTANCE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    unit = _UNITS_KM[match[2].lower()]
    return float(match[1]) if unit == 1 else float(Fraction(match[1]) * unit)


def range_of(text: str, read: Reader) -> Range:
    """What ``>2MB``, ``>=``, ``<``, ``<=``, ``1MB..5MB`` or a quantity alone limits whole numbers to.

    Raises:
        ValueError: It is none of these.
        QueryError: Its ends are the wrong way round.
    """
    low, dots, high = text.partition("..")
    if dots:
        return Range(
            math.ceil(read(low.strip())[0]) if low.strip() else None,
            math.floor(read(high.strip())[0]) if high.strip() else None,
        )
    if text[:1] in ("<", ">"):
        sign, rest = (text[:2], text[2:]) if text[1:2] == "=" else (text[:1], text[1:])
        value = read(rest.strip())[0]
        if sign[0] == ">":
            return Range(low=math.ceil(value) if sign == ">=" else math.floor(value) + 1)
        return Range(high=math.floor(value) if sign == "<=" else math.ceil(value) - 1)
    value, finest = read(text.removeprefix("=").strip())
    # What a player shows as 1:30 lasts a little longer; of bytes and pixels there are no parts.
    return Range(math.floor(value), math.ceil(value + finest) - 1)


def spelled_range(limits: Range, unit: str = "") -> str:
    """A range as `range_of` reads it."""
    if limits.low is None or limits.high is None:
        if limits.low is None and limits.high is None:
            return ".."
        return f"<={limits.high}{unit}" if limits.low is None else f">={limits.low}{unit}"
    return f"{limits.low}{unit}" if limits.low == limits.high else f"{limits.low}{unit}..{limits.high}{unit}"
