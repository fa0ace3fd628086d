"""A loaded open_clip model in; its image tower, ready for batches on a device, out: embeddings, and patches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from mmsearch.encoders.precision import Precision, choose_device, choose_precision
from mmsearch.encoders.torch_pixels import PixelBatches
from mmsearch.encoders.torch_tower import BatchTower
from mmsearch.types import PatchFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.open_clip_loading import LoadedModel

__all__ = ["ImageTower"]

_BATCHES = {"cpu": 32, "cuda": 256, "mps": 64}
_EACH = 8
_LEAST_COSINE = 0.99  # of one embedding to the same by another way, in half precision


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
        self._size = transform.height, transform.width
        self._pixels = PixelBatches(transform, self.device, self._type)
        visual: Any = loaded.model.visual
        self._tower = self._place(visual)
        if self.device.type != "mps":
            self._tower = self._tower.to(memory_format=torch.channels_last)
        if self.device.type == "cpu" and self.precision == "bf16":
            from mmsearch.encoders.packed import pack

            probe = np.random.default_rng(0).integers(0, 256, (2, *self._size, 3), np.uint8)
            with torch.inference_mode():
                self._tower = pack(self._tower, self._pixels([*probe]))

    @cached_property
    def patches(self) -> PatchFormat | None:
        """What the tower sees at each place of a grid; None for one that does not tell, found out by running it."""
        probe = np.random.default_rng(0).integers(0, 256, (1, *self._size, 3), np.uint8)
        try:
            with torch.inference_mode():
                expected = self._embeddings(self._tower(self._pixels([*probe])))
                got, map_ = self._both(self._pixels([*probe]))
        except (AssertionError, AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return None  # towers of timm differ in what they can do, and in how they say that they cannot
        if map_.ndim != 4 or functional.cosine_similarity(got, expected).item() < _LEAST_COSINE:
            return None
        _, width, rows, columns = map_.shape
        return PatchFormat(rows, columns, width)

    def encode_with_patches(self, images: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed n prepared images, at least one: what `encode` gives, and (n, places, width) patches, row by row.

        They are the outputs of the last block, where it has a place for each part of the picture behind the norm that
        follows it.

        Raises:
            EncoderError: As for `encode`.
        """
        embeddings, patches = self._in_batches(images, self._forward_both)
        return embeddings, patches

    def _forward(self, things: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            rows: NDArray[np.float32] = self._embeddings(self._tower(self._pixels(things))).cpu().numpy()
        return rows

    def _forward_both(self, things: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            embeddings, map_ = self._both(self._pixels(things))
            places = map_.flatten(2).transpose(1, 2)  # (n, width, rows, columns) -> (n, places, width)
            return embeddings.cpu().numpy(), places.float().cpu().contiguous().numpy()

    def _both(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, 3, h, w) -> (n, dim) embeddings, and the last map (n, width, rows, columns)."""
        tower: Any = self._tower
        # A tower that pools by attention normalises after it, and then in another width.
        norm = getattr(tower, "attn_pool", None) is None
        output = tower.forward_intermediates(batch, indices=1, normalize_intermediates=norm, output_fmt="NCHW")
        return self._embeddings(output["image_features"]), output["image_intermediates"][-1]

    @staticmethod
    def _embeddings(output: Any) -> torch.Tensor:
        features = output[0] if isinstance(output, tuple) else output  # CoCa returns its tokens as well
        return functional.normalize(features.float(), dim=-1)
