"""A text transformer of open_clip in, the ONNX file of the same tower out, node by node.

Nearly all of open_clip's text towers are one network in several sizes. torch's exporter traces it in ten seconds and
more; written down directly it takes one, and half the nodes, which a query has to load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.encoders.model_folder import unwritable
from mmsearch.encoders.onnx_graph import GraphWriter, UnknownTowerError, array

__all__ = ["UnknownTowerError", "write_text_graph"]


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
            graph = GraphWriter(stream)
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


def _tower(graph: GraphWriter, layers: Any, context_length: int, trimmed: bool) -> None:
    places, mask = array(layers.positional_embedding)[:context_length], getattr(layers, "attn_mask", None)
    x = graph.node("Gather", graph.weight(array(layers.token_embedding.weight)), "tokens")
    shown = None if mask is None else graph.weight(array(mask)[:context_length, :context_length])
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
        x = graph.linear(x, array(projection.weight), projection.bias)
    elif projection is not None:
        x = graph.node("MatMul", x, graph.weight(array(projection)))
    graph.normalised(x, "embeddings")


def _block(graph: GraphWriter, block: Any, x: str, mask: str | None) -> str:
    """(n, t, w) -> (n, t, w): attention and feed-forward, each after a norm and added to what came in."""
    attention = block.attn
    weight, bias = array(attention.in_proj_weight), array(attention.in_proj_bias)
    attended = graph.attention(graph.norm(x, block.ln_1), weight, bias, attention.num_heads, mask)
    attended = graph.linear(attended, array(attention.out_proj.weight), attention.out_proj.bias)
    x = graph.node("Add", x, _scaled(graph, block.ls_1, attended))
    up, activation, down = block.mlp.c_fc, block.mlp.gelu, block.mlp.c_proj
    inner = graph.linear(graph.norm(x, block.ln_2), array(up.weight), up.bias)
    inner = graph.linear(_activated(graph, activation, inner), array(down.weight), down.bias)
    return graph.node("Add", x, _scaled(graph, block.ls_2, inner))


def _scaled(graph: GraphWriter, scale: Any, x: str) -> str:
    gamma = getattr(scale, "gamma", None)
    return x if gamma is None else graph.node("Mul", x, graph.weight(array(gamma)))


def _activated(graph: GraphWriter, activation: Any, x: str) -> str:
    from open_clip.transformer import QuickGELU
    from torch import nn

    if type(activation) is nn.GELU:
        return graph.node("Gelu", x, approximate=activation.approximate)
    if type(activation) is QuickGELU:
        return graph.node("Mul", x, graph.node("Sigmoid", graph.node("Mul", x, graph.weight(np.float32(1.702)))))
    raise UnknownTowerError(f"it has the activation {type(activation).__name__}")


def _pooled(graph: GraphWriter, layers: Any, x: str) -> str:
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
