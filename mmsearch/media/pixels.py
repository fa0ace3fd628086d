"""A loaded Pillow image of any mode and size -> a small upright RGB image, in memory that hardly grows."""

from __future__ import annotations

from PIL import Image

__all__ = ["MAX_ASPECT", "shrink_to_rgb", "turn_upright"]

MAX_ASPECT = 24
"""How many times longer than the shorter side the longer one may be; the middle is kept.

An encoder scales the shorter side up to its own size: a picture one pixel high would become an enormous one.
"""

_BAND_PIXELS = 1 << 22
_DEEP_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation (1 to 8)."""
    transpose = _TRANSPOSES.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def shrink_to_rgb(image: Image.Image, target_side: int) -> Image.Image:
    """Convert to RGB, alpha over white, and shrink by a whole factor while the shorter side stays twice the target.

    A large picture is worked on in bands, so that the conversion never needs a second copy of all its pixels.
    """
    box = _middle(image.size)
    width, height = box[2] - box[0], box[3] - box[1]
    factor = max(1, min(width, height) // (2 * target_side))
    deep = image.mode in _DEEP_MODES
    if image.mode == "RGB" and "transparency" not in image.info:
        if factor > 1:
            return image.reduce(factor, box=box)
        return image if (width, height) == image.size else image.crop(box)
    shrunk = Image.new("F" if deep else "RGB", (-(-width // factor), -(-height // factor)))
    step = max(1, _BAND_PIXELS // (width * factor)) * factor
    for top in range(0, height, step):
        band = image.crop((box[0], box[1] + top, box[2], box[1] + min(top + step, height)))
        band = band.convert("F") if deep else _flatten(band)
        shrunk.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return _expose(shrunk, image.mode, image.format) if deep else shrunk


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    width, height = size
    keep_width, keep_height = min(width, height * MAX_ASPECT), min(height, width * MAX_ASPECT)
    left, top = (width - keep_width) // 2, (height - keep_height) // 2
    return left, top, left + keep_width, top + keep_height


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        if image.mode in ("La", "RGBa"):
            image = image.convert(image.mode.upper())  # multiplied with alpha: no other mode is reached from there
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        return page
    return image.convert("RGB")


def _expose(image: Image.Image, mode: str, kind: str | None) -> Image.Image:
    """Map deep grey values to 0..255: by their nominal range where there is one, else from darkest to brightest."""
    import numpy as np

    values = np.asarray(image, dtype=np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if mode.startswith("I;16"):
        # Scanners and microscopes write 12 bits into 16; in a PNG white is always 65535.
        low, high = 0.0, 4095.0 if kind == "TIFF" and high <= 4095 else 65535.0
    elif mode == "F" and low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8)).convert("RGB")
