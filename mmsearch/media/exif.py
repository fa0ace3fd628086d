"""EXIF of an opened image -> what people filter by; garbage in it is passed over, never an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from mmsearch.types import MediaInfo

__all__ = ["read_exif"]

_MAX_NAME = 100


def read_exif(image: Image.Image) -> tuple[int, MediaInfo]:
    """Read the orientation (1 to 8) and the details of a picture; width and height are left to the caller."""
    try:
        exif = image.getexif()
    except Exception:  # any garbage may lie in there, and Pillow meets it with any exception
        return 1, MediaInfo()
    details = _directory(exif, ExifTags.IFD.Exif)
    place = _directory(exif, ExifTags.IFD.GPSInfo)
    orientation = _value(exif, ExifTags.Base.Orientation)
    taken_at = _moment(details.get(ExifTags.Base.DateTimeOriginal)) or _moment(
        details.get(ExifTags.Base.DateTimeDigitized)
    )
    latitude = _degrees(place.get(ExifTags.GPS.GPSLatitude), place.get(ExifTags.GPS.GPSLatitudeRef), "NS", 90)
    longitude = _degrees(place.get(ExifTags.GPS.GPSLongitude), place.get(ExifTags.GPS.GPSLongitudeRef), "EW", 180)
    if latitude is None or longitude is None:
        latitude = longitude = None
    return (
        orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
        MediaInfo(
            taken_at=taken_at,
            camera=_camera(_value(exif, ExifTags.Base.Make), _value(exif, ExifTags.Base.Model)),
            latitude=latitude,
            longitude=longitude,
        ),
    )


def _value(exif: Image.Exif, tag: int) -> Any:
    try:
        return exif.get(tag)
    except Exception:  # values are parsed when they are asked for
        return None


def _directory(exif: Image.Exif, tag: int) -> Mapping[int, Any]:
    try:
        found = exif.get_ifd(tag)
    except Exception:  # an offset beyond the end, a loop, a wrong type: any exception
        return {}
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str):
        return None
    value = value.split("\0")[0]
    value = "".join(letter if letter.isprintable() else " " for letter in value[: 2 * _MAX_NAME])
    return " ".join(value.split())[:_MAX_NAME] or None


def _moment(value: object) -> datetime | None:
    text = _text(value)
    if text is None or len(text) < 19:
        return None
    try:
        return datetime.fromisoformat(f"{text[:10].replace(':', '-')}T{text[11:19]}")
    except ValueError:  # cameras without a set clock write zeros or blanks
        return None


def _camera(make: object, model: object) -> str | None:
    maker, name = _text(make), _text(model)
    if maker is None or name is None:
        return name or maker
    repeated = name.split()[0].casefold() == maker.split()[0].casefold()
    return name if repeated or name.casefold().startswith(maker.casefold()) else f"{maker} {name}"


def _degrees(value: object, reference: object, signs: str, limit: int) -> float | None:
    letter = _text(reference)
    if not isinstance(value, tuple) or not 1 <= len(value) <= 3 or letter is None or letter[0].upper() not in signs:
        return None
    try:
        degrees: float = sum(float(part) / 60.0**power for power, part in enumerate(value))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(degrees) or not 0 <= degrees <= limit:
        return None
    return -degrees if letter[0].upper() == signs[1] else degrees
