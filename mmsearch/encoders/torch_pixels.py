"""Prepared pictures in, a batch for a tower in torch out: on its device, centred and scaled as its weights expect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.image_transform import ImageTransform

__all__ = ["PixelBatches"]


class PixelBatches:
    """Makes batches of one tower.

    Args:
        transform: Says what the pixels are centred and scaled to.
        device: Where the tower runs.
        type: Of its weights.
    """

    def __init__(self, transform: ImageTransform, device: torch.device, type: torch.dtype) -> None:
        self._device, self._type = device, type
        # (x / 255 - mean) / std as one product and one sum over the channels
        deviation = torch.tensor(transform.std, dtype=torch.float32) * 255
        self.scale = (1 / deviation).to(device)
        self.shift = (-torch.tensor(transform.mean, dtype=torch.float32) * 255 / deviation).to(device)

    def __call__(self, images: Sequence[NDArray[Any]]) -> torch.Tensor:
        """N prepared images (height, width, 3) uint8 -> (n, 3, height, width)."""
        pixels = torch.from_numpy(np.stack(images)).to(self._device, non_blocking=True)  # (n, h, w, 3) uint8
        batch = torch.addcmul(self.shift, pixels.float(), self.scale)
        batch = batch.to(self._type).permute(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w), channels last in memory
        return batch.contiguous() if self._device.type == "mps" else batch
