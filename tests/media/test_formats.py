from __future__ import annotations

import io

import pytest

from mmsearch.media.formats import decoding_bytes, ends_in_zeros, lacks_end, open_image, sniff
from tests.media.pictures import DATA, encoded, noise, png_of_zeros, scene

WRITABLE = {"JPEG": "JPEG", "PNG": "PNG", "GIF": "GIF", "WebP": "WEBP", "BMP": "BMP", "TIFF": "TIFF", "AVIF": "AVIF"}


@pytest.mark.parametrize("kind", WRITABLE)
def test_every_format_is_told_by_its_first_bytes(kind: str) -> None:
    assert sniff(encoded(scene(), WRITABLE[kind])[:64]) == kind


def test_heic_is_told_by_its_brand() -> None:
    assert sniff((DATA / "upright.heic").read_bytes()[:64]) == "HEIF"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM",
        b"BMW are cars, and this is a text about them.",
        b"<html>",
        b"\x00" * 64,
        b"\0\0\0\x18ftypisom\0\0\2\0isom",
    ],
)
def test_what_is_no_picture_is_not_taken_for_one(head: bytes) -> None:
    assert sniff(head) is None


def _cost(data: bytes, kind: str) -> int:
    stream = io.BytesIO(data)
    image = open_image(stream, kind)
    end, size = stream.tell(), image.size
    if kind == "JPEG":
        image.draft(None, (64, 64))
    return decoding_bytes(image, kind, size, end)


def test_a_jpeg_costs_what_is_left_of_it_after_scaling() -> None:
    assert _cost(encoded(noise(1024, 1024)), "JPEG") == 128 * 128 * 4


def test_a_progressive_jpeg_costs_its_coefficients_as_well() -> None:
    assert _cost(encoded(noise(1024, 1024), progressive=True), "JPEG") == 128 * 128 * 4 + 1024 * 1024 * 3
    assert _cost(encoded(noise(1024, 1024), progressive=True, subsampling=0), "JPEG") > 1024 * 1024 * 6


def test_a_sequential_jpeg_of_several_scans_costs_its_coefficients_as_well() -> None:
    data = encoded(noise(1024, 1024))
    one_layer = data.replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x08\x01", 1)
    assert _cost(one_layer, "JPEG") > 1024 * 1024


def test_a_tiff_costs_its_largest_strip_as_well() -> None:
    in_one_strip = encoded(noise(400, 300), "TIFF", compression="tiff_lzw", tiffinfo={278: 300})
    in_many_strips = encoded(noise(400, 300), "TIFF", compression="tiff_lzw", tiffinfo={278: 10})
    assert _cost(in_one_strip, "TIFF") == 400 * 300 * (4 + 3)
    assert _cost(in_many_strips, "TIFF") == 400 * 300 * 4 + 400 * 10 * 3


def test_a_one_bit_picture_costs_a_byte_for_each_pixel() -> None:
    assert _cost(png_of_zeros(1000, 500), "PNG") == 1000 * 500


def test_zeros_at_the_end_are_seen() -> None:
    assert ends_in_zeros(io.BytesIO(b"content" + bytes(64)))
    assert not ends_in_zeros(io.BytesIO(b"content" + bytes(63)))
    assert not ends_in_zeros(io.BytesIO(bytes(500) + b"content"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_the_end_of_a_file_is_found_behind_its_header_alone(kind: str) -> None:
    data = encoded(scene(), WRITABLE[kind])
    assert not lacks_end(io.BytesIO(data), kind)
    assert not lacks_end(io.BytesIO(data + b"trailer"), kind)
    assert lacks_end(io.BytesIO(data[:-9]), kind)
    if kind == "JPEG":
        assert lacks_end(io.BytesIO(b"\xff\xd8 preview \xff\xd9" + data[:-2]), kind, 20)


def test_an_end_mark_across_two_blocks_is_found() -> None:
    for before in range(3):
        data = bytes((1 << 20) - before) + b"IEND" + bytes(10)
        assert not lacks_end(io.BytesIO(data), "PNG")
    assert lacks_end(io.BytesIO(bytes((1 << 20) - 1) + b"IEN" + bytes(10)), "PNG")
