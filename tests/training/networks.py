"""Small networks with random weights, saved as the published ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from mmsearch.encoders.mini import MODELS
from mmsearch.training.text_tower import SentenceTransformer

SIDE = 66  # every stride meets an odd side somewhere, where the padding is lopsided
ARCHITECTURE = "tf_efficientnet_lite0"


def random_network() -> Any:
    """timm's EfficientNet-lite0 with weights whose activations neither die away nor run over."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(ARCHITECTURE, pretrained=False).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, SIDE, SIDE))
    return network.eval()


def small_sentence_transformer() -> SentenceTransformer:
    """Two layers of width 24 over the real vocabulary."""
    torch.manual_seed(1)
    return SentenceTransformer(vocabulary=30522, positions=64, width=24, heads=12, inner=48, depth=2).eval()


def save_sentence_encoder(folder: Path) -> Path:
    """A folder as sentence encoders are published: BERT's names, ``tokenizer.json`` with the real word pieces."""
    folder.mkdir(parents=True)
    pieces = (MODELS / "mini_vocabulary.txt").read_text(encoding="utf-8").splitlines()
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    model = small_sentence_transformer()
    state = {
        "embeddings.word_embeddings.weight": model.words.weight,
        "embeddings.position_embeddings.weight": model.places.weight,
        "embeddings.token_type_embeddings.weight": torch.zeros(2, model.width),
        "embeddings.LayerNorm.weight": model.norm.weight,
        "embeddings.LayerNorm.bias": model.norm.bias,
    }
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for i, layer in enumerate(model.layers):
        for kind in ("weight", "bias"):
            for part, value in zip(("query", "key", "value"), getattr(layer.qkv, kind).chunk(3), strict=True):
                state[f"encoder.layer.{i}.attention.self.{part}.{kind}"] = value
            for ours, theirs in names.items():
                state[f"encoder.layer.{i}.{theirs}.{kind}"] = getattr(getattr(layer, ours), kind)
    save_file(
        {name: value.detach().clone().contiguous() for name, value in state.items()}, folder / "model.safetensors"
    )
    return folder


def blotches(count: int) -> np.ndarray[Any, Any]:
    """(count, SIDE, SIDE, 3) uint8 pictures of coarse random colours."""
    coarse = np.random.default_rng(0).integers(0, 255, (count, 6, 6, 3), dtype=np.uint8)
    return coarse.repeat(11, axis=1).repeat(11, axis=2)
