"""A loaded open_clip model in; its image tower, ready for batches on a device, out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from mmsearch.encoders.precision import Precision, choose_device, choose_precision
from mmsearch.encoders.torch_tower import BatchTower

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.open_clip_loading import LoadedModel

__all__ = ["ImageTower"]

_BATCHES = {"cpu": 32, "cuda": 256, "mps": 64}
_EACH = 8


class ImageTower(BatchTower):
    """The image tower of one model on one device.

    Args:
        loaded: The model; its image tower is taken over and changed, the rest is left alone.
        device: Where it runs; the best place here when None.
        precision: Of its weights; the fastest that serves when None.

    Raises:
        UsageError: The device is not there.
        EncoderError: The device has too little memory for the weights.
    """

    def __init__(self, loaded: LoadedModel, device: str | None, precision: Precision | None) -> None:
        place = choose_device(device)
        super().__init__("image", place, choose_precision(precision, place), batches=_BATCHES, each=_EACH)
        transform = loaded.transform
        # (x / 255 - mean) / std as one product and one sum over the channels
        deviation = torch.tensor(transform.std, dtype=torch.float32) * 255
        self._scale = (1 / deviation).to(self.device)
        self._shift = (-torch.tensor(transform.mean, dtype=torch.float32) * 255 / deviation).to(self.device)
        visual: Any = loaded.model.visual
        self._tower = self._place(visual)
        if self.device.type != "mps":
            self._tower = self._tower.to(memory_format=torch.channels_last)
        if self.device.type == "cpu" and self.precision == "bf16":
            from mmsearch.encoders.packed import pack

            probe = np.random.default_rng(0).integers(0, 256, (2, transform.height, transform.width, 3), np.uint8)
            with torch.inference_mode():
                self._tower = pack(self._tower, self._batch([*probe]))

    def _forward(self, things: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            output = self._tower(self._batch(things))
            features = output[0] if isinstance(output, tuple) else output  # CoCa returns its tokens as well
            rows: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return rows

    def _batch(self, images: Sequence[NDArray[Any]]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack(images)).to(self.device, non_blocking=True)  # (n, h, w, 3) uint8
        batch = torch.addcmul(self._shift, pixels.float(), self._scale)
        batch = batch.to(self._type).permute(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w), channels last in memory
        return batch.contiguous() if self.device.type == "mps" else batch
