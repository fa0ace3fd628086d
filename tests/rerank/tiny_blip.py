"""Tiny BLIP models of our own with seeded random weights, saved as transformers saves them."""

from __future__ import annotations

import json
from pathlib import Path

MEAN, STD = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
WORDS = ("a", "dog", "cat", "on", "the", "beach", "two", "red", "bicycles", "in", "rain", "and", "thunder", "##s")
MORE = ("is", "it", "not", ",", ".")
SIZE = 48


def save_repository(folder: Path, *, seed: int = 0, older: bool = True) -> Path:
    """Write configuration, weights, processor and tokenizer as a hub repository has them.

    Args:
        folder: Is made.
        seed: Of the weights.
        older: With the settings of the processor in the file where published models have them.
    """
    import torch
    from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval, BlipImageProcessor, BlipProcessor

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *MORE]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    tokenizer = BertTokenizer.from_pretrained(str(folder), model_max_length=512)
    settings = {"size": {"height": SIZE, "width": SIZE}, "image_mean": MEAN, "image_std": STD}
    if older:
        tokenizer.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "resample": 3}))
    else:
        BlipProcessor(BlipImageProcessor(**settings), tokenizer).save_pretrained(folder)
    config = BlipConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 40,
        },
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "image_size": SIZE,
            "patch_size": 16,
        },
        image_text_hidden_size=16,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = BlipForImageTextRetrieval(config).eval()
        for parameter in model.parameters():  # with the usual spread, all pairs score alike
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    return folder
