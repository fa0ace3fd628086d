"""Tiny models of our own in the built-in format, with seeded random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "cat", "on", "the", "beach", "two"]
WIDTH = 8


def save(folder: Path, *, seed: int = 0, dim: int = 6, side: int | None = 32) -> Path:
    """Write a model as training exports it; `side` None leaves it out of the metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mini_vocabulary.txt").write_text("".join(f"{piece}\n" for piece in PIECES), encoding="utf-8")
    save_text(folder / "mini_text.safetensors", seed=seed, dim=dim, side=side)
    save_image(folder / "mini_image.onnx", seed=seed, dim=dim, side=side or 260)
    return folder


def save_text(file: Path, *, seed: int, dim: int, side: int | None, pieces: int = len(PIECES)) -> None:
    """One layer of two heads."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray[Any, Any]] = {}

    def linear(name: str, c_in: int, c_out: int) -> None:
        arrays[f"{name}.weight"] = rng.integers(-127, 128, (c_out, c_in)).astype(np.int8)
        arrays[f"{name}.scale"] = np.full(c_out, 0.01, np.float32)
        arrays[f"{name}.bias"] = rng.normal(0, 0.1, c_out).astype(np.float32)

    def norm(name: str) -> None:
        arrays[f"{name}.weight"], arrays[f"{name}.bias"] = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    arrays["words"] = rng.integers(-127, 128, (pieces, WIDTH)).astype(np.int8)
    arrays["words.scale"] = np.full(pieces, 0.01, np.float32)
    arrays["places"] = rng.normal(0, 0.1, (16, WIDTH)).astype(np.float32)
    norm("norm")
    for name, c_in, c_out in (("qkv", 8, 24), ("out", 8, 8), ("up", 8, 16), ("down", 16, 8)):
        linear(f"layers.0.{name}", c_in, c_out)
    norm("layers.0.norm1")
    norm("layers.0.norm2")
    for name, c_in, c_out in (("up", 8, 16), ("skip", 8, dim), ("down", 16, dim)):
        linear(f"head.{name}", c_in, c_out)
    shape = {"depth": 1, "heads": 2, "limit": 16, "dim": dim} | ({} if side is None else {"side": side})
    header: dict[str, Any] = {"__metadata__": {"format": "mini-text-1", "shape": json.dumps(shape)}}
    kinds, at, data = {"int8": "I8", "float32": "F32"}, 0, b""
    for name, array in sorted(arrays.items(), key=lambda entry: entry[1].dtype.name):  # the larger ones lie aligned
        header[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [at, at := at + array.nbytes],
        }
        data += array.tobytes()
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    file.write_bytes(len(head).to_bytes(8, "little") + head + data)


def save_image(file: Path, *, seed: int, dim: int, side: int) -> None:
    """The mean colours of a picture, projected; where onnx is not installed, something that cannot be run."""
    try:
        from onnx import TensorProto, helper, numpy_helper, save_model
    except ImportError:
        file.write_bytes(b"%d %d %d" % (seed, dim, side))
        return
    weight = np.random.default_rng(seed).normal(0, 1, (3, dim)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colours", "weight"], ["projected"]),
        helper.make_node("LpNormalization", ["projected"], ["embeddings"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", dim])],
        [numpy_helper.from_array(weight, "weight")],
    )
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(file))
