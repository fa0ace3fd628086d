"""Filters as SQL: which items and segments of a catalog pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.files import at_home
from mmsearch.filters import Area, Filters, Range
from mmsearch.storage.characters import whole
from mmsearch.storage.encoders import dim_of
from mmsearch.storage.globs import Glob
from mmsearch.storage.passages import phrase
from mmsearch.storage.session import Session
from mmsearch.storage.source import key_of
from mmsearch.types import Collection, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["EARTH_KM", "Condition", "Selection", "fits_camera", "local_time", "nanoseconds"]

# Kilometres of a degree of latitude; a degree of longitude has as many at the equator.
_KM_PER_DEGREE = 111.195
EARTH_KM = 6371.0
# The cameras of a library, without looking at every item: from each name in the index to the next.
_CAMERAS = """WITH RECURSIVE names (camera) AS (
    SELECT min(camera) FROM items WHERE camera IS NOT NULL
    UNION ALL SELECT (SELECT min(camera) FROM items WHERE camera > names.camera) FROM names WHERE camera IS NOT NULL
) SELECT camera FROM names WHERE camera IS NOT NULL"""


class Condition:
    """A condition of SQL with the values of its parameters; items are called ``i`` and segments ``s`` in it."""

    def __init__(self, text: str = "1", values: Sequence[Any] = ()) -> None:
        self.text = text
        self.values = tuple(values)

    @staticmethod
    def all_of(conditions: Iterable[Condition]) -> Condition:
        """Met where every one is."""
        return Condition._joined(conditions, " AND ", "1")

    @staticmethod
    def any_of(conditions: Iterable[Condition]) -> Condition:
        """Met where one of them is."""
        return Condition._joined(conditions, " OR ", "0")

    def negated(self) -> Condition:
        """Met where this one is not, also where it cannot be told."""
        return Condition(f"NOT coalesce(({self.text}), 0)", self.values)

    @staticmethod
    def _joined(conditions: Iterable[Condition], word: str, empty: str) -> Condition:
        found = list(conditions)
        if len(found) == 1:
            return found[0]
        text = word.join(f"({condition.text})" for condition in found) or empty
        return Condition(text, [value for condition in found for value in condition.values])


class Selection:
    """The items and segments that pass filters.

    Args:
        session: To the catalog.
        filters: What they have to pass.
        roots: The folders that were indexed, where they lie now, by id.
    """

    def __init__(self, session: Session, filters: Filters, roots: Callable[[], dict[int, Path]]) -> None:
        self._session = session
        self._roots = roots
        self.filters = filters
        _teach(session)
        self.condition = self._of(filters)

    def segments(self, collection: Collection) -> NDArray[np.int64]:
        """Sorted ids of the segments of a collection that pass.

        Raises:
            EncoderMismatchError: The library was not made with the encoder.
        """
        dim_of(self._session, collection.encoder_id)
        key = key_of(self._session, collection)
        if key is None:
            return np.empty(0, np.int64)
        # The order of the tables is given: from the few items that pass to their segments.
        rows = self._session.rows(
            "SELECT s.id FROM items i CROSS JOIN segments s ON s.item_id = i.id"
            f" WHERE ({self.condition.text}) AND s.modality = ?"
            " AND EXISTS (SELECT 1 FROM vectors v WHERE v.segment_id = s.id AND v.collection_id = ?)",
            (*self.condition.values, collection.modality.value, key),
        )
        return np.sort(np.fromiter((row[0] for row in rows), np.int64, len(rows)))

    def passing(self, segment_ids: Iterable[int]) -> NDArray[np.int64]:
        """Those of some segments that pass, sorted."""
        rows = self._session.grouped_rows(
            "SELECT s.id FROM segments s JOIN items i ON i.id = s.item_id"
            f" WHERE s.id IN ({{ids}}) AND ({self.condition.text})",
            segment_ids,
            self.condition.values,
        )
        return np.sort(np.fromiter((row[0] for row in rows), np.int64))

    def items(self, limit: int) -> list[int]:
        """Ids of the items that pass, the newest first; equally old ones in order of their ids."""
        # Their first segments stand for them: a filter may ask for a kind that only some segments are of.
        rows = self._session.rows(
            "SELECT DISTINCT i.id FROM items i LEFT JOIN segments s ON s.item_id = i.id"
            f" WHERE {self.condition.text}"
            " ORDER BY coalesce(CAST(strftime('%s', i.taken_at, 'utc') AS INTEGER), i.mtime_ns / 1000000000) DESC, i.id"
            " LIMIT ?",
            (*self.condition.values, limit),
        )
        return [row[0] for row in rows]

    def _of(self, filters: Filters) -> Condition:
        return Condition.all_of(
            [*self._conditions(filters), *(self._of(excluded).negated() for excluded in filters.excluded)]
        )

    def _conditions(self, filters: Filters) -> Iterator[Condition]:
        if filters.modalities is not None:
            yield _modalities(filters.modalities)
        if filters.paths:
            yield Condition.any_of(self._path(pattern) for pattern in filters.paths)
        if filters.inside:
            yield Condition.any_of(self._inside(name) for name in filters.inside)
        yield from _times(filters.after, filters.before)
        if filters.cameras:
            yield Condition.any_of(self._camera(words) for words in filters.cameras)
        for name in ("size_bytes", "width", "height", "duration_ms"):
            wanted = getattr(filters, name)
            if wanted is not None:
                yield _within(name, wanted)
        if filters.near is not None:
            yield _near(filters.near)
        yield from (_HAS[fact] for fact in sorted(filters.has))
        yield from (_phrase(words) for words in filters.phrases)
        yield from (_metadata(name, value) for name, value in filters.metadata)

    def _path(self, pattern: str) -> Condition:
        if not pattern.startswith(("/", "~")):
            glob = Glob(pattern)
            return Condition.all_of([*self._below(glob), _fits(glob)])
        glob = Glob(at_home(pattern))
        # A root may lie elsewhere than where it was stored, so the absolute path is put together here.
        return Condition.any_of(
            Condition.all_of(
                [
                    Condition("i.root_id = ?", (root_id,)),
                    *_starting(glob.below(os.fspath(root))),
                    _fits(glob, root),
                ]
            )
            for root_id, root in self._roots().items()
        )

    def _below(self, glob: Glob) -> Iterator[Condition]:
        """The literal beginning of a pattern as a range, which an index answers; roots are named for the same."""
        if glob.prefix:
            roots = list(self._roots())
            yield Condition(f"i.root_id IN ({_marks(roots)})", roots)
            yield from _starting(glob.prefix)

    def _inside(self, name: str) -> Condition:
        """In a root, or below a folder, of that name."""
        glob = Glob(f"**/{Glob.escaped(name.strip('/'))}/**")
        named = [root_id for root_id, root in self._roots().items() if glob.regex.match(f"{os.fspath(root)}/x")]
        below = [_fits(glob)]
        words = phrase(name)
        if words:  # full text knows the folders' words, and which few files lie below
            below.insert(0, Condition("i.id IN (SELECT rowid FROM about WHERE about MATCH ?)", (f"place : {words}",)))
        return Condition.any_of([Condition(f"i.root_id IN ({_marks(named)})", named), Condition.all_of(below)])

    def _camera(self, words: str) -> Condition:
        fitting = [name for (name,) in self._session.rows(_CAMERAS) if fits_camera(words, name)]
        return Condition(f"i.camera IN ({_marks(fitting)})", fitting)


def _modalities(modalities: frozenset[Modality]) -> Condition:
    names = sorted(modality.value for modality in modalities)
    marks = _marks(names)
    return Condition(f"s.modality IN ({marks}) OR i.modality IN ({marks})", [*names, *names])


def _times(after: datetime | None, before: datetime | None) -> Iterator[Condition]:
    """When it was taken, in the camera's own time; a file without such a day counts by its last change."""
    if after is None and before is None:
        return
    taken, changed = [], []
    for moment, sign in ((after, ">="), (before, "<")):
        if moment is not None:
            taken.append(Condition(f"i.taken_at {sign} ?", (local_time(moment).isoformat(),)))
            changed.append(Condition(f"i.mtime_ns {sign} ?", (nanoseconds(moment),)))
    yield Condition.any_of(
        [
            Condition.all_of([Condition("i.taken_at IS NOT NULL"), *taken]),
            Condition.all_of([Condition("i.taken_at IS NULL"), *changed]),
        ]
    )


def fits_camera(words: str, name: str) -> bool:
    """Whether a camera has all words in its name, in any order and case."""
    return all(word in name.casefold() for word in words.casefold().split())


def local_time(moment: datetime) -> datetime:
    """A moment as cameras write it: of local time, without a zone."""
    return moment if moment.tzinfo is None else moment.astimezone().replace(tzinfo=None)


def nanoseconds(moment: datetime) -> int:
    """Since the epoch; a moment without a zone is one of local time, which is what people mean."""
    try:
        seconds = moment.timestamp()
    except (OverflowError, ValueError, OSError):  # beyond what the system's calendar knows
        seconds = (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    return max(-(2**63), min(int(seconds * 1e9), 2**63 - 1))


def _within(column: str, wanted: Range) -> Condition:
    ends = ((wanted.low, ">="), (wanted.high, "<="))
    return Condition.all_of(Condition(f"i.{column} {sign} ?", (end,)) for end, sign in ends if end is not None)


def _near(area: Area) -> Condition:
    """A box, which an index answers, then the distance itself."""
    up = area.radius_km / _KM_PER_DEGREE
    south, north = area.latitude - up, area.latitude + up
    boxes = [Condition("i.latitude BETWEEN ? AND ?", (south, north))]
    if south > -90 and north < 90:
        # The circle is widest, in degrees of longitude, a little nearer to the pole than its centre.
        ratio = np.sin(area.radius_km / EARTH_KM) / np.cos(np.radians(area.latitude))
        if area.radius_km < EARTH_KM and ratio < 1:
            wide = float(np.degrees(np.arcsin(ratio))) + 1e-6
            west, east = area.longitude - wide, area.longitude + wide
            spans = [(max(west, -180.0), min(east, 180.0))]
            spans += [(west + 360, 180.0)] if west < -180 else []
            spans += [(-180.0, east - 360)] if east > 180 else []
            boxes.append(Condition.any_of(Condition("i.longitude BETWEEN ? AND ?", span) for span in spans))
    exact = Condition(
        "distance_km(i.latitude, i.longitude, ?, ?) <= ?", (area.latitude, area.longitude, area.radius_km)
    )
    return Condition.all_of([*boxes, exact])


def _phrase(words: str) -> Condition:
    wanted = phrase(words)
    if not wanted:
        return Condition("0")
    return Condition(
        "i.id IN (SELECT rowid FROM about WHERE about MATCH ? UNION SELECT item_id FROM segments WHERE id IN"
        " (SELECT rowid FROM passages WHERE passages MATCH ?))",
        (wanted, wanted),
    )


def _metadata(name: str, value: str | int | float | bool) -> Condition:
    # By key, since a path in JSON cannot say every name.
    name = whole(name)
    found = "EXISTS (SELECT 1 FROM json_each(i.metadata) m WHERE m.key = ? AND {} = ?)"
    if isinstance(value, str):  # a query has strings alone, whatever was stored
        as_text = "CASE m.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(m.atom AS TEXT) END"
        return Condition(found.format(as_text), (name, whole(value)))
    return Condition(found.format("m.atom"), (name, value))


_HAS = {
    "gps": Condition("i.latitude IS NOT NULL"),
    "camera": Condition("i.camera IS NOT NULL"),
    "date": Condition("i.taken_at IS NOT NULL"),
    "caption": Condition(
        "i.modality != 'text' AND EXISTS"
        " (SELECT 1 FROM segments t WHERE t.item_id = i.id AND t.modality = 'text' AND t.text IS NOT NULL)"
    ),
    "sound": Condition(
        "i.modality = 'audio' OR EXISTS (SELECT 1 FROM segments t WHERE t.item_id = i.id AND t.modality = 'audio')"
    ),
}


def _starting(prefix: str) -> Iterator[Condition]:
    if prefix:
        raw = os.fsencode(prefix).rstrip(b"\xff")
        if raw:
            yield Condition("i.path >= ? AND i.path < ?", (raw, raw[:-1] + bytes([raw[-1] + 1])))


def _fits(glob: Glob, root: Path | None = None) -> Condition:
    folder = b"" if root is None else os.fsencode(root).rstrip(b"/") + b"/"
    # As bytes: the name of a file, and so a pattern, can hold half characters, which SQLite does not take.
    return Condition("fits(?, ?, i.path)", (os.fsencode(glob.regex.pattern), folder))


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def _teach(session: Session) -> None:
    """Give SQLite the functions that conditions use."""
    session.define("fits", 3, _path_fits)
    session.define("distance_km", 4, _distance_km)


def _path_fits(pattern: bytes, folder: bytes, path: bytes | None) -> bool:
    return path is not None and Glob.compiled(os.fsdecode(pattern)).match(os.fsdecode(folder + path)) is not None


def _distance_km(latitude: float | None, longitude: float | None, to_latitude: float, to_longitude: float) -> float:
    """Along the great circle, by the haversine formula."""
    from math import asin, cos, radians, sin, sqrt

    if latitude is None or longitude is None:
        return float("inf")
    up, across = radians(to_latitude - latitude) / 2, radians(to_longitude - longitude) / 2
    half = sin(up) ** 2 + cos(radians(latitude)) * cos(radians(to_latitude)) * sin(across) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))
