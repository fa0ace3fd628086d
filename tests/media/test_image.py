from __future__ import annotations

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media import image as module
from mmsearch.media.image import MAX_DECODING_BYTES, quiet_decoders, read_image
from tests.media.pictures import CORNER, DATA, difference, encoded, exif, noise, pixels_of, png_of_zeros, scene, stored

KINDS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"]
FILES = {kind: encoded(scene(), kind) for kind in KINDS} | {
    "HEIF": (DATA / "upright.heic").read_bytes(),
    "compressed TIFF": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "TIFF with a JPEG": encoded(scene(), "TIFF", compression="jpeg"),
    "progressive JPEG": encoded(scene(), progressive=True),
}


def _reason(data: bytes) -> str:
    with pytest.raises(MediaError) as raised:
        read_image(data, target_side=32)
    return raised.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_shows_its_picture(kind: str) -> None:
    decoded = read_image(FILES[kind], target_side=64)
    assert decoded.image.mode == "RGB"
    assert difference(decoded.image, scene()) < 6
    assert (decoded.info.width, decoded.info.height) == (96, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_taken_with_a_turned_camera_is_upright(kind: str, orientation: int) -> None:
    data = encoded(stored(scene(), orientation), kind, exif=exif(orientation=orientation))
    decoded = read_image(data, target_side=64)
    assert difference(decoded.image, scene()) < 6
    assert (decoded.info.width, decoded.info.height) == (96, 64)


@pytest.mark.parametrize("name", ["upright.heic", "rotated.heic"])
def test_a_phone_picture_in_heic_is_turned_upright_once(name: str) -> None:
    decoded = read_image(DATA / name, target_side=96)
    shown = pixels_of(decoded.image)
    assert decoded.image.size == (128, 96)
    assert (decoded.info.width, decoded.info.height) == (128, 96)
    assert shown[CORNER // 2 + 4, CORNER // 2 + 4].min() > 245
    assert decoded.info.camera == "Maker Model 1"


def test_a_jpeg_is_scaled_down_while_it_is_decoded() -> None:
    decoded = read_image(encoded(scene(1600, 1200)), target_side=100)
    assert decoded.image.size == (200, 150)
    assert (decoded.info.width, decoded.info.height) == (1600, 1200)
    assert difference(decoded.image, scene(1600, 1200).reduce(8)) < 3


def test_a_jpeg_that_just_misses_a_scale_is_scaled_nevertheless() -> None:
    data = encoded(scene(640, 480))
    assert read_image(data, target_side=256).image.size == (320, 240)
    assert read_image(data, target_side=300).image.size == (640, 480)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 300), st.sampled_from(["JPEG", "PNG"]))
def test_no_picture_gets_much_smaller_than_was_asked(width: int, height: int, side: int, kind: str) -> None:
    decoded = read_image(encoded(Image.new("RGB", (width, height)), kind), target_side=side)
    assert min(decoded.image.size) >= min(width, height, 0.9 * side - 1 if kind == "JPEG" else side)
    assert (decoded.info.width, decoded.info.height) == (width, height)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"])
def test_the_first_frame_stands_for_a_picture_of_many(kind: str) -> None:
    data = encoded(scene(), kind, save_all=True, append_images=[Image.new("RGB", (96, 64), "red")] * 2)
    assert difference(read_image(data, target_side=64).image, scene()) < 6


def test_cmyk_of_a_print_shop_has_the_right_colours() -> None:
    for kind in ("JPEG", "TIFF"):
        assert difference(read_image(encoded(scene().convert("CMYK"), kind), target_side=64).image, scene()) < 3


def test_the_colours_of_lab_are_converted() -> None:
    from PIL import ImageCms

    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(scene(), srgb, lab, outputMode="LAB")
    assert converted is not None
    assert difference(read_image(encoded(converted, "TIFF"), target_side=64).image, scene()) < 2


def test_sixteen_bits_of_grey_keep_their_brightness() -> None:
    grey = scene().convert("L")
    values = np.asarray(grey).astype(np.uint16)
    for data in (
        encoded(Image.fromarray(values * 257), "PNG"),
        encoded(Image.fromarray(values * 257), "TIFF"),
        encoded(Image.fromarray(values * 16), "TIFF"),
    ):
        assert difference(read_image(data, target_side=64).image, grey.convert("RGB")) < 2


def test_a_group_four_fax_is_black_on_white() -> None:
    page = Image.new("1", (64, 64), 1)
    page.paste(0, (0, 0, 32, 64))
    shown = pixels_of(read_image(encoded(page, "TIFF", compression="group4"), target_side=64).image)
    assert (shown[30, 10, 0], shown[30, 50, 0]) == (0, 255)


@pytest.mark.parametrize("kind", [*KINDS, "HEIF"])
def test_half_a_file_is_refused(kind: str) -> None:
    data = FILES[kind] if kind == "HEIF" else encoded(noise(96, 64), kind)
    assert _reason(data[: len(data) // 2]).split()[0] in ("truncated", "damaged")


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 20}])
def test_a_truncated_jpeg_is_never_indexed_by_half(kept: float, options: dict[str, int]) -> None:
    data = encoded(noise(320, 240), **options)
    assert _reason(data[: int(len(data) * kept)]) == "truncated JPEG"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": exif(make="Maker", model="Model")}])
def test_a_jpeg_cut_anywhere_in_its_header_is_truncated(options: dict[str, object]) -> None:
    data = encoded(scene(), **options)
    for length in range(4, 800):
        assert _reason(data[:length]) == "truncated JPEG"


def test_a_jpeg_whose_end_is_filled_with_zeros_is_truncated() -> None:
    data = encoded(noise(320, 240))
    assert _reason(data[: len(data) // 2] + bytes(len(data) // 2)) == "truncated JPEG"


def test_a_jpeg_with_something_behind_its_end_is_whole() -> None:
    for rest in (bytes(1000), b"trailer", os.urandom(5000)):
        read_image(encoded(noise(320, 240)) + rest, target_side=64)


@pytest.mark.parametrize("data", [b"hello world " * 20, b"BMW cars" * 20, b"<html></html>", b"\xff\xd8", b"GIF89"])
def test_text_with_the_name_of_a_picture_is_not_an_image(data: bytes) -> None:
    assert _reason(data) == "not an image"


def test_nothing_is_an_empty_file() -> None:
    assert _reason(b"") == "empty file"


def test_a_picture_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "really-a-png.jpg"
    file.write_bytes(FILES["PNG"])
    assert read_image(file, target_side=64).image.size == (96, 64)


def test_an_error_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"text")
    for source, path in ((file, None), (b"text", file)):
        with pytest.raises(MediaError) as raised:
            read_image(source, target_side=32, path=path)
        assert (raised.value.path, raised.value.reason) == (file, "not an image")
    with pytest.raises(MediaError) as raised:
        read_image(tmp_path / "b.jpg", target_side=32)
    assert raised.value.reason == "no such file"


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    assert _reason(png_of_zeros(30_000, 30_000)) == "too many pixels (30000 x 30000)"


def test_what_would_need_too_much_memory_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DECODING_BYTES", 500_000)
    for data in (encoded(noise(700, 700), "PNG"), encoded(noise(300, 300), "WEBP")):
        assert _reason(data).startswith("too large to decode")
    read_image(encoded(noise(2000, 2000)), target_side=64)  # scaled while it is decoded
    assert _reason(encoded(noise(2000, 2000), progressive=True)).startswith("too large to decode")


def test_a_panorama_of_two_hundred_megapixels_fits_into_the_limits() -> None:
    assert module.MAX_PIXELS >= 20_000 * 10_000
    assert MAX_DECODING_BYTES >= 20_000 * 10_000 * 4


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_a_huge_jpeg_is_decoded_in_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "panorama.jpg"
    Image.new("L", (12_000, 6_000), 90).save(file)
    script = """
import resource, sys
from pathlib import Path
from mmsearch.media.image import read_image
import PIL.JpegImagePlugin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_image(Path(sys.argv[1]), target_side=224)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    printed = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True).stdout
    assert int(printed) < 40  # of 72 MB of pixels


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_a_damaged_file_is_a_media_error_and_nothing_else(kind: str, data: st.DataObject) -> None:
    content = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = read_image(bytes(content), target_side=32, max_pixels=1_000_000)
    except MediaError as error:
        assert error.reason
    else:
        assert decoded.image.mode == "RGB"


def test_nothing_is_printed_about_a_damaged_file(capfd: pytest.CaptureFixture[str]) -> None:
    for kind, content in FILES.items():
        for at in range(8, len(content), max(1, len(content) // 40)):
            broken = content[:at] + b"\xa5\x5a\xff" + content[at + 3 :]
            try:
                read_image(broken, target_side=32, max_pixels=1_000_000)
            except MediaError:
                assert kind
    assert capfd.readouterr() == ("", "")


def test_many_threads_decode_all_formats_at_once_without_a_warning() -> None:
    garbage = encoded(scene(), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05broken")
    work = [*FILES.values(), garbage] * 20
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        sizes = list(pool.map(lambda data: read_image(data, target_side=32).image.size, work))
    assert caught == []
    assert sizes[: len(FILES) + 1] * 20 == sizes


def test_the_warning_filters_of_the_process_are_as_before() -> None:
    before = list(warnings.filters)
    with quiet_decoders():
        with quiet_decoders():
            pass
        assert len(warnings.filters) == len(before) + 1
    assert list(warnings.filters) == before


def test_a_filter_that_someone_else_adds_meanwhile_stays() -> None:
    with warnings.catch_warnings():
        with quiet_decoders():
            warnings.filterwarnings("ignore", message="of someone else")
        assert any("of someone else" in str(entry[1]) for entry in warnings.filters)
