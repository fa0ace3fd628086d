"""A text transformer of open_clip in, the ONNX file of the same tower out, node by node.

Nearly all of open_clip's text towers are one network in several sizes. torch's exporter traces it in ten seconds and
more; written down directly it takes one, and half the nodes, which a query has to load.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.model_folder import unwritable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["UnknownTowerError", "write_text_graph"]

_OPSET, _IR = 20, 10
_LARGE = 1 << 16  # from so many bytes on, weights lie beside the graph, where they can be mapped into memory
_ALIGNMENT = 1 << 16  # on every system a multiple of what a mapping must begin at


class UnknownTowerError(Exception):
    """It is not that network; the message says what is different."""


def write_text_graph(model: Any, file: Path, *, context_length: int, trimmed: bool) -> None:
    """Write ``text.onnx`` and its weights: ``tokens`` (n, length) int64 to ``embeddings`` (n, dim), L2-normalised.

    Args:
        model: An open_clip model on the CPU, in float32.
        file: Of the graph; the weights come beside it.
        context_length: Most tokens it takes.
        trimmed: Whether it takes fewer as well, being causal.

    Raises:
        UnknownTowerError: Its text tower is of another make.
        StorageError: The disk is full or not writable.
    """
    layers = getattr(model, "text", model)
    _check(model, layers)
    try:
        with Path(f"{file}.data").open("wb") as stream:
            graph = _Graph(stream)
            _tower(graph, layers, context_length, trimmed)
            graph.save(file, ["texts", "length" if trimmed else context_length])
    except OSError as error:
        raise unwritable(file.parent, error) from error


def _check(model: Any, layers: Any) -> None:
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

    kinds = ("CLIP", "CustomTextCLIP")
    if type(model).__name__ not in kinds or not (layers is model or type(layers) is TextTransformer):
        raise UnknownTowerError("the model is of another kind")
    if getattr(layers, "cls_emb", None) is not None:
        raise UnknownTowerError("it has a class token")
    if getattr(layers, "use_pad_mask", False) or getattr(layers, "output_tokens", False):
        raise UnknownTowerError("it looks at padding, or gives its tokens too")
    for block in layers.transformer.resblocks:
        if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv") or block.attn.in_proj_weight is None:
            raise UnknownTowerError("its blocks are of another kind")


def _tower(graph: _Graph, layers: Any, context_length: int, trimmed: bool) -> None:
    places, mask = _array(layers.positional_embedding)[:context_length], getattr(layers, "attn_mask", None)
    x = graph.node("Gather", graph.weight(_array(layers.token_embedding.weight)), "tokens")
    shown = None if mask is None else graph.weight(_array(mask)[:context_length, :context_length])
    position = graph.weight(places)
    if trimmed:
        length = graph.node("Shape", "tokens", start=1, end=2)  # (1,)
        start, axes = graph.integers(0), [graph.integers(0), graph.integers(0, 1)]
        position = graph.node("Slice", position, start, length, axes[0])
        if shown is not None:
            both = graph.node("Concat", length, length, axis=0)
            shown = graph.node("Slice", shown, graph.integers(0, 0), both, axes[1])
    x = graph.node("Add", x, position)
    for block in layers.transformer.resblocks:
        x = _block(graph, block, x, shown)
    x = graph.norm(_pooled(graph, layers, x), layers.ln_final)
    projection = layers.text_projection
    if hasattr(projection, "bias"):
        x = graph.linear(x, _array(projection.weight), projection.bias)
    elif projection is not None:
        x = graph.node("MatMul", x, graph.weight(_array(projection)))
    length = graph.node("Max", graph.node("ReduceL2", x, graph.integers(-1)), graph.weight(np.float32(1e-12)))
    graph.node("Div", x, length, output="embeddings")


def _block(graph: _Graph, block: Any, x: str, mask: str | None) -> str:
    """(n, t, w) -> (n, t, w): attention and feed-forward, each after a norm and added to what came in."""
    attention = block.attn
    width, heads = attention.embed_dim, attention.num_heads
    split = graph.integers(0, 0, heads, width // heads)
    weight, bias = _array(attention.in_proj_weight).copy(), _array(attention.in_proj_bias).copy()
    for queries in (weight, bias):
        queries[:width] *= np.float32((width // heads) ** -0.5)
    joined = graph.linear(graph.norm(x, block.ln_1), weight, bias)
    parts = graph.nodes("Split", 3, joined, axis=-1, num_outputs=3)
    shaped = [graph.node("Reshape", part, split) for part in parts]
    q, k, v = (
        graph.node("Transpose", part, perm=perm)
        for part, perm in zip(shaped, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    scores = graph.node("MatMul", q, k)  # (n, heads, t, t)
    if mask is not None:
        scores = graph.node("Add", scores, mask)
    attended = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
    attended = graph.node("Reshape", graph.node("Transpose", attended, perm=[0, 2, 1, 3]), graph.integers(0, 0, width))
    attended = graph.linear(attended, _array(attention.out_proj.weight), attention.out_proj.bias)
    x = graph.node("Add", x, _scaled(graph, block.ls_1, attended))
    up, activation, down = block.mlp.c_fc, block.mlp.gelu, block.mlp.c_proj
    inner = graph.linear(graph.norm(x, block.ln_2), _array(up.weight), up.bias)
    inner = graph.linear(_activated(graph, activation, inner), _array(down.weight), down.bias)
    return graph.node("Add", x, _scaled(graph, block.ls_2, inner))


def _scaled(graph: _Graph, scale: Any, x: str) -> str:
    gamma = getattr(scale, "gamma", None)
    return x if gamma is None else graph.node("Mul", x, graph.weight(_array(gamma)))


def _activated(graph: _Graph, activation: Any, x: str) -> str:
    from open_clip.transformer import QuickGELU
    from torch import nn

    if type(activation) is nn.GELU:
        return graph.node("Gelu", x, approximate=activation.approximate)
    if type(activation) is QuickGELU:
        return graph.node("Mul", x, graph.node("Sigmoid", graph.node("Mul", x, graph.weight(np.float32(1.702)))))
    raise UnknownTowerError(f"it has the activation {type(activation).__name__}")


def _pooled(graph: _Graph, layers: Any, x: str) -> str:
    """(n, t, w) -> (n, w): the token that stands for the text."""
    kind = getattr(layers, "pool_type", None) or getattr(layers, "text_pool_type", None)
    end = getattr(layers, "eos_id", None) or getattr(layers, "text_eos_id", None)
    if kind in ("first", "last"):
        return graph.node("Gather", x, graph.weight(np.int64(0 if kind == "first" else -1)), axis=1)
    if kind == "argmax":
        tokens = "tokens"
    elif kind == "eos" and end is not None:
        found = graph.node("Equal", "tokens", graph.weight(np.int64(end)))
        tokens = graph.node("Cast", found, to=6)  # int32
    else:
        raise UnknownTowerError(f"it is pooled by {kind}")
    return graph.node("GatherND", x, graph.node("ArgMax", tokens, axis=1, keepdims=1), batch_dims=1)


class _Graph:
    """Nodes and weights as they are added; large weights are written at once."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self._integers: dict[tuple[int, ...], str] = {}

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output; returns the name of that."""
        return self.nodes(kind, 1, *inputs, output=output, **attributes)[0]

    def nodes(self, kind: str, count: int, *inputs: str, output: str | None = None, **attributes: Any) -> list[str]:
        """Add a node; returns the names of its outputs."""
        from onnx import helper

        names = [output or f"{kind}.{len(self._nodes)}.{place}" for place in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def integers(self, *values: int) -> str:
        """A constant (n,) of int64."""
        if values not in self._integers:
            self._integers[values] = self.weight(np.array(values, np.int64))
        return self._integers[values]

    def norm(self, x: str, norm: Any) -> str:
        """A layer norm over the last axis."""
        if norm.weight is None or norm.bias is None:
            raise UnknownTowerError("its norms have no weights")
        weights = [self.weight(_array(norm.weight)), self.weight(_array(norm.bias))]
        return self.node("LayerNormalization", x, *weights, axis=-1, epsilon=float(norm.eps))

    def linear(self, x: str, weight: NDArray[np.float32], bias: Any) -> str:
        """(..., c_in) -> (..., c_out), for a weight (c_out, c_in)."""
        y = self.node("MatMul", x, self.weight(np.ascontiguousarray(weight.T)))
        return y if bias is None else self.node("Add", y, self.weight(_array(bias)))

    def weight(self, value: NDArray[Any] | np.generic) -> str:
        """A constant."""
        from onnx import TensorProto, helper, numpy_helper

        array, name = np.asarray(value), f"weight.{len(self._weights)}"
        if array.nbytes < _LARGE:
            self._weights.append(numpy_helper.from_array(array, name))
            return name
        self._stream.seek(-self._stream.tell() % _ALIGNMENT, 1)
        tensor = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        places = {"location": Path(self._stream.name).name, "offset": self._stream.tell(), "length": array.nbytes}
        for key, place in places.items():
            tensor.external_data.add(key=key, value=str(place))
        self._stream.write(np.ascontiguousarray(array).data)
        self._weights.append(tensor)
        return name

    def save(self, file: Path, shape: Sequence[str | int]) -> None:
        """Write the graph."""
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            self._nodes,
            "text",
            [helper.make_tensor_value_info("tokens", TensorProto.INT64, shape)],
            [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["texts", None])],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        file.write_bytes(model.SerializeToString())


def _array(value: Any) -> NDArray[np.float32]:
    """A tensor as an array."""
    array: NDArray[np.float32] = value.detach().numpy() if hasattr(value, "detach") else value
    return array
