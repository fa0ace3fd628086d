"""Texts in, embeddings out, by an exported text tower on ONNX Runtime; torch is never imported."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.text_tokens import TextTokens, padded
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.model_folder import TextMeta

__all__ = ["TextTower"]

_BATCH = 64


class TextTower:
    """The exported text tower of one model.

    Its weights stay on the disk and are mapped into memory: a query pages in the layers and the few rows of the token
    table that it needs, and starts at once.

    Args:
        folder: Holds ``text.onnx``, its weights and the tokenizer.
        meta: How it is fed.

    Raises:
        EncoderError: The files cannot be read.
    """

    def __init__(self, folder: Path, meta: TextMeta) -> None:
        self._meta = meta
        self._session: Any = None
        failed: list[Exception] = []

        def load() -> None:
            try:
                self._session = _session(folder / "text.onnx")
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=load)  # takes as long as the tokenizer does
        thread.start()
        try:
            self._tokens = TextTokens(folder, meta)
        finally:
            thread.join()
        if failed:
            raise failed[0]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: ONNX Runtime failed.
        """
        rows = self._tokens(texts)
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))  # texts of one length share a batch
        embeddings: NDArray[np.float32] | None = None
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            part = self.embed(padded([rows[row] for row in chosen], self._meta))
            if embeddings is None:
                embeddings = np.empty((len(rows), part.shape[1]), np.float32)
            embeddings[chosen] = part
        return np.empty((0, 0), np.float32) if embeddings is None else embeddings

    def embed(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embed token ids: (n, length) -> (n, dim)."""
        try:
            (embeddings,) = self._session.run(None, {"tokens": tokens})
        except Exception as error:  # ONNX Runtime's exceptions share no base
            raise EncoderError(f"The text tower failed: {error}") from error
        return np.asarray(embeddings, np.float32)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Packed weights would be copies of what is mapped: twice the memory and five times the start-up, for nothing that
    # a query notices.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.enable_cpu_mem_arena = False
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EncoderError(f"The text tower {file} cannot be read: {error}") from error
