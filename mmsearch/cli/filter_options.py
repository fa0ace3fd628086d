"""The options that limit a search: each is read as the filter of its name in a query is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmsearch.filters import Filters

__all__ = [
    "After",
    "Before",
    "Cameras",
    "Date",
    "Duration",
    "Exact",
    "Has",
    "Height",
    "Inside",
    "Meta",
    "Near",
    "Paths",
    "Size",
    "Types",
    "Width",
    "filters_from",
]


def _option(name: str, metavar: str, help_: str) -> Any:
    return typer.Option(f"--{name}", metavar=metavar, show_default=False, help=help_)


Types = Annotated[list[str] | None, _option("type", "T,...", "Only these types: text, image, audio, video.")]
Paths = Annotated[list[str] | None, _option("path", "GLOB,...", "Only such paths: 2023/**, *.png.")]
Inside = Annotated[list[str] | None, _option("in", "NAME,...", "Only in roots or folders of these names.")]
After = Annotated[list[str] | None, _option("after", "DATE", "Taken then or later: 2023, 2023-06, 2023-06-01, 7d.")]
Before = Annotated[list[str] | None, _option("before", "DATE", "Taken before that.")]
Date = Annotated[list[str] | None, _option("date", "DATE", "Taken in that year, month or day: 2023-06, today.")]
Cameras = Annotated[list[str] | None, _option("camera", "WORDS,...", "Taken by such a camera: canon.")]
Size = Annotated[list[str] | None, _option("size", "SIZE", 'Files of that size: ">2MB", "<=500kB", 1MB..5MB.')]
Width = Annotated[list[str] | None, _option("width", "PIXELS", 'So wide: ">4000", 1000..2000.')]
Height = Annotated[list[str] | None, _option("height", "PIXELS", "So high.")]
Near = Annotated[list[str] | None, _option("near", "LAT,LON[,KM]", "Taken near that place: 48.85,2.35,5km.")]
Has = Annotated[list[str] | None, _option("has", "FACT,...", "With gps, camera, date, caption or sound.")]
Duration = Annotated[list[str] | None, _option("duration", "TIME", 'So long: "<60s", 1m30s, 1:00..2:00.')]
Meta = Annotated[list[str] | None, _option("meta", "NAME=VALUE", "With that metadata, given through Python.")]
Exact = Annotated[list[str] | None, _option("exact", "WORDS", "With these words, as they stand.")]


def filters_from(values: Mapping[str, Sequence[str] | None]) -> Filters:
    """Join what the options say; given twice, an option is what its filter is that stands twice in a query.

    Args:
        values: Keys of filters -> what was given for them.

    Raises:
        QueryError: A value cannot be read, or nothing can pass.
    """
    from mmsearch.filters import Filters

    found = Filters()
    for key, given in values.items():
        for value in given or ():
            from mmsearch.query.filter_syntax import flag

            found = flag(key, value, datetime.now(), found)
    return found
