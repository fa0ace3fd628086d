"""A loaded CLAP model in; its audio tower, ready for batches on a device, out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmsearch.encoders.precision import Precision, choose_device
from mmsearch.encoders.torch_tower import BatchTower

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.clap_loading import LoadedClap

__all__ = ["AudioTower"]

_BATCHES = {"cpu": 8, "cuda": 64, "mps": 16}
_EACH = 2


class AudioTower(BatchTower):
    """The audio tower of one model on one device.

    Spectrograms reach down to -100 dB: bf16 would round them to a quarter of a decibel and more, so that half precision
    is fp16 here, on CUDA devices that multiply it fast; elsewhere fp32 is as good as any.

    Args:
        loaded: The model; its audio tower is taken over and changed, the rest is left alone.
        device: Where it runs; the best place here when None.
        precision: Of its weights; the one above when None.

    Raises:
        UsageError: The device is not there.
        EncoderError: The device has too little memory for the weights.
    """

    def __init__(self, loaded: LoadedClap, device: str | None, precision: Precision | None) -> None:
        place = choose_device(device)
        super().__init__("sound", place, precision or _precision(place), batches=_BATCHES, each=_EACH)
        self._tower = self._place(_Layers(loaded.model))

    def _forward(self, things: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(things)).to(self.device, non_blocking=True)  # (n, frames, n_mels)
            features = self._tower(batch.to(self._type))
            rows: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return rows


class _Layers(nn.Module):
    """From spectrograms (n, frames, n_mels) to features (n, dim)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.projection = model.audio_model, model.audio_projection

    def forward(self, mels: Tensor) -> Tensor:
        # A model that fuses crops of longer sounds takes four spectrograms, and of a sound that is no longer than its
        # window, as all are that come here, it reads the first.
        longer = torch.zeros((len(mels), 1), dtype=torch.bool, device=mels.device)
        features: Tensor = self.projection(self.model(input_features=mels[:, None], is_longer=longer).pooler_output)
        return features


def _precision(device: torch.device) -> Precision:
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 7
    return "fp16" if fast else "fp32"
