"""A picture's file or bytes -> a small upright RGB image and what people filter by; the adapter of Pillow.

Decoding takes bounded memory and time whatever the file claims: a JPEG is scaled while it is decoded, what would need
more than `MAX_DECODING_BYTES` is refused by its header, and large pictures are decoded one at a time.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media.exif import read_exif
from mmsearch.media.files import content_hash, open_regular, reason_of
from mmsearch.media.formats import decoding_bytes, ends_in_zeros, lacks_end, open_image, sniff
from mmsearch.media.pixels import shrink_to_rgb, turn_upright
from mmsearch.types import MediaInfo

__all__ = ["MAX_DECODING_BYTES", "MAX_PIXELS", "DecodedImage", "content_hash", "quiet_decoders", "read_image"]

MAX_PIXELS = 500_000_000
MAX_DECODING_BYTES = 1 << 30

_LARGE_BYTES = 64 << 20
# JPEG scales by 2, 4 or 8 alone. Just missing one of them would double the cost of a picture and of its resizing, for a
# difference that is no greater than that between two good resampling filters.
_DRAFT_SLACK = 0.9
# A JPEG is handed to its decoder in blocks, and each takes Python's lock once.
_BLOCK_BYTES = 1 << 20
_QUIET_MODULES = r"(PIL|pi_heif)\."
_large = threading.Lock()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture as an encoder wants it.

    Attributes:
        image: RGB, upright, shrunk as far as the target side allows; the middle of an extremely long picture.
        info: What people filter by; width and height are those of the full picture as shown.
    """

    image: Image.Image
    info: MediaInfo


def read_image(
    source: Path | bytes, *, target_side: int, path: Path | None = None, max_pixels: int = MAX_PIXELS
) -> DecodedImage:
    """Decode a picture; of an animation or a document, its first frame or page. Safe to call from many threads.

    Args:
        source: A file, or its content.
        target_side: Length of the shorter side below which the picture is not shrunk, a JPEG by up to a tenth.
        path: The file that the content came from, for messages.
        max_pixels: Pictures with more pixels are refused by their header.

    Raises:
        MediaError: The file is no picture, truncated, damaged, too large or not readable.
    """
    where = source if isinstance(source, Path) else path
    try:
        if isinstance(source, Path):
            with open_regular(source) as file:
                return _read(file, target_side, max_pixels)
        return _read(io.BytesIO(source), target_side, max_pixels)
    except MediaError as error:
        raise MediaError(where, error.reason) from error.__cause__
    except MemoryError as error:
        raise MediaError(where, "not enough memory to decode it") from error
    except OSError as error:
        raise MediaError(where, reason_of(error)) from error


def _read(stream: IO[bytes], target_side: int, max_pixels: int) -> DecodedImage:
    head = stream.read(64)
    stream.seek(0)
    if not head:
        raise MediaError(None, "empty file")
    kind = sniff(head)
    if kind is None:
        raise MediaError(None, "not an image")
    with quiet_decoders():
        try:
            return _decode(stream, kind, target_side, max_pixels)
        except (MediaError, MemoryError):
            raise
        except Image.DecompressionBombError as error:
            raise MediaError(None, "too large to decode") from error
        except Exception as error:  # a damaged file may raise anything in the decoders
            raise MediaError(None, _reason(stream, kind, error)) from error


def _decode(stream: IO[bytes], kind: str, target_side: int, max_pixels: int) -> DecodedImage:
    image = open_image(stream, kind)
    header_end = stream.tell() if kind == "JPEG" else 0
    size = image.size
    if size[0] * size[1] > max_pixels:
        raise MediaError(None, f"too many pixels ({size[0]} x {size[1]})")
    if kind == "JPEG":
        # Zeros are valid pixels to the decoder: only the missing end gives such a file away.
        if ends_in_zeros(stream) and lacks_end(stream, kind, header_end):
            raise MediaError(None, "truncated JPEG")
        image.decodermaxblock = _BLOCK_BYTES
        wanted = max(1, round(target_side * _DRAFT_SLACK))
        image.draft(None, (min(wanted, size[0]), min(wanted, size[1])))
    needed = decoding_bytes(image, kind, size, header_end)
    if needed > MAX_DECODING_BYTES:
        raise MediaError(None, f"too large to decode ({size[0]} x {size[1]} pixels)")
    with _large if needed > _LARGE_BYTES else contextlib.nullcontext():
        image.load()
        if kind != "JPEG":
            size = image.size  # TIFF and HEIF apply their orientation themselves
        orientation, info = read_exif(image)
        shrunk = shrink_to_rgb(image, target_side)
    width, height = size if orientation < 5 else size[::-1]
    return DecodedImage(turn_upright(shrunk, orientation), replace(info, width=width, height=height))


def _reason(stream: IO[bytes], kind: str, error: Exception) -> str:
    message = str(error).lower()
    words = ("truncated", "not enough", "unexpected end", "beyond end")
    named = isinstance(error, EOFError) or any(word in message for word in words)
    truncated = named or lacks_end(stream, kind)
    return f"{'truncated' if truncated else 'damaged'} {kind}"


_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence the warnings of Pillow while at least one thread is in here.

    `warnings.catch_warnings` saves and restores the filters of the whole process, so that threads which overlap
    would leave it in a wrong state; this adds one filter and takes that one out again.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            warnings.filterwarnings("ignore", module=_QUIET_MODULES)
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                filters = cast(list[tuple[object, ...]], warnings.filters)
                filters[:] = [entry for entry in filters if not _is_ours(entry)]


def _is_ours(entry: tuple[object, ...]) -> bool:
    return getattr(entry[3], "pattern", None) == _QUIET_MODULES
