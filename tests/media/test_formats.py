from __future__ import annotations

import io

import pytest

from mmsearch.media.formats import decoding_bytes, is_cut_short, open_image, sniff
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


def test_a_jpeg_that_zeros_fill_up_is_cut_short() -> None:
    data = encoded(noise(200, 200))
    assert not is_cut_short(io.BytesIO(data), "JPEG", 700)
    assert not is_cut_short(io.BytesIO(data + bytes(500)), "JPEG", 700)
    assert is_cut_short(io.BytesIO(data[: len(data) // 2] + bytes(len(data) // 2)), "JPEG", 700)


def test_a_webp_shorter_than_it_says_is_cut_short() -> None:
    data = encoded(scene(), "WEBP")
    assert not is_cut_short(io.BytesIO(data), "WebP", 0)
    assert is_cut_short(io.BytesIO(data[:-1]), "WebP", 0)
