"""Prepared pictures or sounds in, embeddings out, by a network in torch: in batches that fit into memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.precision import Precision, torch_type
from mmsearch.encoders.workers import Workers
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BatchTower", "Batched", "TorchTextTower"]

_LARGEST = 8  # so many batches at once, for a caller that asks for more than one
_TEXTS = 64
_Compute = Callable[[Sequence[Any]], Sequence[NDArray[np.float32]]]
"""A batch -> the outputs of the tower, each with a row for each thing."""
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")


class Batched:
    """A network on one device; on the processor a batch is shared out among workers.

    Args:
        thing: What it takes, one of them, such as ``image``.
        device: Where it runs.
        precision: Of its weights.
        batches: How many things it likes to get at once by the kind of the device; on the processor at least so many.
        each: On the processor, so many for each worker.
    """

    def __init__(
        self, thing: str, device: torch.device, precision: Precision, *, batches: dict[str, int], each: int
    ) -> None:
        self.device, self.precision = device, precision
        self._thing = thing
        self._type = torch_type(precision)
        self._workers = Workers(torch.get_num_threads()) if device.type == "cpu" else None
        batch = batches[device.type]
        self.batch_size = max(batch, each * self._workers.count) if self._workers else batch
        self._largest = _LARGEST * self.batch_size  # a caller that asks for more is served in parts

    def _in_batches(self, things: Sequence[NDArray[Any]], compute: _Compute) -> list[NDArray[np.float32]]:
        """What a pass of the tower gives for n things, at least one.

        A batch that memory does not hold is halved, down to a single one, and later batches stay that small.

        Raises:
            EncoderError: The tower failed, also with a single one, or gave something that is not a number.
        """
        parts: list[list[NDArray[np.float32]]] = []
        start = 0
        while start < len(things):
            batch = things[start : start + self._largest]
            part = self._attempt(batch, compute)
            if part is None:
                self._largest = len(batch) // 2
                self.batch_size = min(self.batch_size, self._largest)
                if self.device.type == "cuda":
                    torch.cuda.empty_cache()
            else:
                parts.append(part)
                start += len(batch)
        outputs = _joined(parts)
        if not all(np.isfinite(output).all() for output in outputs):
            raise EncoderError(
                f"The {self._thing} tower gave no numbers in {self.precision}.", hint="Choose the precision fp32."
            )
        return outputs

    def _place(self, tower: nn.Module) -> nn.Module:
        """Bring a network to the device, in the precision.

        Raises:
            EncoderError: The device has too little memory for the weights.
        """
        try:
            return tower.to(device=self.device, dtype=self._type)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise EncoderError(f"The {self._thing} tower does not run on {self.device}: {error}") from error
            raise EncoderError(
                f"The {self._thing} tower does not fit into the memory of {self.device}.",
                hint="Choose the device cpu.",
            ) from error

    def _attempt(self, things: Sequence[NDArray[Any]], compute: _Compute) -> list[NDArray[np.float32]] | None:
        """One batch; None where memory did not hold it and a smaller one may fit."""
        try:
            return _joined(self._workers.map(compute, things) if self._workers else [compute(things)])
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise EncoderError(f"The {self._thing} tower failed: {error}") from error
            if len(things) == 1:
                raise EncoderError(
                    f"The memory of {self.device} does not hold a single {self._thing}.", hint="Choose the device cpu."
                ) from error
            return None


class BatchTower(Batched, ABC):
    """A tower on one device; see `Batched`."""

    @abstractmethod
    def _forward(self, things: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed one batch: (n, dim) float32, rows L2-normalised."""

    def encode(self, things: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed n prepared things: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed, also with a single one, or gave something that is not a number.
        """
        (embeddings,) = self._in_batches(things, lambda batch: (self._forward(batch),))
        return embeddings


class TorchTextTower:
    """The text tower of a model that could not be exported.

    Args:
        embed: Embeds a few texts: (n, dim) float32, rows L2-normalised.
    """

    def __init__(self, embed: Callable[[list[str]], NDArray[np.float32]]) -> None:
        self._embed = embed

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
        """
        try:
            parts = [self._embed(list(texts[start : start + _TEXTS])) for start in range(0, len(texts), _TEXTS)]
        except RuntimeError as error:
            raise EncoderError(f"The text tower failed: {error}") from error
        return np.concatenate(parts)


def _joined(parts: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """Outputs of several batches as those of one."""
    return [np.concatenate(output) for output in zip(*parts, strict=True)]


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or the processor's allocator, which raises a plain RuntimeError, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(phrase in str(error) for phrase in _NO_MEMORY)
