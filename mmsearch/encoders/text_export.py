"""The text tower of an open_clip model in, an ONNX file and its tokenizer out, checked against the original.

Importing torch and open_clip takes seconds and most of a gigabyte; a query should not pay for that. So each model's
text tower is exported once, and `mmsearch.encoders.text_tower` runs it from then on.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.model_folder import TextMeta, unwritable
from mmsearch.encoders.text_check import PROBES, NotExportableError, check_embeddings, check_tokens, first_line
from mmsearch.encoders.text_graph import UnknownTowerError, write_text_graph
from mmsearch.encoders.text_tokens import MERGES, VOCABULARY

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["NotExportableError", "export_text_tower", "is_simple", "reference_embeddings", "text_layers"]

_CLEANERS = ("lower", "whitespace", "canonicalize")


def export_text_tower(model: nn.Module, tokenizer: Any, folder: Path) -> TextMeta:
    """Write ``text.onnx``, its weights and its tokenizer into a folder, and compare them with the original.

    Args:
        model: An open_clip model on the CPU, in float32 and `eval` mode.
        tokenizer: From `open_clip.get_tokenizer`.
        folder: Empty, inside the model's folder.

    Raises:
        NotExportableError: This model or tokenizer cannot be exported, or the result is not the same.
        StorageError: The disk is full or not writable.
    """
    meta = _write_tokenizer(tokenizer, folder)
    tower, trimmed = text_layers(model, simple=meta.wrap is not None)
    meta = replace(meta, trimmed=trimmed)
    check_tokens(tokenizer(list(PROBES)).numpy(), folder, meta)
    try:
        write_text_graph(model, folder / "text.onnx", context_length=meta.context_length, trimmed=trimmed)
    except UnknownTowerError:
        _write_tower(tower, folder / "text.onnx", meta)
    check_embeddings(reference_embeddings(model, tokenizer, list(PROBES)), folder, meta)
    return meta


def reference_embeddings(model: nn.Module, tokenizer: Any, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Embed texts in torch: (n, dim) float32, rows L2-normalised."""
    import torch

    device = next(model.parameters()).device
    with torch.inference_mode():
        features = model.encode_text(tokenizer(texts).to(device))  # type: ignore[operator]
        rows: np.ndarray[Any, np.dtype[np.float32]] = (
            torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
        )
    return rows


def _write_tokenizer(tokenizer: Any, folder: Path) -> TextMeta:
    from open_clip.tokenizer import get_clean_fn

    cleaners = {get_clean_fn(name): name for name in _CLEANERS}
    simple = is_simple(tokenizer)
    clean = cleaners.get(getattr(tokenizer, "clean_fn", get_clean_fn("canonicalize")))  # SigLIP's own has no choice
    if clean is None or getattr(tokenizer, "reduction_fn", None) or getattr(tokenizer, "tokenizer_mode", None):
        raise NotExportableError("its tokenizer has a mode of its own")
    length = int(tokenizer.context_length)
    try:
        if simple:
            _write_byte_pairs(tokenizer, folder)
        else:
            _backend_tokenizer(tokenizer, length).save(str(folder / "tokenizer.json"), pretty=False)
    except NotExportableError:
        raise
    except Exception as error:  # tokenizers raises bare exceptions
        raise unwritable(folder, OSError(str(error))) from error
    if simple:
        wrap = (int(tokenizer.sot_token_id), int(tokenizer.eot_token_id))
        special = tuple(str(tokenizer.decoder[token]) for token in tokenizer.all_special_ids)
        return TextMeta(folder.name, length, False, pad_id=0, clean=clean, wrap=wrap, special=special)
    inner = tokenizer.tokenizer
    zeroed = int(inner.sep_token_id) if getattr(tokenizer, "strip_sep_token", False) else None
    return TextMeta(
        folder.name, length, trimmed=False, pad_id=int(inner.pad_token_id), clean=clean, wrap=None, zeroed=zeroed
    )


def _write_byte_pairs(tokenizer: Any, folder: Path) -> None:
    """CLIP's own byte-pair encoding as the two files that load twice as fast as a tokenizer.json."""
    merges = [f"{left} {right}\n" for left, right in tokenizer.bpe_ranks]  # in the order of their ranks
    (folder / VOCABULARY).write_text(json.dumps(tokenizer.encoder, ensure_ascii=False), encoding="utf-8")
    (folder / MERGES).write_text("".join(["#version: 0.2\n", *merges]), encoding="utf-8")


def _backend_tokenizer(tokenizer: Any, length: int) -> Any:
    """The Rust tokenizer inside a transformers one, told to cut and pad as open_clip asks for it at every call."""
    from tokenizers import Tokenizer

    inner = tokenizer.tokenizer
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is None or inner.pad_token is None:
        raise NotExportableError("its tokenizer has no fast form")
    converted = Tokenizer.from_str(backend.to_str())
    converted.enable_truncation(length, direction=inner.truncation_side)
    converted.enable_padding(
        direction=inner.padding_side, pad_id=inner.pad_token_id, pad_token=inner.pad_token, length=length
    )
    return converted


def is_simple(tokenizer: Any) -> bool:
    """Whether it is CLIP's own byte-pair tokenizer, which ends a text with its largest token and pads with zeros."""
    from open_clip.tokenizer import SimpleTokenizer

    return isinstance(tokenizer, SimpleTokenizer)


def text_layers(model: Any, *, simple: bool) -> tuple[nn.Module, bool]:
    """A module from tokens to normalised embeddings, and whether it takes fewer tokens than its context length.

    In a causal tower nothing that follows the end token reaches its embedding, so a query of seven tokens need not be
    padded to 77: a tenth of the work. `open_clip` always pads, hence the second form of the same layers.

    Args:
        model: An open_clip model, or what is left of it without its image tower.
        simple: Whether its tokenizer is CLIP's own, as `is_simple` says.
    """
    from open_clip.transformer import text_global_pool
    from torch import nn
    from torch.nn import functional

    class WholeTower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Tensor) -> Tensor:
            return functional.normalize(self.model.encode_text(tokens), dim=-1)

    layers = getattr(model, "text", model)
    pool = getattr(layers, "pool_type", None) or getattr(layers, "text_pool_type", None)
    end = getattr(layers, "eos_id", None) or getattr(layers, "text_eos_id", None)
    causal = (
        simple
        and type(model).__name__ in ("CLIP", "CustomTextCLIP")
        and pool in ("argmax", "eos")
        and getattr(layers, "attn_mask", None) is not None
        and getattr(layers, "cls_emb", None) is None
        and not getattr(layers, "use_pad_mask", False)
    )
    if not causal:
        return WholeTower().eval(), False

    class CausalTower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, tokens: Tensor) -> Tensor:
            layers: Any = self.layers
            length = tokens.shape[1]
            x = layers.token_embedding(tokens) + layers.positional_embedding[:length]  # (n, length) -> (n, length, w)
            x = layers.ln_final(layers.transformer(x, attn_mask=layers.attn_mask[:length, :length]))
            x = text_global_pool(x, tokens, pool, eos_token_id=end)  # -> (n, w)
            projection = layers.text_projection
            if projection is not None:
                x = projection(x) if isinstance(projection, nn.Linear) else x @ projection  # -> (n, dim)
            return functional.normalize(x, dim=-1)

    return CausalTower().eval(), True


def _write_tower(tower: nn.Module, file: Path, meta: TextMeta) -> None:
    """Have torch's own exporter write a tower of any make."""
    import torch

    tokens = torch.zeros((2, min(9, meta.context_length) if meta.trimmed else meta.context_length), dtype=torch.long)
    tokens[:, -1] = meta.wrap[1] if meta.wrap else 1
    dimensions: dict[int, Any] = {0: torch.export.Dim("texts", min=1, max=1 << 16)}
    if meta.trimmed:
        dimensions[1] = torch.export.Dim("length", min=2, max=meta.context_length)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                tower,
                (tokens,),
                dynamo=True,
                verbose=False,
                input_names=["tokens"],
                output_names=["embeddings"],
                dynamic_shapes={"tokens": dimensions},
            )
    except Exception as error:  # the exporter raises whatever its passes raise
        raise NotExportableError(f"its text tower does not convert to ONNX: {first_line(error)}") from error
    for node in program.model.graph:
        node.metadata_props.clear()  # the exporter's diary: where in whose source each node was called
    try:
        program.save(str(file), external_data=True)
    except OSError as error:
        raise unwritable(file.parent, error) from error
