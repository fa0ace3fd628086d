"""Where in an item a hit lies, in words: times, pages, captions, and what else of the item matches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mmsearch.types import Modality

if TYPE_CHECKING:
    from mmsearch.types import Hit

__all__ = ["clock", "duplicates_text", "others_text", "passage_text", "place_text", "span_text"]

# More places than these are counted.
_LISTED = 6
_HEADING = re.compile(r"^#{1,6}[ \t]+", re.MULTILINE)


def place_text(hit: Hit) -> str:
    """The time or page of a hit: ``0:12``, ``sound 0:10-0:15`` of a video, ``page 3``; empty where it has none."""
    if hit.page is not None:
        return f"page {hit.page}"
    span = span_text(hit.start_ms, hit.end_ms)
    return f"sound {span}" if span and _kind(hit) == "sound" else span


def passage_text(hit: Hit) -> str | None:
    """The text that matches, headings without marks; what is no passage says what it is: ``caption: a dog``."""
    if hit.text is None:
        return None
    if hit.modality == Modality.TEXT:
        return _HEADING.sub("", hit.text)
    return f"{'caption' if hit.start_ms is None else 'subtitle'}: {hit.text}"


def others_text(hit: Hit) -> str:
    """What else of the item matches, in one line: ``also at 0:40, 1:05``, ``and 3 more passages``; or nothing."""
    times: dict[str, dict[int, None]] = {}
    pages: dict[int, None] = {}
    captions = pictures = passages = 0
    for other in hit.others:
        if other.start_ms is not None:
            times.setdefault(_kind(other), {})[other.start_ms // 1000] = None
        elif other.page is not None and other.page != hit.page:
            pages[other.page] = None
        elif hit.modality == Modality.TEXT:
            passages += 1
        elif other.text is not None:
            captions += 1
        else:
            pictures += 1
    also = [
        f"{kind} at {_listed([clock(1000 * second) for second in sorted(seconds)])}".lstrip()
        for kind, seconds in sorted(times.items())
    ]
    if pages:
        also.append(f"on page{'s' * (len(pages) > 1)} {_listed([str(page) for page in sorted(pages)])}")
    if captions:
        also.append(f"by its caption{'s' * (captions > 1)}")
    if pictures:
        also.append("by its picture" if hit.modality == Modality.IMAGE else "as a whole")
    parts = [f"also {'; '.join(also)}"] if also else []
    if passages:
        parts.append(f"and {passages:,} more passage{'s' * (passages > 1)}")
    return " ".join(parts)


def duplicates_text(hit: Hit) -> str:
    """What was folded under the hit, in one line: ``and 2 near-duplicates: a.jpg, b.jpg``; or nothing."""
    if not hit.duplicates:
        return ""
    names = [f"item {copy.item_id}" if copy.path is None else copy.path.name for copy in hit.duplicates]
    return f"and {len(names):,} near-duplicate{'s' * (len(names) > 1)}: {_listed(names)}"


def span_text(start_ms: int | None, end_ms: int | None) -> str:
    """A place in a sound or video, such as ``0:12-0:17``, or ``0:12`` within one second; empty where there is none."""
    if start_ms is None:
        return ""
    start = clock(start_ms)
    end = start if end_ms is None else clock(end_ms)
    return start if start == end else f"{start}-{end}"


def clock(milliseconds: int) -> str:
    """A time as players show it: ``0:12``, ``1:02:05``."""
    minutes, seconds = divmod(milliseconds // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _kind(hit: Hit) -> str:
    """What to call a segment that is not of its item's own kind."""
    if hit.modality == Modality.VIDEO and hit.matched == Modality.AUDIO:
        return "sound"
    return "subtitle" if hit.modality != Modality.TEXT and hit.matched == Modality.TEXT else ""


def _listed(places: list[str]) -> str:
    more = len(places) - _LISTED
    return ", ".join(places) if more <= 0 else f"{', '.join(places[:_LISTED])} and {more} more"
