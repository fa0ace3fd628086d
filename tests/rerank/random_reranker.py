"""Files of rerankers with seeded random weights, made without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.rerank.fusion import FusionReranker, FusionSettings, Reading
from mmsearch.rerank.query_bank import QueryBank

WORDS = 384
"""Width of a word's states in the built-in text tower."""
_KINDS = {"float32": "F32", "float16": "F16", "int8": "I8"}


@dataclass(frozen=True)
class Measures:
    """What a reranker measures; those of `HashingEncoder`'s patches, and small, unless they are named."""

    encoder: str = "hashing"
    width: int = 3
    grid: tuple[int, int] = (4, 4)
    wanted: tuple[int, int] = (4, 4)
    dim: int = 16
    heads: int = 2
    layers: int = 1
    matched: int = 8
    pools: int = 2
    hidden: int = 12
    gate: bool = True
    depths: tuple[int, ...] = (1,)
    words: int = WORDS
    bank: int = 40
    embedding: int = 64

    @property
    def count(self) -> int:
        return self.wanted[0] * self.wanted[1]


def reader_arrays(measures: Measures, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """The weights of one reader; large enough that its logits differ by something."""
    m, arrays = measures, {}

    def linear(name: str, out: int, into: int, bias: bool = True) -> None:
        arrays[f"{name}.weight"] = rng.normal(0, 2 / into**0.5, (out, into))
        if bias:
            arrays[f"{name}.bias"] = rng.normal(0, 0.3, out)

    def norm(name: str, width: int) -> None:
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = rng.normal(1, 0.2, width), rng.normal(0, 0.2, width)

    arrays["places"] = rng.normal(0, 0.5, (m.count, m.dim))
    linear("words", m.dim, m.words)
    norm("words_norm", m.dim)
    for layer in range(max(1, m.layers)):
        for name in ("query", "key", "value"):
            linear(f"looks.{layer}.{name}", m.dim, m.dim, name != "key")
        linear(f"looks.{layer}.match", m.matched, m.dim)
        if layer == 0:
            linear("looks.0.word", m.dim, m.dim)
            linear("looks.0.found", m.matched, m.dim, False)
        else:
            norm(f"looks.{layer}.norm", m.matched)
            linear(f"looks.{layer}.again", m.dim, m.matched, False)
    linear("weight", m.pools, m.dim, False)
    norm("pooled_norm", m.matched * m.pools)
    linear("fused", m.matched, m.matched * m.pools)
    if m.gate:
        linear("pictures", m.dim, m.dim)
        linear("sentences", m.dim, m.dim * m.pools)
        linear("whole", m.matched, m.dim)
        linear("gate", m.matched, 2 * m.matched)
    linear("matching", 1, m.matched)
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def adapter_arrays(measures: Measures, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """The weights of the adapter."""
    m = measures
    arrays = {
        "mean": rng.normal(0, 0.1, m.width),
        "spread": rng.uniform(0.3, 0.6, m.width),
        "enter.weight": rng.normal(0, 1, (m.dim, m.width)),
        "up.weight": rng.normal(0, 0.5, (m.hidden, m.dim)),
        "down.weight": rng.normal(0, 0.5, (m.dim, m.hidden)),
        "norm.weight": rng.normal(1, 0.2, m.dim),
        "last.weight": rng.normal(1, 0.2, m.dim),
    }
    arrays |= {f"{name}.bias": rng.normal(0, 0.2, m.dim) for name in ("enter", "norm", "down", "last")}
    arrays["up.bias"] = rng.normal(0, 0.2, m.hidden)
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def all_arrays(measures: Measures, seed: int = 0) -> dict[str, NDArray[Any]]:
    """All weights, by the names of the file."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {
        f"adapter.{name}": array for name, array in adapter_arrays(measures, rng).items()
    }
    for at in range(len(measures.depths)):
        arrays |= {f"readers.{at}.{name}": array for name, array in reader_arrays(measures, rng).items()}
    arrays["bank"] = bank_of(measures, seed)
    return arrays


def bank_of(measures: Measures, seed: int = 0) -> NDArray[np.int8]:
    """Embeddings of sentences that may be asked, as a file holds them."""
    rows = np.random.default_rng((seed, 1)).normal(0, 1, (measures.bank, measures.embedding))
    return QueryBank.pack((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


def settings_of(measures: Measures) -> FusionSettings:
    """What the file says beside its weights; each way is read in its own manner."""
    m = measures
    there, back = Reading(1.5, 0.25, -1.0, -6.0), Reading(2.0, 0.5, -0.5, -4.0)
    return FusionSettings(m.encoder, m.heads, m.layers, m.depths, m.grid, m.wanted, there, back)


def write_safetensors(file: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for name, array in arrays.items():
        kind, end = _KINDS[str(array.dtype)], at + array.nbytes
        header[name], at = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, end]}, end
    head = json.dumps(header).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(head).to_bytes(8, "little") + head + body)
    return file


def save_reranker(file: Path, measures: Measures = Measures(), seed: int = 0) -> Path:
    """Write a reranker with random weights."""
    return write_safetensors(file, all_arrays(measures, seed), settings_of(measures).to_metadata())


def random_reranker(file: Path, measures: Measures = Measures(), seed: int = 0) -> FusionReranker:
    """Write one, and read it."""
    return FusionReranker(save_reranker(file, measures, seed))


def words_of(lengths: list[int], seed: int = 0, width: int = WORDS) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """States and owners of sentences with so many words."""
    states = np.random.default_rng(seed).normal(0, 1, (sum(lengths), width)).astype(np.float32)
    return states, np.repeat(np.arange(len(lengths)), lengths)


def tokens_of(count: int, measures: Measures, seed: int = 0) -> NDArray[np.int8]:
    """Tokens of so many pictures, as they are spread in a store."""
    rows = np.random.default_rng(seed).normal(0, 32, (count, measures.count, measures.dim))
    return rows.round().clip(-127, 127).astype(np.int8)
