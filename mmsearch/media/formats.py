"""The first bytes of a file -> a lazily opened Pillow image, and what decoding it will cost in memory.

`PIL.Image.open` is passed by on purpose: it tries every plug-in there is (some start other programs), warns or refuses
by the pixel count before a JPEG could be scaled down, and all that through state which threads share.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
from pathlib import Path
from typing import IO

from PIL import ImageFile

from mmsearch.errors import MediaError

__all__ = ["decoding_bytes", "ends_in_zeros", "lacks_end", "open_image", "sniff"]

# Format -> module and class of its plug-in, imported on first use.
_PLUGINS = {
    "JPEG": ("PIL.JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "WebP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": ("pi_heif.as_plugin", "HeifImageFile"),
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}

# Bytes for each pixel while it is decoded: Pillow's own storage by mode, and what codecs hold beside it.
_MODE_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_CODEC_BYTES = {"WebP": 12, "AVIF": 10, "HEIF": 10}

_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


def sniff(head: bytes) -> str | None:
    """Name the format that a file's first 64 bytes announce, or None when it is no picture."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in (8, *range(16, min(len(head), int.from_bytes(head[:4])), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        return "HEIF" if brands & _HEIF_BRANDS else None
    # Two letters are weak evidence: the size of the header that follows must be one that exists.
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124):
        return "BMP"
    return None


def open_image(stream: IO[bytes], kind: str) -> ImageFile.ImageFile:
    """Read the header of an image whose format is known; pixels are decoded when it is loaded.

    Raises:
        MediaError: The package that reads this format is not installed.
        Exception: Whatever Pillow meets a damaged header with.
    """
    module, name = _PLUGINS[kind]
    if kind == "TIFF":
        _hush_libtiff()
    try:
        plugin = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MediaError(None, f"{kind} needs the package pi-heif") from error
    image: ImageFile.ImageFile = plugin(stream)
    return image


@functools.cache
def _hush_libtiff() -> None:
    """Keep libtiff from writing about damaged files to stderr: Pillow leaves its error handler in place."""
    from PIL import _imaging, features

    if not features.check("libtiff"):
        return
    packages = Path(_imaging.__file__).parent
    candidates: list[str | Path] = [
        *packages.parent.glob("pillow.libs/libtiff*"),
        *packages.glob(".dylibs/libtiff*"),
        "libtiff.so.6",
    ]
    for candidate in candidates:
        # Only a library that is loaded already is the one that Pillow uses.
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(os.fspath(candidate), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)


def decoding_bytes(image: ImageFile.ImageFile, kind: str, full_size: tuple[int, int], header_end: int) -> int:
    """Estimate how much memory decoding will take at most.

    Args:
        image: An opened image, for JPEG after `draft`.
        kind: Its format.
        full_size: Width and height before `draft`.
        header_end: Where the header ends in a JPEG.
    """
    needed = image.width * image.height * (_MODE_BYTES.get(image.mode, 4) + _CODEC_BYTES.get(kind, 0))
    if kind == "JPEG" and (image.info.get("progressive") or not _is_single_scan(image, header_end)):
        # All coefficients of the full picture are held until the last scan has been read.
        layers: list[tuple[int, int, int, int]] = image.layer  # type: ignore[attr-defined]
        sampling = [across * down for _, across, down, _ in layers]
        needed += 2 * full_size[0] * full_size[1] * sum(sampling) // max(1, *sampling)
    elif kind == "TIFF":
        needed += _strip_bytes(image)
    return needed


def _is_single_scan(image: ImageFile.ImageFile, header_end: int) -> bool:
    """Whether the first scan of a sequential JPEG holds all its layers."""
    stream = image.fp
    layers: int = image.layers  # type: ignore[attr-defined]
    length = 6 + 2 * layers
    if stream is None or header_end < length:
        return False
    stream.seek(header_end - length)
    head = stream.read(3)
    stream.seek(header_end)
    return head == length.to_bytes(2) + bytes([layers])


def _strip_bytes(image: ImageFile.ImageFile) -> int:
    """Uncompressed size of the largest strip or tile of a TIFF, which its decoder holds as a whole."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(258, (1,))
    depth = sum(bits) if isinstance(bits, tuple) else int(bits)
    if 322 in tags and 323 in tags:
        pixels = int(tags[322]) * int(tags[323])
    else:
        pixels = image.width * min(image.height, int(tags.get(278, image.height)))
    return pixels * max(depth, 8 * int(tags.get(277, 1))) // 8


def ends_in_zeros(stream: IO[bytes]) -> bool:
    """Whether zeros fill a file up, as after a broken copy; the position in the stream is lost."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - 64))
    return not any(stream.read(64))


def lacks_end(stream: IO[bytes], kind: str, start: int = 0) -> bool:
    """Whether the mark is missing that ends a file of this format; the position in the stream is lost.

    Args:
        stream: The file.
        kind: Its format.
        start: Where to begin looking for the mark; a preview in the header of a JPEG has one of its own.
    """
    if kind == "WebP":
        size = stream.seek(0, os.SEEK_END)
        stream.seek(4)
        return size < 8 + int.from_bytes(stream.read(4), "little")
    mark = _END_MARKS.get(kind)
    if mark is None:
        return False
    stream.seek(start)
    last = b""
    while chunk := stream.read(1 << 20):
        if mark in last + chunk:
            return False
        last = chunk[1 - len(mark) :]
    return True
