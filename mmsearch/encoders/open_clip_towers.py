"""A loaded open_clip model in; its image tower, ready for batches on a device, or its text tower in torch, out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from mmsearch.encoders.precision import Precision, choose_device, choose_precision, torch_type
from mmsearch.encoders.text_export import reference_embeddings
from mmsearch.encoders.workers import Workers
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.open_clip_loading import LoadedModel

__all__ = ["ImageTower", "TorchTextTower"]

_BATCHES = {"cuda": 256, "mps": 64}
_CPU_BATCH, _EACH = 32, 8  # at least so many images at once, and so many for each worker
_TEXTS = 64
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")


class ImageTower:
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
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self._workers = Workers(torch.get_num_threads()) if self.device.type == "cpu" else None
        self.batch_size = max(_CPU_BATCH, _EACH * self._workers.count) if self._workers else _BATCHES[self.device.type]
        self._largest = 8 * self.batch_size  # a caller that asks for more is served in parts
        self._type = torch_type(self.precision)
        transform = loaded.transform
        # (x / 255 - mean) / std as one product and one sum over the channels
        deviation = torch.tensor(transform.std, dtype=torch.float32) * 255
        self._scale = (1 / deviation).to(self.device)
        self._shift = (-torch.tensor(transform.mean, dtype=torch.float32) * 255 / deviation).to(self.device)
        visual: Any = loaded.model.visual
        try:
            self._tower = visual.to(device=self.device, dtype=self._type)
            if self.device.type != "mps":
                self._tower = self._tower.to(memory_format=torch.channels_last)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise EncoderError(f"The image tower does not run on {self.device}: {error}") from error
            raise EncoderError(
                f"The image tower does not fit into the memory of {self.device}.", hint="Choose the device cpu."
            ) from error
        if self.device.type == "cpu" and self.precision == "bf16":
            from mmsearch.encoders.packed import pack

            probe = np.random.default_rng(0).integers(0, 256, (2, transform.height, transform.width, 3), np.uint8)
            with torch.inference_mode():
                self._tower = pack(self._tower, self._batch([*probe]))

    def encode(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed n prepared images: (n, dim) float32, rows L2-normalised.

        A batch that memory does not hold is halved, down to one image, and later batches stay that small.

        Raises:
            EncoderError: The tower failed, also with a single image, or gave something that is not a number.
        """
        parts: list[NDArray[np.float32]] = []
        start = 0
        while start < len(images):
            batch = images[start : start + self._largest]
            part = self._attempt(batch)
            if part is None:
                self._largest = len(batch) // 2
                self.batch_size = min(self.batch_size, self._largest)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                parts.append(part)
                start += len(batch)
        embeddings = np.concatenate(parts)
        if not np.isfinite(embeddings).all():
            raise EncoderError(
                f"The image tower gave no numbers in {self.precision}.", hint="Choose the precision fp32."
            )
        return embeddings

    def _attempt(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32] | None:
        """One batch; None where memory did not hold it and a smaller one may fit."""
        try:
            return np.concatenate(self._workers.map(self._forward, images)) if self._workers else self._forward(images)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise EncoderError(f"The image tower failed: {error}") from error
            if len(images) == 1:
                raise EncoderError(
                    f"The memory of {self.device} does not hold a single image.", hint="Choose the device cpu."
                ) from error
            return None

    def _forward(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        with torch.inference_mode():
            output = self._tower(self._batch(images))
            features = output[0] if isinstance(output, tuple) else output  # CoCa returns its tokens as well
            rows: NDArray[np.float32] = functional.normalize(features.float(), dim=-1).cpu().numpy()
        return rows

    def _batch(self, images: Sequence[NDArray[Any]]) -> torch.Tensor:
        pixels = torch.from_numpy(np.stack(images)).to(self.device, non_blocking=True)  # (n, h, w, 3) uint8
        batch = torch.addcmul(self._shift, pixels.float(), self._scale)
        batch = batch.to(self._type).permute(0, 3, 1, 2)  # (n, h, w, 3) -> (n, 3, h, w), channels last in memory
        return batch.contiguous() if self.device.type == "mps" else batch


class TorchTextTower:
    """The text tower of a model that could not be exported."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model, self._tokenizer = loaded.model, loaded.tokenizer
        visual: Any = self._model
        del visual.visual

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
        """
        try:
            parts = [
                reference_embeddings(self._model, self._tokenizer, list(texts[start : start + _TEXTS]))
                for start in range(0, len(texts), _TEXTS)
            ]
        except RuntimeError as error:
            raise EncoderError(f"The text tower failed: {error}") from error
        return np.concatenate(parts)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the processor's allocator, which raises a plain RuntimeError, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(phrase in str(error) for phrase in _NO_MEMORY)
