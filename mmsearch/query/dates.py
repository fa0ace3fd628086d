"""Days, months and spans of time as people write them -> the moments at which they begin and end."""

from __future__ import annotations

import calendar
import re
from datetime import datetime, timedelta

__all__ = ["FORMS", "moment", "period", "spelled"]

FORMS = "2023, 2023-06, 2023-06-01, 2023-06-01T12:00, today, yesterday, 7d, 3w, 6m or 1y"
"""What can be written, for people."""

_DATE = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:T(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_AGO = re.compile(r"(\d+)([dwmy])", re.ASCII | re.IGNORECASE)


def moment(text: str, now: datetime) -> datetime:
    """The moment that a date means: its beginning, or so long ago to the second.

    Raises:
        ValueError: It is no date.
    """
    ago = _AGO.fullmatch(text)
    return period(text, now)[0] if ago is None else _ago(int(ago[1]), ago[2].lower(), now)


def period(text: str, now: datetime) -> tuple[datetime, datetime | None]:
    """The time that a date means: from its beginning up to the beginning of the next, None after the last there is.

    Args:
        text: See `FORMS`; a span such as ``7d`` is the day that lies so long ago.
        now: What time it is.

    Raises:
        ValueError: It is no date.
    """
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ago = _AGO.fullmatch(text)
    if ago is not None:
        day = _ago(int(ago[1]), ago[2].lower(), today)
        return day, _later(day, days=1)
    if text.lower() in ("today", "yesterday"):
        day = today if text.lower() == "today" else today - timedelta(days=1)
        return day, _later(day, days=1)
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    year, month, day_, hour, minute, second = (None if part is None else int(part) for part in match.groups()[:6])
    fraction = int((match[7] or "").ljust(6, "0"))
    start = datetime(year or 0, month or 1, day_ or 1, hour or 0, minute or 0, second or 0, fraction)
    if month is None:
        return start, None if start.year == 9999 else start.replace(year=start.year + 1)
    if day_ is None:
        return start, _later(start, days=calendar.monthrange(start.year, start.month)[1])
    if hour is None:
        return start, _later(start, days=1)
    if second is None:
        return start, _later(start, minutes=1)
    return start, _later(start, **({"microseconds": 1} if match[7] else {"seconds": 1}))


def spelled(value: datetime) -> str:
    """The shortest date that means a moment."""
    if value.microsecond:
        return value.isoformat()
    if value.second:
        return value.isoformat(timespec="seconds")
    if value.hour or value.minute:
        return value.isoformat(timespec="minutes")
    return value.date().isoformat()


def _later(start: datetime, **span: int) -> datetime | None:
    try:
        return start + timedelta(**span)
    except OverflowError:
        return None


def _ago(count: int, unit: str, now: datetime) -> datetime:
    try:
        if unit in "dw":
            return now - timedelta(days=count * (7 if unit == "w" else 1))
        months = now.year * 12 + now.month - 1 - count * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        # The 31st of a month that has no such day is its last.
        return now.replace(year=year, month=month + 1, day=min(now.day, calendar.monthrange(year, month + 1)[1]))
    except (OverflowError, ValueError, IndexError):
        raise ValueError(f"{count}{unit}") from None
