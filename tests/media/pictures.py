"""Pictures for tests: made from code, told apart by their colours, in every format that Pillow can write."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path(__file__).parent / "data"
CORNER = 16
"""Side of the white square at the top left of a scene: it tells which way is up."""


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture without symmetry, with a white square in the corner."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns * 200 // width, rows * 200 // height, 150 - columns * 100 // width], axis=-1)
    pixels[:CORNER, :CORNER] = 255
    return Image.fromarray(pixels.astype(np.uint8))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture that does not compress."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The picture as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(**tags: Any) -> Image.Exif:
    """EXIF with some tags; `details` and `place` are the directories of the camera and of GPS."""
    made = Image.Exif()
    for directory, key in ((0x8769, "details"), (0x8825, "place")):
        for tag, value in tags.pop(key, {}).items():
            made.get_ifd(directory)[tag] = value
    for name, value in tags.items():
        made[{"make": 0x010F, "model": 0x0110, "orientation": 0x0112}[name]] = value
    return made


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """The pixels that a camera writes together with this orientation, so that viewers show them upright."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    return upright if undo is None else upright.transpose(Image.Transpose(undo))


def png_of_zeros(width: int, height: int) -> bytes:
    """A black 1-bit PNG of any size in few bytes: a decompression bomb."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of two pictures of one size, 0 to 255."""
    assert one.size == other.size
    return float(np.abs(pixels_of(one) - pixels_of(other)).mean())


def pixels_of(image: Image.Image) -> NDArray[np.float64]:
    """(h, w, c) as numbers that can be subtracted."""
    return np.asarray(image, dtype=np.float64)
