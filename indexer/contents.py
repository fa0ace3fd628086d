"""Pictures and sounds in memory, in any shape they come in -> segments for the towers, through the door of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError, QueryError
from mmsearch.media.files import open_regular, stream_hash
from mmsearch.types import MediaInfo, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.prepared import PreparedSegment
    from indexer.reader import SegmentReader

__all__ = ["BadItemError", "audio_bytes", "image_bytes", "picture_of", "read_picture", "read_sound", "windows_of"]

_CHANNELS = (3, 4)


class BadItemError(Exception):
    """One item that cannot be added; its text says why in a few words."""


def picture_of(image: Any, reader: SegmentReader) -> PreparedSegment:
    """A picture of a query.

    Raises:
        QueryError: It cannot be read.
    """
    try:
        return read_picture(image, reader)[1][0]
    except (BadItemError, MediaError) as error:
        raise QueryError(f"A picture cannot be read: {getattr(error, 'reason', error)}.") from error


def windows_of(audio: Any, reader: SegmentReader) -> list[PreparedSegment]:
    """The windows of a sound of a query, at least one.

    Raises:
        QueryError: It cannot be read.
    """
    try:
        return read_sound(audio, reader)[1]
    except (BadItemError, MediaError) as error:
        raise QueryError(f"A sound cannot be read: {getattr(error, 'reason', error)}.") from error


def image_bytes(image: Any) -> Iterator[bytes]:
    """What identifies a picture."""
    from PIL import Image

    if isinstance(image, bytes):
        yield image
    elif isinstance(image, (str, os.PathLike)):
        with open_regular(Path(image)) as stream:
            yield stream_hash(stream)
    else:
        picture = image if isinstance(image, Image.Image) else _array_picture(image)
        yield f"{picture.mode} {picture.size}".encode()
        yield picture.tobytes()


def _array_picture(array: Any) -> Any:
    from PIL import Image

    pixels = np.asarray(array)
    shown = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in _CHANNELS)
    if pixels.dtype != np.uint8 or not shown or not pixels.size:
        raise BadItemError(
            f"an array is no image with the shape {pixels.shape} and the type {pixels.dtype}:"
            " (height, width) or (height, width, 3 or 4) of uint8"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def read_picture(image: Any, reader: SegmentReader) -> tuple[MediaInfo, list[PreparedSegment]]:
    """What people filter by, and the picture with what is written in its file.

    Raises:
        BadItemError, MediaError: It cannot be read.
    """
    from PIL import Image, ImageOps

    if isinstance(image, bytes):
        reading = reader.read(Path("image"), Modality.IMAGE, image)
        return reading.info, list(reading.segments)
    if isinstance(image, (str, os.PathLike)):
        reading = reader.read(Path(image), Modality.IMAGE)
        return reading.info, list(reading.segments)
    try:
        picture = ImageOps.exif_transpose(image) if isinstance(image, Image.Image) else _array_picture(image)
        return MediaInfo(*picture.size), [reader.picture(picture)]
    except (OSError, ValueError) as error:  # a file that Pillow opened and has not read yet
        raise BadItemError(f"the image cannot be decoded ({error})") from error


def audio_bytes(audio: Any) -> Iterator[bytes]:
    """What identifies a sound."""
    if isinstance(audio, (str, os.PathLike)):
        with open_regular(Path(audio)) as stream:
            yield stream_hash(stream)
    else:
        samples, rate = _samples(audio)
        yield f"{rate} {samples.shape}".encode()
        yield samples.tobytes()


def _samples(audio: Any) -> tuple[NDArray[np.float32], int]:
    """Samples (n, channels) float32 with full scale at -1 and 1, and their rate."""
    try:
        given, rate = audio
        samples, rate = np.asarray(given), int(rate)
    except (TypeError, ValueError):
        raise BadItemError("a sound is its samples and their rate, or the path of a file") from None
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2 or not samples.size or samples.shape[1] > 64:
        raise BadItemError(f"samples are (n,) or (n, channels), not {samples.shape}")
    if not 1000 <= rate <= 768_000:
        raise BadItemError(f"a sample rate of {rate} Hz")
    if samples.dtype.kind in "iu":
        half = np.float64(np.iinfo(samples.dtype).max / 2 if samples.dtype.kind == "u" else 0)
        full = np.float64(np.iinfo(samples.dtype).max) - half
        return ((samples - half) / full).astype(np.float32), rate
    if samples.dtype.kind != "f" or not np.isfinite(samples).all():
        raise BadItemError("samples are not finite real numbers")
    return samples.astype(np.float32), rate


def read_sound(audio: Any, reader: SegmentReader) -> tuple[MediaInfo, list[PreparedSegment]]:
    """Its length, and its windows.

    Raises:
        BadItemError, MediaError: It cannot be read, or is silent.
    """
    if isinstance(audio, (str, os.PathLike)):
        reading = reader.read(Path(audio), Modality.AUDIO)
        return reading.info, list(reading.segments)
    samples, rate = _samples(audio)
    with NamedTemporaryFile(prefix="mmsearch-", suffix=".wav") as file:
        file.write(_wav(samples.mean(axis=1), rate))
        file.flush()
        reading = reader.read(Path(file.name), Modality.AUDIO)
        return reading.info, list(reading.segments)


def _wav(samples: NDArray[np.float32], rate: int) -> bytes:
    """A mono WAV file of 32-bit floats: what decodes it is what decodes files."""
    data = samples.astype("<f4").tobytes()
    head = b"WAVEfmt " + np.array([16], "<u4").tobytes() + np.array([3, 1], "<u2").tobytes()
    head += np.array([rate, 4 * rate], "<u4").tobytes() + np.array([4, 32], "<u2").tobytes()
    head += b"data" + np.array([len(data)], "<u4").tobytes()
    return b"RIFF" + np.array([len(head) + len(data)], "<u4").tobytes() + head + data
