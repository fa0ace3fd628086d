"""The text tower of a CLAP model in, an ONNX file and its tokenizer out, checked against the original.

The tower is a RoBERTa whose first token, projected, stands for the text. Written down node by node it takes texts of
any length: what pads a batch is masked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.model_folder import TextMeta, unwritable
from mmsearch.encoders.onnx_graph import GraphWriter, UnknownTowerError, array
from mmsearch.encoders.text_check import PROBES, NotExportableError, check_embeddings, check_tokens
from mmsearch.encoders.text_tokens import CLEANERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["context_length", "export_clap_text", "reference_embeddings", "write_clap_text_graph"]

_CLEAN = "none"
_GELUS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_INT64 = 7


def export_clap_text(model: Any, tokenizer: Any, folder: Path) -> TextMeta:
    """Write ``text.onnx``, its weights and ``tokenizer.json`` into a folder, and compare them with the original.

    Args:
        model: transformers' ``ClapModel`` on the CPU, in float32 and `eval` mode.
        tokenizer: From transformers.
        folder: Empty, inside the model's folder.

    Raises:
        NotExportableError: This model or tokenizer cannot be exported, or the result is not the same.
        StorageError: The disk is full or not writable.
    """
    length, pad = context_length(model, tokenizer), int(model.text_model.embeddings.padding_idx)
    _write_tokenizer(tokenizer, length, folder)
    meta = TextMeta(folder.name, length, trimmed=True, pad_id=pad, clean=_CLEAN, wrap=None)
    check_tokens(_tokens(model, tokenizer, list(PROBES))["input_ids"].numpy(), folder, meta)
    try:
        write_clap_text_graph(model, folder / "text.onnx")
    except UnknownTowerError as error:
        raise NotExportableError(str(error)) from error
    check_embeddings(reference_embeddings(model, tokenizer, list(PROBES)), folder, meta)
    return meta


def reference_embeddings(model: Any, tokenizer: Any, texts: list[str]) -> NDArray[np.float32]:
    """Embed texts in torch: (n, dim) float32, rows L2-normalised."""
    import torch

    with torch.inference_mode():
        features = model.text_projection(model.text_model(**_tokens(model, tokenizer, texts)).pooler_output)
        rows: NDArray[np.float32] = torch.nn.functional.normalize(features.float(), dim=-1).numpy()
    return rows


def context_length(model: Any, tokenizer: Any) -> int:
    """Most tokens of a text, the marks at both ends among them."""
    embeddings = model.text_model.embeddings
    # Positions are counted from the one behind that of padding.
    positions = embeddings.position_embeddings.num_embeddings - embeddings.padding_idx - 1
    return int(min(positions, tokenizer.model_max_length))


def write_clap_text_graph(model: Any, file: Path) -> None:
    """Write ``text.onnx`` and its weights: ``tokens`` (n, length) int64 to ``embeddings`` (n, dim), L2-normalised.

    Args:
        model: transformers' ``ClapModel`` on the CPU, in float32.
        file: Of the graph; the weights come beside it.

    Raises:
        UnknownTowerError: Its text tower is of another make.
        StorageError: The disk is full or not writable.
    """
    settings = model.text_model.config
    if getattr(settings, "position_embedding_type", "absolute") != "absolute":
        raise UnknownTowerError("its positions are relative")
    try:
        with Path(f"{file}.data").open("wb") as stream:
            graph = GraphWriter(stream)
            _tower(graph, model)
            graph.save(file, ["texts", "length"])
    except OSError as error:
        raise unwritable(file.parent, error) from error


def _tower(graph: GraphWriter, model: Any) -> None:
    layers = model.text_model
    embeddings, settings = layers.embeddings, layers.config
    pad = int(embeddings.padding_idx)
    padding = graph.node("Equal", "tokens", graph.weight(np.int64(pad)))  # (n, t)
    shown = graph.node("Cast", graph.node("Not", padding), to=_INT64)
    counted = graph.node("Mul", graph.node("CumSum", shown, graph.weight(np.int64(1))), shown)
    places = graph.node("Add", counted, graph.weight(np.int64(pad)))
    # Every token is of the first type, so that type's row can go into the table of positions.
    table = array(embeddings.position_embeddings.weight) + array(embeddings.token_type_embeddings.weight)[0]
    x = graph.node("Gather", graph.weight(array(embeddings.word_embeddings.weight)), "tokens")
    x = graph.norm(graph.node("Add", x, graph.node("Gather", graph.weight(table), places)), embeddings.LayerNorm)
    hidden = graph.node(
        "Where", padding, graph.weight(np.float32(np.finfo(np.float32).min)), graph.weight(np.float32(0))
    )
    mask = graph.node("Unsqueeze", hidden, graph.integers(1, 2))  # (n, 1, 1, t)
    for layer in layers.encoder.layer:
        x = _layer(graph, layer, settings, x, mask)
    first = graph.node("Gather", x, graph.weight(np.int64(0)), axis=1)  # (n, t, w) -> (n, w)
    pooled = graph.node("Tanh", _dense(graph, first, layers.pooler.dense))
    projection = model.text_projection
    inner = _activated(graph, projection.config.projection_hidden_act, _dense(graph, pooled, projection.linear1))
    graph.normalised(_dense(graph, inner, projection.linear2), "embeddings")


def _layer(graph: GraphWriter, layer: Any, settings: Any, x: str, mask: str) -> str:
    """(n, t, w) -> (n, t, w): attention and feed-forward, a norm after each is added to what came in."""
    attention = layer.attention.self
    parts = (attention.query, attention.key, attention.value)
    weight, bias = (np.concatenate([array(getattr(part, name)) for part in parts]) for name in ("weight", "bias"))
    attended = graph.attention(x, weight, bias, settings.num_attention_heads, mask)
    output = layer.attention.output
    x = graph.norm(graph.node("Add", _dense(graph, attended, output.dense), x), output.LayerNorm)
    inner = _activated(graph, settings.hidden_act, _dense(graph, x, layer.intermediate.dense))
    return graph.norm(graph.node("Add", _dense(graph, inner, layer.output.dense), x), layer.output.LayerNorm)


def _dense(graph: GraphWriter, x: str, layer: Any) -> str:
    return graph.linear(x, array(layer.weight), layer.bias)


def _activated(graph: GraphWriter, name: str, x: str) -> str:
    if name == "relu":
        return graph.node("Relu", x)
    if name in _GELUS:
        return graph.node("Gelu", x, approximate=_GELUS[name])
    raise UnknownTowerError(f"it has the activation {name}")


def _tokens(model: Any, tokenizer: Any, texts: list[str]) -> dict[str, Any]:
    length = context_length(model, tokenizer)
    cleaned = [CLEANERS[_CLEAN](text) for text in texts]
    fed = tokenizer(cleaned, padding=True, truncation=True, max_length=length, return_tensors="pt")
    return {name: fed[name] for name in ("input_ids", "attention_mask")}


def _write_tokenizer(tokenizer: Any, length: int, folder: Path) -> None:
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise NotExportableError("its tokenizer has no fast form")
    converted = Tokenizer.from_str(backend.to_str())
    converted.enable_truncation(length, direction=tokenizer.truncation_side)
    converted.no_padding()
    try:
        converted.save(str(folder / "tokenizer.json"), pretty=False)
    except Exception as error:  # tokenizers raises bare exceptions
        raise unwritable(folder, OSError(str(error))) from error
