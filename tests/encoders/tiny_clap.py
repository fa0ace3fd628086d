"""Tiny CLAP models of our own with seeded random weights, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
CORPUS = ["a dog barking on the beach", "two red bicycles", "Ein Café im Regen", "rain on a tin roof, and thunder"]
DIM = 24


def save_repository(folder: Path, *, fusion: bool = False, seed: int = 0, layers: int = 2, **text: Any) -> Path:
    """Write configuration, weights, processor and tokenizer as a hub repository has them.

    Args:
        folder: Is made.
        fusion: A model that fuses crops of long sounds.
        seed: Of the weights.
        layers: Of the text tower.
        text: What else is different in the configuration of the text tower.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(CORPUS, vocab_size=300, min_frequency=1, special_tokens=SPECIAL, show_progress=False)
    learner.save_model(str(folder))
    tokenizer = RobertaTokenizer.from_pretrained(str(folder), model_max_length=512)
    extractor = ClapFeatureExtractor(truncation="fusion" if fusion else "rand_trunc")
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    config = ClapConfig(
        text_config={
            "vocab_size": 400,
            "hidden_size": 32,
            "num_hidden_layers": layers,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            **text,
        },
        audio_config={
            "depths": [1, 1],
            "num_attention_heads": [2, 4],
            "patch_embeds_hidden_size": 16,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "enable_fusion": fusion,
        },
        projection_dim=DIM,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = ClapModel(config).eval()
        for parameter in model.parameters():  # with the usual spread, so small a model hardly tells sounds apart
            parameter.add_(torch.randn_like(parameter) * 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.fill_(-30.0)
            elif name.endswith("running_var"):
                buffer.fill_(400.0)
    model.save_pretrained(folder)
    return folder


def noise(seed: int = 0, seconds: float = 10.0, rate: int = 48_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Tones that come and go over coloured noise: no bin of its spectrum is empty."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    sound = rng.normal(0, 0.02 * (seed + 1), len(time))
    for frequency in rng.uniform(80, 12_000, 4):
        sound += 0.1 * np.sin(2 * np.pi * frequency * time) * np.sin(2 * np.pi * rng.uniform(0.1, 3) * time)
    return sound.astype(np.float32)


def encoder(folder: Path, **options: Any) -> Any:
    """The encoder of a model in a folder, on the processor."""
    from mmsearch.encoders import load_encoder

    return load_encoder(f"clap/local-dir:{folder}", device="cpu", **options)
