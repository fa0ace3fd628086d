"""Prepared pictures or sounds go in, embeddings come out, and patches: a tower of ``mini`` that ONNX Runtime runs."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.errors import EncoderError, ModelMissingError
from mmsearch.types import PatchFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GraphTower"]

_PATCHES = "patches"


class GraphTower:
    """A network with one input (n, ...) and the output (n, dim), loaded when this is made.

    A second output ``patches`` (n, places, width) is for those who ask for it.

    Args:
        path: The ONNX file.
        at_once: Inputs that a thread computes at once: more need memory and gain nothing.
        hint: What helps where it cannot be read.

    Attributes:
        shape: Of one input, and of one embedding.
        patches: Of the second output; None where there is none.

    Raises:
        ModelMissingError: It is not there or not readable.
    """

    def __init__(self, path: Path, *, at_once: int, hint: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        try:
            session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that have no common base
            raise ModelMissingError(f"The weights in {path} cannot be read.", hint=hint) from error
        self._session: Any = session
        self._input = session.get_inputs()[0].name
        self._embeddings = session.get_outputs()[0].name
        self.shape = tuple(session.get_inputs()[0].shape[1:]), tuple(session.get_outputs()[0].shape[1:])
        self.patches = _patches(session)
        self._path = path
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(processors(), "mmsearch-encode") if processors() > 1 else None

    def encode(self, prepared: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed n inputs, at least one: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: They are of another kind, or the network failed.
        """
        (embeddings,) = self._run(prepared, [self._embeddings])
        return embeddings

    def encode_with_patches(self, prepared: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed n inputs, at least one: what `encode` gives, and (n, places, width) patches.

        Raises:
            EncoderError: As above, or the network yields no patches.
        """
        if self.patches is None:
            raise EncoderError(f"The network in {self._path} yields no patches.")
        embeddings, patches = self._run(prepared, [self._embeddings, _PATCHES])
        return embeddings, patches

    def _run(self, prepared: Sequence[NDArray[Any]], outputs: list[str]) -> list[NDArray[np.float32]]:
        """These outputs for n inputs."""

        def part(start: int) -> list[NDArray[np.float32]]:
            batch = np.stack(prepared[start : start + self._at_once])
            return [np.asarray(output) for output in self._session.run(outputs, {self._input: batch})]

        starts = range(0, len(prepared), self._at_once)
        try:
            # Each thread computes inputs of its own. Were each layer shared out instead, all would wait for the one
            # whose core is decoding the next files: that is half as fast on two cores.
            run = self._pool.map if self._pool and len(starts) > 1 else map
            parts = list(run(part, starts))
        except Exception as error:  # as above
            raise EncoderError(f"The network in {self._path} failed: {error}") from error
        return [np.concatenate(output) for output in zip(*parts, strict=True)]


def _patches(session: Any) -> PatchFormat | None:
    """The grid that a graph says it yields: a square one."""
    for output in session.get_outputs():
        if output.name == _PATCHES and all(isinstance(size, int) for size in output.shape[1:]):
            _, places, width = output.shape
            side = math.isqrt(places)
            return PatchFormat(side, side, width) if side * side == places else None
    return None
