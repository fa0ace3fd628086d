"""A decoded video frame of any pixel format -> a small upright RGB picture as a player shows it; libav's scaler."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media.hdr import to_srgb
from mmsearch.media.pixels import shrink_to_rgb, turn_upright

if TYPE_CHECKING:
    from av.video.frame import VideoFrame as DecodedFrame
    from numpy.typing import NDArray

__all__ = ["THUMB_SIDE", "FrameScaler", "orientation_of"]

THUMB_SIDE = 96

_PQ, _HLG = 16, 18  # AVColorTransferCharacteristic
_UNKNOWN_MATRIX, _BT2020 = 2, (9, 10)  # AVColorSpace
_HD_HEIGHT = 720
_MAX_PIXEL_ASPECT = 8

# The linear part of a display matrix, as signs of (a, b, c, d) -> EXIF orientation.
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


class FrameScaler:
    """Turns the frames of one video into pictures.

    Args:
        pixel_aspect: Width of a pixel in heights of one, None where the file does not say.
    """

    def __init__(self, pixel_aspect: Fraction | None) -> None:
        from av.video.reformatter import VideoReformatter

        self._aspect = _believable(pixel_aspect)
        self._scaler = VideoReformatter()
        self._turned: int | None = None

    def thumb(self, frame: DecodedFrame) -> NDArray[np.uint8]:
        """The whole frame squeezed into (THUMB_SIDE, THUMB_SIDE, 3) uint8, as stored: for comparisons alone."""
        small = self._scale(frame, THUMB_SIDE, THUMB_SIDE, "rgb24", "AREA")
        return np.ascontiguousarray(small.to_ndarray())

    def image(self, frame: DecodedFrame, target_side: int) -> Image.Image:
        """The picture as shown: RGB, upright, square pixels, its shorter side shrunk to `target_side` if it was longer.

        Raises:
            MediaError: Its pixels cannot be converted.
        """
        width, height = self._shown(frame)
        factor = max(1.0, min(width, height) / target_side)
        size = max(1, round(width / factor)), max(1, round(height / factor))
        if frame.interlaced_frame and frame.height > 2 * size[1] // 3:
            image = self._one_field(frame, size)
        elif frame.color_trc in (_PQ, _HLG) and frame.format.components[0].bits > 8:
            image = self._tone_mapped(frame, size)
        elif any(component.is_alpha for component in frame.format.components) or frame.format.has_palette:
            pixels = self._scale(frame, *size, "rgba", "BICUBIC").to_ndarray()
            image = _picture(pixels, "RGBA")
        else:
            image = _picture(self._scale(frame, *size, "rgb24", "BICUBIC").to_ndarray(), "RGB")
        return turn_upright(shrink_to_rgb(image, target_side), self._orientation(frame))

    def size(self, frame: DecodedFrame) -> tuple[int, int]:
        """Width and height in pixels of the full picture as shown."""
        width, height = (round(side) for side in self._shown(frame))
        return (width, height) if self._orientation(frame) < 5 else (height, width)

    def _orientation(self, frame: DecodedFrame) -> int:
        # That of the first frame holds for all. A frame that was asked for it is in a cycle of references with its own
        # answer, and megabytes of pixels wait until the garbage collector comes by.
        if self._turned is None:
            self._turned = orientation_of(frame)
        return self._turned

    def _shown(self, frame: DecodedFrame) -> tuple[float, float]:
        if self._aspect >= 1:
            return frame.width * float(self._aspect), float(frame.height)
        return float(frame.width), frame.height / float(self._aspect)

    def _one_field(self, frame: DecodedFrame, size: tuple[int, int]) -> Image.Image:
        """Every second line alone: both together show whatever moves twice, with a comb between."""
        pixels = self._scale(frame, frame.width, frame.height, "rgb24", "BILINEAR").to_ndarray()
        return _picture(pixels[::2], "RGB").resize(size, Image.Resampling.BICUBIC)

    def _tone_mapped(self, frame: DecodedFrame, size: tuple[int, int]) -> Image.Image:
        deep = self._scale(frame, *size, "rgb48le", "BICUBIC").to_ndarray()
        values = (deep / np.float32(65535)).astype(np.float32)
        return _picture(to_srgb(values, "pq" if frame.color_trc == _PQ else "hlg"), "RGB")

    def _scale(self, frame: DecodedFrame, width: int, height: int, pixels: str, filter_name: str) -> DecodedFrame:
        import av

        matrix: Any = None
        if frame.colorspace in _BT2020:
            matrix = "BT2020"
        elif frame.colorspace == _UNKNOWN_MATRIX and not frame.format.is_rgb:
            # What players take an untagged video for.
            matrix = "ITU709" if frame.height >= _HD_HEIGHT else "ITU601"
        try:
            return self._scaler.reformat(
                frame, width, height, pixels, src_colorspace=matrix, interpolation=filter_name, threads=1
            )
        except (av.error.FFmpegError, ValueError) as error:
            raise MediaError(None, f"pixels of an unknown kind ({frame.format.name})") from error


def orientation_of(frame: DecodedFrame) -> int:
    """How a frame's display matrix turns and mirrors it, as an EXIF orientation (1 to 8); nearest quarter turn."""
    try:
        matrix = np.frombuffer(bytes(cast(Any, frame.side_data)["DISPLAYMATRIX"]), dtype="<i4")
    except (KeyError, ValueError):
        return 1
    if matrix.size < 9:
        return 1
    a, b, c, d = (float(matrix[at]) for at in (0, 1, 3, 4))
    # A turn by an odd angle is rounded: its larger pair of numbers counts.
    straight = abs(a) + abs(d) >= abs(b) + abs(c)
    signs = (np.sign(a), 0, 0, np.sign(d)) if straight else (0, np.sign(b), np.sign(c), 0)
    return _ORIENTATIONS.get(tuple(int(sign) for sign in signs), 1)  # type: ignore[arg-type]


def _believable(aspect: Fraction | None) -> Fraction:
    if aspect is None or aspect <= 0 or not Fraction(1, _MAX_PIXEL_ASPECT) <= aspect <= _MAX_PIXEL_ASPECT:
        return Fraction(1)
    return aspect


def _picture(pixels: NDArray[Any], mode: str) -> Image.Image:
    pixels = np.ascontiguousarray(pixels)
    return Image.frombytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
