"""Passages go in, embeddings come out, many at a time: the text tower of ``mini`` in integers, in ONNX Runtime.

A library may get a hundred thousand passages at once, a query is one text. So passages are embedded by other arithmetic
than queries are, in the same space: short ones by the text tower itself in eight-bit integers, longer ones, whose
many words tell more than enough, by a tower of fewer layers that learned to give what the text tower gives.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.encoders.model_folder import PASSAGE_GRAPH, TEXT_GRAPH
from mmsearch.errors import EncoderError, ModelMissingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.mini_text import TextTower

__all__ = ["SHORT", "PassageTower"]

SHORT = 24
"""Word pieces, with both marks, up to which a passage is embedded by the whole tower: about as fast as 72 are by the
smaller one, and what most captions have at most."""

# Texts of one length are computed at once, so many tokens of them: more leave the cache of a core.
_TOKENS_AT_ONCE = 256


class PassageTower:
    """The text tower for passages, loaded when this is made.

    Args:
        folder: Where ``mini_texts.onnx`` lies, ``mini_passages.onnx`` (without it the whole tower takes long passages
            too), and the weights of the text tower.
        texts: That tower, which cuts texts into word pieces.
        hint: What helps where they cannot be read.

    Raises:
        ModelMissingError: They are not readable, or do not belong together.
    """

    def __init__(self, folder: Path, texts: TextTower, *, hint: str) -> None:
        self._texts = texts
        self._whole = _session(folder / TEXT_GRAPH, texts.dim, hint)
        small = folder / PASSAGE_GRAPH
        self._small = _session(small, texts.dim, hint) if small.is_file() else self._whole
        self._folder = folder
        self._pool = ThreadPoolExecutor(processors(), "mmsearch-encode") if processors() > 1 else None

    def encode(self, passages: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages; those beyond the token limit are cut.

        Returns:
            (n, dim) float32, rows L2-normalised; that of a passage does not depend on the others.

        Raises:
            EncoderError: The tower failed.
        """
        return self.encode_tokens(self._texts.tokenise(passages))

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Embed passages that were cut into word pieces: n of any lengths -> (n, dim), as `encode` does."""
        embeddings = np.empty((len(tokens), self._texts.dim), np.float32)

        def embed(chosen: Sequence[int]) -> None:
            session = self._whole if len(tokens[chosen[0]]) <= SHORT else self._small
            ids = np.array([tokens[at] for at in chosen], np.int64)
            embeddings[chosen] = session.run(None, {"ids": ids})[0]

        parts = _parts(tokens)
        try:
            # Each thread computes passages of its own, as in `GraphTower`.
            run = self._pool.map if self._pool and len(parts) > 1 else map
            list(run(embed, parts))
        except Exception as error:  # ONNX Runtime raises classes of its own that have no common base
            raise EncoderError(f"The text tower in {self._folder} failed: {error}") from error
        return embeddings


def _parts(tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of texts that are computed at once: of one length, not too many tokens; the longest come first."""
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(place)
    parts = []
    for length, places in sorted(by_length.items(), reverse=True):
        step = max(1, _TOKENS_AT_ONCE // length)
        parts += [places[start : start + step] for start in range(0, len(places), step)]
    return parts


def _session(path: Path, dim: int, hint: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not _adds_widely():
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path),
            options,
            providers=["CPUExecutionProvider"],
            # The fused operator takes nine times as long as the two that it stands for.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
    except Exception as error:  # ONNX Runtime raises classes of its own that have no common base
        raise ModelMissingError(f"The weights in {path} cannot be read.", hint=hint) from error
    if session.get_outputs()[0].shape[1:] != [dim]:
        raise ModelMissingError(f"{path} and mini_text.safetensors do not belong together.", hint=hint)
    return session


def _adds_widely() -> bool:
    """Whether it is known that the processor adds products of integers in 32 bits: in 16, eight-bit weights overflow.

    Where it is not known, ONNX Runtime takes a way that is always right and half as fast.
    """
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
