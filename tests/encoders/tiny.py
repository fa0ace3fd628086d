"""Tiny open_clip models of our own with seeded random weights, saved as people save theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TINY = "mmsearch-tiny"
"""The architecture that `register` makes known to open_clip."""

PREPROCESS = {
    "mean": [0.48, 0.46, 0.41],
    "std": [0.27, 0.26, 0.28],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def architecture(**text: Any) -> dict[str, Any]:
    """The configuration of a two-layer CLIP on pictures of 48 x 48 pixels; keywords change its text tower."""
    return {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 48, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, **text},
    }


def coca() -> dict[str, Any]:
    """The configuration of a tiny CoCa on the same pictures."""
    config = architecture(context_length=76, embed_cls=True, output_tokens=True)
    config["vision_cfg"] |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    # Pictures come to the decoder in the width of the embeddings.
    config["embed_dim"] = 32
    config["multimodal_cfg"] = {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    return {**config, "custom_text": True}


def register(folder: Path) -> Path:
    """Make the architecture known to open_clip by name; returns its configuration file."""
    import open_clip

    file = folder / f"{TINY}.json"
    file.write_text(json.dumps(architecture()))
    if TINY not in open_clip.list_models():
        open_clip.add_model_config(file)
    return file


def save_repository(
    folder: Path, config: dict[str, Any] | None = None, *, preprocess: dict[str, Any] = PREPROCESS, seed: int = 0
) -> Path:
    """Write ``open_clip_config.json`` and ``open_clip_model.safetensors`` as a hub repository has them."""
    folder.mkdir(parents=True, exist_ok=True)
    config = architecture() if config is None else config
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    save_weights(folder / "open_clip_model.safetensors", config, seed=seed)
    return folder


def save_weights(file: Path, config: dict[str, Any] | None = None, *, seed: int = 0) -> Path:
    """Write seeded random weights of the architecture."""
    import torch
    from open_clip import CLIP, CoCa, CustomTextCLIP
    from safetensors.torch import save_file

    options = dict(architecture() if config is None else config)
    kind = CustomTextCLIP if options.pop("custom_text", False) else CLIP
    if "multimodal_cfg" in options:
        kind = CoCa
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(**options)
        if kind is CoCa:  # what it leaves as the memory was
            torch.nn.init.normal_(model.text_decoder.text_projection, std=0.5)
        # Twice the usual spread: two layers of small weights would hardly tell one text from another.
        state = {
            name: (value * 2 if value.ndim > 1 else value).contiguous() for name, value in model.state_dict().items()
        }
    save_file(state, file)
    return file
