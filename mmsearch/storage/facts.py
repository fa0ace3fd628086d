"""The facts of a collection's segments in memory, one array for each: a filter over a million of them in milliseconds.

SQLite finds the few segments that a narrow filter leaves at once, and takes a second for those that a wide one does. A
process that filters again and again therefore keeps what it filters by. The catalog stays the truth: what was added or
changed since is read before every use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.filters import Area, Filters, Range
from mmsearch.storage.selection import EARTH_KM, fits_camera, local_time, nanoseconds
from mmsearch.storage.session import Session
from mmsearch.types import Collection

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FactTable", "Passing"]

# Fields of `Filters` that the table can tell.
_TOLD = frozenset(
    {
        "modalities",
        "after",
        "before",
        "cameras",
        "size_bytes",
        "width",
        "height",
        "duration_ms",
        "near",
        "has",
        "excluded",
    }
)
_TOLD_FACTS = frozenset({"gps", "camera", "date"})
_PORTION = 32768
_NUMBERS = ("size_bytes", "width", "height", "duration_ms")
_COLUMNS = "i.modality, i.taken_at, i.mtime_ns, i.camera, i.latitude, i.longitude, " + ", ".join(
    f"i.{name}" for name in _NUMBERS
)
_UNKNOWN = -1
_NAT = np.iinfo(np.int64).min


@dataclass(slots=True)
class _Facts:
    """One row for each segment, in order of their ids; what is not known is -1, NaT or NaN."""

    ids: NDArray[np.int64]
    modality: NDArray[np.int16]
    taken: NDArray[np.datetime64]
    mtime_ns: NDArray[np.int64]
    camera: NDArray[np.int32]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    size_bytes: NDArray[np.int64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    duration_ms: NDArray[np.int64]

    @property
    def untold(self) -> bool:
        """Whether of any segment it is not known when it was taken."""
        return bool(np.isnat(self.taken).any())


class Passing:
    """Segments that pass filters.

    Args:
        known: (n,) sorted ids of segments.
        mask: (n,) which of them pass; all when None.
    """

    def __init__(self, known: NDArray[np.int64], mask: NDArray[np.bool_] | None = None) -> None:
        self._known = known
        self._mask = mask
        self._count = len(known) if mask is None else int(np.count_nonzero(mask))

    def __len__(self) -> int:
        """How many pass."""
        return self._count

    @property
    def ids(self) -> NDArray[np.int64]:
        """Their ids, sorted."""
        # From places to ids is twice as fast as picking by the mask where few pass.
        return self._known if self._mask is None else self._known[np.flatnonzero(self._mask)]

    def has(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each of some ids, of any shape, whether it passes."""
        if not len(self._known):
            return np.zeros(ids.shape, np.bool_)
        places = np.minimum(np.searchsorted(self._known, ids), len(self._known) - 1)
        there = self._known[places] == ids
        return np.asarray(there if self._mask is None else there & self._mask[places])


class FactTable:
    """The facts of one collection; not safe for several threads at once.

    Args:
        session: To the catalog.
        collection: Whose segments.
    """

    def __init__(self, session: Session, collection: Collection) -> None:
        self._session = session
        self._collection = collection
        self._names: dict[str, int] = {}  # of cameras and modalities -> their codes
        self._facts: _Facts | None = None
        self._last_change = 0

    @staticmethod
    def tells(filters: Filters) -> bool:
        """Whether the table knows all that these filters ask for."""
        asked = {field.name for field in fields(filters) if getattr(filters, field.name) != field.default}
        return asked <= _TOLD and filters.has <= _TOLD_FACTS and all(map(FactTable.tells, filters.excluded))

    @property
    def loaded(self) -> bool:
        """Whether it was read from the catalog once."""
        return self._facts is not None

    def refresh(self) -> None:
        """Read what the catalog gained or changed since; all of it the first time."""
        with self._session.snapshot():
            ((last_change,),) = self._session.rows("SELECT coalesce(max(id), 0) FROM changes")
            if self._facts is None:
                self._facts = self._read("s.id > 0", ())
            else:
                last = int(self._facts.ids[-1]) if len(self._facts.ids) else 0
                ((newest,),) = self._session.rows(
                    "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name='segments'"
                )
                if newest > last:
                    self._add(self._read("s.id > ?", (last,)))
                if last_change > self._last_change:
                    self._change(self._last_change)
            self._last_change = last_change

    def select(self, filters: Filters) -> Passing:
        """The segments that pass; some may have been removed from the catalog since."""
        assert self._facts is not None
        return Passing(self._facts.ids, self._passing(self._facts, filters))

    def _read(self, condition: str, values: tuple[Any, ...]) -> _Facts:
        rows = self._rows(condition, values)
        parts = []
        while portion := list(islice(rows, _PORTION)):
            parts.append(self._arrays(portion))
        parts = parts or [self._arrays([])]
        return _Facts(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(_Facts)))

    def _rows(self, condition: str, values: tuple[Any, ...]) -> Iterator[Any]:
        return self._session.streamed(
            f"SELECT s.id, {_COLUMNS} FROM segments s JOIN items i ON i.id = s.item_id"
            f" WHERE s.modality = ? AND {condition} ORDER BY s.id",
            (self._collection.modality.value, *values),
        )

    def _arrays(self, rows: list[Any]) -> _Facts:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(fields(_Facts))
        ids, modality, taken, mtime_ns, camera, latitude, longitude, *numbers = columns
        return _Facts(
            np.array(ids, np.int64),
            np.array([self._code(name) for name in modality], np.int16),
            np.array([day or "NaT" for day in taken], "datetime64[us]"),
            np.array(mtime_ns, np.int64),
            np.array([_UNKNOWN if name is None else self._code(name) for name in camera], np.int32),
            np.array(latitude, np.float64),
            np.array(longitude, np.float64),
            *(np.array([_UNKNOWN if value is None else value for value in column], np.int64) for column in numbers),
        )

    def _code(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def _add(self, new: _Facts) -> None:
        assert self._facts is not None
        for field in fields(_Facts):
            setattr(
                self._facts, field.name, np.concatenate([getattr(self._facts, field.name), getattr(new, field.name)])
            )

    def _change(self, since: int) -> None:
        facts = self._facts
        assert facts is not None
        changed = self._read("s.item_id IN (SELECT item_id FROM changes WHERE id > ?)", (since,))
        rows = np.searchsorted(facts.ids, changed.ids)
        known = rows < len(facts.ids)
        known[known] = facts.ids[rows[known]] == changed.ids[known]
        for field in fields(_Facts):
            getattr(facts, field.name)[rows[known]] = getattr(changed, field.name)[known]

    def _passing(self, facts: _Facts, filters: Filters) -> NDArray[np.bool_]:
        passing: NDArray[np.bool_] | None = None
        for mask in self._masks(facts, filters):
            passing = mask if passing is None else passing & mask
        if passing is None:
            passing = np.ones(len(facts.ids), np.bool_)
        for excluded in filters.excluded:
            passing = passing & ~self._passing(facts, excluded)
        return passing

    def _masks(self, facts: _Facts, filters: Filters) -> Iterator[NDArray[np.bool_]]:
        if filters.modalities is not None and self._collection.modality not in filters.modalities:
            yield np.isin(facts.modality, [self._names.get(name.value, _UNKNOWN) for name in filters.modalities])
        if filters.after is not None or filters.before is not None:
            yield _times(facts, filters.after, filters.before)
        if filters.cameras:
            yield self._cameras(filters.cameras)[facts.camera]
        for name in _NUMBERS:
            wanted = getattr(filters, name)
            if wanted is not None:
                yield from _within(getattr(facts, name), wanted)
        if filters.near is not None:
            yield _near(facts, filters.near)
        if "gps" in filters.has:
            yield ~np.isnan(facts.latitude)
        if "camera" in filters.has:
            yield facts.camera != _UNKNOWN
        if "date" in filters.has:
            yield ~np.isnat(facts.taken)

    def _cameras(self, wanted: tuple[str, ...]) -> NDArray[np.bool_]:
        """For each code whether it is of a camera that is wanted; the last entry is for the code -1."""
        flags = np.zeros(len(self._names) + 1, np.bool_)
        for name, code in self._names.items():
            flags[code] = any(fits_camera(words, name) for words in wanted)
        return flags


def _times(facts: _Facts, after: datetime | None, before: datetime | None) -> NDArray[np.bool_]:
    # NaT is the least of all numbers, which NumPy compares twice as fast as times.
    taken = facts.taken.view(np.int64)
    masks: list[NDArray[np.bool_]] = []
    changed: list[NDArray[np.bool_]] = []
    for moment, late in ((after, True), (before, False)):
        if moment is None:
            continue
        edge, edge_ns = np.datetime64(local_time(moment), "us").astype(np.int64), nanoseconds(moment)
        masks.append(taken >= edge if late else taken < edge)
        if facts.untold:
            changed.append(facts.mtime_ns >= edge_ns if late else facts.mtime_ns < edge_ns)
    told = masks[0] if len(masks) == 1 else masks[0] & masks[1]
    if not facts.untold:
        return told
    untold = taken == _NAT
    return np.where(untold, np.logical_and.reduce(changed), told)


def _within(column: NDArray[np.int64], wanted: Range) -> Iterator[NDArray[np.bool_]]:
    if wanted.low is not None:
        yield column >= wanted.low
    if wanted.high is not None:
        yield (column <= wanted.high) & (column != _UNKNOWN)
    elif wanted.low is not None and wanted.low <= _UNKNOWN:
        yield column != _UNKNOWN


def _near(facts: _Facts, area: Area) -> NDArray[np.bool_]:
    """Within the distance on the great circle, by the haversine formula."""
    passing: NDArray[np.bool_] = np.abs(facts.latitude - area.latitude) <= np.degrees(area.radius_km / EARTH_KM) + 1e-6
    rows = np.flatnonzero(passing)  # without those of no place, which are NaN
    latitude, longitude = np.radians(facts.latitude[rows]), np.radians(facts.longitude[rows])
    up, across = (np.radians(area.latitude) - latitude) / 2, (np.radians(area.longitude) - longitude) / 2
    half = np.sin(up) ** 2 + np.cos(latitude) * np.cos(np.radians(area.latitude)) * np.sin(across) ** 2
    passing[rows] = 2 * EARTH_KM * np.arcsin(np.minimum(1.0, np.sqrt(half))) <= area.radius_km
    return passing
