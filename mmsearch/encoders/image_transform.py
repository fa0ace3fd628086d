"""One RGB picture in, the uint8 array that an image tower reads out; the same geometry as open_clip's transforms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["ImageTransform"]

# Pillow shrinks by whole factors first where a picture is more than this many times too large: the result cannot be
# told apart and a large PNG costs a third.
_REDUCING_GAP = 3.0


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """How a model wants its pictures; made from the ``preprocess_cfg`` that open_clip attaches to the model.

    Attributes:
        height, width: Size of the tower's input in pixels.
        mean, std: For each channel, on a scale from 0 to 1; applied by the tower, on its device and for a whole batch.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest`` fills the input and crops the middle, ``squash`` ignores the aspect ratio, ``longest``
            fits the whole picture in and pads it.
        fill_color: What ``longest`` pads with, 0 to 255.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImageTransform:
        """Read open_clip's ``preprocess_cfg``, or what `to_config` returned.

        Raises:
            ValueError: It asks for something that does not exist here.
        """
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else size
        transform = cls(
            height=int(height),
            width=int(width),
            mean=_channels(config["mean"]),
            std=_channels(config["std"]),
            # open_clip reads "random", an augmentation, as bicubic when it does not train.
            interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            resize_mode=config.get("resize_mode") or "shortest",
            fill_color=int(config.get("fill_color") or 0),
        )
        if transform.resize_mode not in ("shortest", "squash", "longest"):
            raise ValueError(f"unknown resize mode {transform.resize_mode!r}")
        return transform

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values, for `from_config`."""
        values = asdict(self)
        values["mean"], values["std"] = list(self.mean), list(self.std)
        return {"size": [values.pop("height"), values.pop("width")], **values}

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize, crop or pad one RGB image to (height, width, 3) uint8; safe to call from many threads."""
        from PIL import Image as pil

        resample = pil.Resampling.BILINEAR if self.interpolation == "bilinear" else pil.Resampling.BICUBIC
        if self.resize_mode == "shortest" and self.height != self.width:
            resample = pil.Resampling.BICUBIC  # as open_clip does for oblong inputs, whatever the model says
        if image.mode != "RGB":
            image = image.convert("RGB")
        width, height = self._scaled(image.width, image.height)
        # Only the part that stays is resampled. Pixels beyond the box still count at its edges, so this equals
        # resizing the whole picture and cropping it.
        left, right = _crop(width, self.width)
        top, bottom = _crop(height, self.height)
        across, down = image.width / width, image.height / height
        box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
        size = (right - left, bottom - top)
        if size != image.size or box != (0, 0, *image.size):
            image = image.resize(size, resample, box=box, reducing_gap=_REDUCING_GAP)
        if size != (self.width, self.height):
            padded = pil.new("RGB", (self.width, self.height), (self.fill_color,) * 3)
            padded.paste(image, ((self.width - size[0]) // 2, (self.height - size[1]) // 2))
            image = padded
        return np.asarray(image, np.uint8)

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The size to which the whole picture is scaled before it is cropped or padded."""
        if self.resize_mode == "squash":
            return self.width, self.height
        if self.resize_mode == "longest" or self.height != self.width:
            ratios = (height / self.height, width / self.width)
            ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        # The shorter side meets the target exactly and the longer one is cut to whole pixels, as torchvision does.
        if width <= height:
            return self.width, int(self.width * height / width)
        return int(self.height * width / height), self.height


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = (values,) * 3 if isinstance(values, int | float) else values
    return float(red), float(green), float(blue)


def _crop(size: int, target: int) -> tuple[int, int]:
    """Where the middle `target` pixels of `size` begin and end; all of them where there are fewer."""
    if size <= target:
        return 0, size
    start = round((size - target) / 2.0)
    return start, start + target
