"""What a search is limited to: dates, places, sizes and so on, as frozen values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, get_args

from mmsearch.errors import QueryError
from mmsearch.types import Modality

__all__ = ["FACTS", "Area", "Fact", "Filters", "Range"]

Fact = Literal["gps", "camera", "date", "caption", "sound"]
"""What an item can be asked to have at all: a place, a camera, a day on which it was taken, words, a sound track."""
FACTS: tuple[Fact, ...] = get_args(Fact)


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included; None leaves an end open."""

    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise QueryError(f"No number lies between {self.low} and {self.high}.", hint="Turn the two round.")


@dataclass(frozen=True, slots=True)
class Area:
    """A circle on the Earth.

    Attributes:
        latitude: Degrees north, -90 to 90.
        longitude: Degrees east, -180 to 180.
        radius_km: Above 0.
    """

    latitude: float
    longitude: float
    radius_km: float

    def __post_init__(self) -> None:
        if not (-90 <= self.latitude <= 90 and -180 <= self.longitude <= 180):
            raise QueryError(
                f"There is no place at {self.latitude:g}, {self.longitude:g}.",
                hint="Degrees north, -90 to 90, then degrees east, -180 to 180: near:48.85,2.35,5km",
            )
        if not self.radius_km > 0:
            raise QueryError("The distance from a place must be above 0.", hint="For example: near:48.85,2.35,5km")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is limited to; an item passes when it meets every field that is set.

    Where a field holds several values, one of them is enough; of `phrases` and `has` all are needed.

    Attributes:
        modalities: Kinds to search among: a segment passes when it or its item is of one of them. None for all.
        paths: Globs of the path below its root (``2023/**``, ``*.png``); ``**`` is any number of folders, and a
            pattern without ``/`` is one of the file's name alone. One that begins with ``/`` is of the absolute path.
        inside: Names of roots, or of folders anywhere on the way to the file.
        after: Taken at that local time or later; where no camera tells, the file's last change counts.
        before: Taken before that local time.
        cameras: Words of the camera's make and model, all of a value's words in any order and case.
        size_bytes: Of the file.
        width, height: Pixels, as shown.
        duration_ms: Of a sound or video.
        near: Taken in that area.
        has: What must be known of an item.
        phrases: Exact words that stand together in what is written in an item, about it or in its path.
        metadata: Names and values of the metadata of items that were added through the API.
        excluded: An item that passes any of these is left out.
    """

    modalities: frozenset[Modality] | None = None
    paths: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    cameras: tuple[str, ...] = ()
    size_bytes: Range | None = None
    width: Range | None = None
    height: Range | None = None
    duration_ms: Range | None = None
    near: Area | None = None
    has: frozenset[Fact] = frozenset()
    phrases: tuple[str, ...] = ()
    metadata: tuple[tuple[str, str | int | float | bool], ...] = ()
    excluded: tuple[Filters, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is limited at all."""
        return self != Filters()

    def merged(self, other: Filters) -> Filters:
        """Filters that an item passes when it passes both.

        >>> from mmsearch import Filters
        >>> both = Filters.of(paths="2023/**").merged(Filters.of(cameras="canon"))
        >>> both.paths, both.cameras
        (('2023/**',), ('canon',))
        """
        mine, theirs = ({name for name in _NARROWED if getattr(one, name) != _NARROWED[name]} for one in (self, other))
        if any(getattr(self, name) != getattr(other, name) for name in mine & theirs):
            # What fails the other is left out: a field holds one range, and of several names either is enough.
            return replace(self, excluded=(*self.excluded, Filters(excluded=(other,))))
        return self.joined(other)

    def joined(self, other: Filters) -> Filters:
        """The values of both, field by field; `other` wins where a field holds one value.

        Joining widens `paths`, `inside` and `cameras`, of which one is enough, and narrows by all else. Of `modalities`
        those stay that both have.
        """
        values: dict[str, Any] = {}
        for name in (field.name for field in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            if name == "modalities":
                values[name] = mine & theirs if mine is not None and theirs is not None else mine or theirs
            elif isinstance(mine, tuple):
                values[name] = tuple(dict.fromkeys([*mine, *theirs]))
            elif isinstance(mine, frozenset):
                values[name] = mine | theirs
            else:
                values[name] = mine if theirs is None else theirs
        return Filters(**values)

    @classmethod
    def of(
        cls,
        *,
        modalities: Iterable[Modality | str] | None = None,
        paths: Iterable[str] | str = (),
        inside: Iterable[str] | str = (),
        cameras: Iterable[str] | str = (),
        has: Iterable[Fact] | Fact = (),
        phrases: Iterable[str] | str = (),
        metadata: Mapping[str, str | int | float | bool] | None = None,
        **others: Any,
    ) -> Filters:
        """Filters from plain values: a string or any iterable where several are possible, a mapping for metadata.

        Raises:
            QueryError: A modality or fact does not exist.
        """
        return cls(
            modalities=None if modalities is None else frozenset(_modality(kind) for kind in _several(modalities)),
            paths=_several(paths),
            inside=_several(inside),
            cameras=_several(cameras),
            has=frozenset(_fact(name) for name in _several(has)),
            phrases=_several(phrases),
            metadata=tuple((metadata or {}).items()),
            **others,
        )


# Fields of which two values cannot be written as one, each with the value that limits nothing.
_NARROWED: dict[str, Any] = {
    **dict.fromkeys(("paths", "inside", "cameras"), ()),
    **dict.fromkeys(("after", "before", "size_bytes", "width", "height", "duration_ms", "near")),
}


def _several(values: Iterable[Any] | str) -> tuple[Any, ...]:
    return (values,) if isinstance(values, str) else tuple(values)


def _modality(name: Modality | str) -> Modality:
    try:
        return Modality(str(name))
    except ValueError:
        kinds = ", ".join(sorted(str(kind) for kind in Modality))
        raise QueryError(f"There is no type {str(name)!r}.", hint=f"Types: {kinds}.") from None


def _fact(name: str) -> Fact:
    if name not in FACTS:
        raise QueryError(f"Nothing is known of {name!r}.", hint=f"An item can have: {', '.join(FACTS)}.")
    return name
