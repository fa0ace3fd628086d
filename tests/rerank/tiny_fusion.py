"""Rerankers of the trained kind with seeded random weights, made without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from mmsearch.rerank.fusion import FusionSettings, Reading

GRID, WANTED = (9, 9), (5, 5)
WIDTH, WORDS = 328, 384  # of the built-in encoder's patches, and of the states of words
DIM, MATCHED, POOLS, HIDDEN = 16, 12, 2, 24


def save_tiny_reranker(
    file: Path, *, encoder: str = "mini", layers: int = 2, readers: int = 1, seed: int = 0, look: float = 4.0
) -> Path:
    """Write a reranker.

    Args:
        file: To write.
        encoder: Id of the encoder that it is for.
        layers: Of cross-attention; 0 for none.
        readers: Fusion models over the same tokens.
        seed: Another seed, other weights.
        look: The higher, the less evenly words look.
    """
    rng = np.random.default_rng(seed)
    shapes = {f"adapter.{name}": shape for name, shape in _adapter().items()}
    for reader in range(readers):
        shapes |= {f"readers.{reader}.{name}": shape for name, shape in _reader(max(1, layers)).items()}
    arrays = {
        name: (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float16) for name, shape in shapes.items()
    }
    arrays["adapter.mean"], arrays["adapter.spread"] = np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32)
    for name in arrays:
        if name.endswith(("norm.weight", "last.weight")):
            arrays[name] = np.ones_like(arrays[name])
        if name.endswith("query.weight"):
            arrays[name] *= np.float16(look)
    reading = Reading(1.0, 0.8, -0.5)
    depths = tuple(range(readers))
    settings = FusionSettings(encoder, 2, layers, depths, GRID, WANTED, reading, reading)
    save_file(arrays, file, settings.to_metadata())
    return file


def _adapter() -> dict[str, tuple[int, ...]]:
    return {
        "mean": (WIDTH,),
        "spread": (WIDTH,),
        **_linear("enter", WIDTH, DIM),
        **_norm("norm", DIM),
        **_linear("up", DIM, HIDDEN),
        **_linear("down", HIDDEN, DIM),
        **_norm("last", DIM),
    }


def _reader(layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"places": (WANTED[0] * WANTED[1], DIM)}
    shapes |= _linear("words", WORDS, DIM) | _norm("words_norm", DIM) | {"weight.weight": (POOLS, DIM)}
    for layer in range(layers):
        look = f"looks.{layer}"
        shapes |= _linear(f"{look}.query", DIM, DIM) | {f"{look}.key.weight": (DIM, DIM)}
        shapes |= _linear(f"{look}.value", DIM, DIM) | _linear(f"{look}.match", DIM, MATCHED)
        if layer == 0:
            shapes |= _linear(f"{look}.word", DIM, DIM) | {f"{look}.found.weight": (MATCHED, DIM)}
        else:
            shapes |= _norm(f"{look}.norm", MATCHED) | {f"{look}.again.weight": (DIM, MATCHED)}
    shapes |= _norm("pooled_norm", MATCHED * POOLS) | _linear("fused", MATCHED * POOLS, MATCHED)
    shapes |= _linear("pictures", DIM, DIM) | _linear("sentences", DIM * POOLS, DIM) | _linear("whole", DIM, MATCHED)
    return shapes | _linear("gate", 2 * MATCHED, MATCHED) | _linear("matching", MATCHED, 1)


def _linear(name: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, dim: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}
