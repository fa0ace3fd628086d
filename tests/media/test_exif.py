from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmsearch.media.exif import read_exif
from mmsearch.media.image import read_image
from mmsearch.types import MediaInfo
from tests.media.pictures import encoded, exif, scene

TAKEN = {0x9003: "2021:03:04 05:06:07"}
PARIS = {1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.2)}


def _read(**tags: Any) -> MediaInfo:
    return read_image(encoded(scene(), exif=exif(**tags)), target_side=32).info


def test_a_camera_picture_tells_when_where_and_with_what_it_was_taken() -> None:
    info = _read(make="NIKON CORPORATION", model="NIKON D90", details=TAKEN, place=PARIS)
    assert info.taken_at == datetime(2021, 3, 4, 5, 6, 7)
    assert info.camera == "NIKON D90"
    assert info.latitude == pytest.approx(48.8584, abs=1e-4)
    assert info.longitude == pytest.approx(2.2945, abs=1e-4)


def test_a_picture_without_exif_tells_its_size_alone() -> None:
    assert _read() == MediaInfo(width=96, height=64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_details_are_read_from_every_format_that_has_them(kind: str) -> None:
    if kind == "TIFF":
        tags = {0x010F: "Canon", 0x0110: "Canon EOS R5", 0x8769: TAKEN, 0x8825: PARIS}
        data = encoded(scene(), kind, tiffinfo=tags)
    else:
        data = encoded(scene(), kind, exif=exif(make="Canon", model="Canon EOS R5", details=TAKEN, place=PARIS))
    info = read_image(data, target_side=32).info
    assert (info.camera, info.taken_at) == ("Canon EOS R5", datetime(2021, 3, 4, 5, 6, 7))
    assert info.latitude is not None


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Apple", "iPhone 15", "Apple iPhone 15"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("SONY", None, "SONY"),
        (None, "X100V", "X100V"),
        ("  Maker \0garbage", "Model\n\t 1 ", "Maker Model 1"),
        ("", "", None),
    ],
)
def test_a_camera_is_named_without_repeating_its_make(make: str | None, model: str | None, camera: str | None) -> None:
    tags = {name: value for name, value in (("make", make), ("model", model)) if value is not None}
    assert _read(**tags).camera == camera


@pytest.mark.parametrize(
    "moment", ["0000:00:00 00:00:00", "    :  :     :  :  ", "yesterday", "2021:13:40 99:00:00", ""]
)
def test_a_clock_that_was_never_set_gives_no_time(moment: str) -> None:
    assert _read(details={0x9003: moment}).taken_at is None


def test_the_time_of_digitisation_stands_in_for_a_missing_one() -> None:
    assert _read(details={0x9004: "2001:02:03 04:05:06"}).taken_at == datetime(2001, 2, 3, 4, 5, 6)


def test_the_southern_and_western_halves_are_negative() -> None:
    info = _read(place={1: "S", 2: (33.0, 30.0, 0.0), 3: "W", 4: (70.0, 15.0, 0.0)})
    assert (info.latitude, info.longitude) == (-33.5, -70.25)


@pytest.mark.parametrize(
    "place",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)},
        {1: "N", 2: (48.0, 0.0, 0.0)},
        {1: "X", 2: (48.0, 0.0, 0.0), 3: "E", 4: (2.0, 0.0, 0.0)},
        {2: (48.0, 0.0, 0.0), 4: (2.0, 0.0, 0.0)},
    ],
)
def test_half_a_place_is_no_place(place: dict[int, Any]) -> None:
    info = _read(place=place)
    assert (info.latitude, info.longitude) == (None, None)


@given(st.binary(max_size=300))
def test_garbage_in_exif_is_passed_over(garbage: bytes) -> None:
    image = read_image(encoded(scene(), exif=b"Exif\0\0" + garbage), target_side=32)
    assert (image.info.width, image.info.height) in ((96, 64), (64, 96))


@given(st.binary(max_size=120), st.integers(0, 400))
def test_exif_that_was_overwritten_in_part_is_passed_over(garbage: bytes, at: int) -> None:
    whole = exif(make="Maker", model="Model", orientation=1, details=TAKEN, place=PARIS).tobytes()
    broken = whole[: 6 + at] + garbage + whole[6 + at + len(garbage) :]
    read_image(encoded(scene(), exif=broken), target_side=32)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_picture_as_it_is(orientation: int) -> None:
    image = Image.new("RGB", (4, 4))
    image.getexif()[0x0112] = orientation
    assert read_exif(image)[0] == 1
