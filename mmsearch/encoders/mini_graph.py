"""Prepared pictures or sounds go in, embeddings come out: a tower of ``mini`` that ONNX Runtime runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.errors import EncoderError, ModelMissingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["GraphTower"]


class GraphTower:
    """A network with one input (n, ...) and one output (n, dim), loaded when this is made.

    Args:
        path: The ONNX file.
        at_once: Inputs that a thread computes at once: more need memory and gain nothing.
        hint: What helps where it cannot be read.

    Attributes:
        shape: Of one input, and of one output.

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
        self.shape = tuple(session.get_inputs()[0].shape[1:]), tuple(session.get_outputs()[0].shape[1:])
        self._path = path
        self._at_once = at_once
        self._pool = ThreadPoolExecutor(processors(), "mmsearch-encode") if processors() > 1 else None

    def encode(self, prepared: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed n inputs, at least one: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: They are of another kind, or the network failed.
        """
        starts = range(0, len(prepared), self._at_once)
        try:
            # Each thread computes inputs of its own. Were each layer shared out instead, all would wait for the one
            # whose core is decoding the next files: that is half as fast on two cores.
            run = self._pool.map if self._pool and len(starts) > 1 else map
            parts = list(run(lambda start: self._embed(prepared[start : start + self._at_once]), starts))
        except Exception as error:  # as above
            raise EncoderError(f"The network in {self._path} failed: {error}") from error
        return np.concatenate(parts)

    def _embed(self, prepared: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input: np.stack(prepared)})[0])
