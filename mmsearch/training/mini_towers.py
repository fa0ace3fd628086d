"""The towers of the built-in model as they learn: an ImageNet backbone and a sentence encoder, each with a head.

They begin from published weights (`published_towers`) or from a model in the built-in format (`folder_towers`), such as
``mini`` itself.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.encoders.mini_text import read_safetensors
from mmsearch.errors import ModelMissingError
from mmsearch.training.backbone import load_backbone
from mmsearch.training.heads import Head, head_of_arrays
from mmsearch.training.mini_images import GraphImages, TunedImages
from mmsearch.training.mini_texts import MiniTexts
from mmsearch.training.text_tower import SentenceTransformer, load_sentence_transformer
from mmsearch.training.towers import DualEncoder

__all__ = ["folder_towers", "published_towers"]


def published_towers(
    backbone: Path,
    sentences: Path,
    vocabulary: Path,
    *,
    architecture: str = "tf_efficientnet_lite2",
    side: int = 260,
    grid: int = 2,
    tuned: int = 3,
    hidden: int = 1536,
    dim: int = 256,
    dropout: float = 0.4,
    text_dropout: float = 0.1,
    limit: int = 128,
) -> tuple[DualEncoder, tuple[Tensor, Tensor]]:
    """Towers with new heads on published weights.

    Args:
        backbone: ImageNet weights, a ``.pth``.
        sentences: Folder of a BERT-like sentence encoder: ``model.safetensors``, ``tokenizer.json``.
        vocabulary: Where its word pieces are written to.
        architecture: timm's name of the backbone.
        side: Side of the photos in pixels.
        grid: See `ImageBackbone`.
        tuned: Last units of the backbone that may learn.
        hidden: Width of the heads' hidden layers.
        dim: Length of the embeddings.
        dropout: Of the image head; see `Head`.
        text_dropout: Of the text head.
        limit: Tokens that a text is cut at.

    Returns:
        The model, and the ImageNet classifier's weight (1000, w) and bias (1000,).

    Raises:
        ModelMissingError: Weights are not there or not what they should be.
    """
    from mmsearch.training.export import export_vocabulary

    try:
        network, *classifier = load_backbone(backbone, architecture, side, grid)
        encoder = load_sentence_transformer(sentences / "model.safetensors")
        export_vocabulary(sentences / "tokenizer.json", vocabulary)
    except (OSError, ValueError, KeyError) as error:
        raise ModelMissingError(f"The published weights cannot be read: {error}.") from error
    images = Head(network.feature_width, hidden, dim, dropout)
    # Unit vectors of length `width` have entries about this size.
    texts = Head(encoder.width, hidden, dim, text_dropout, None, torch.full((encoder.width,), encoder.width**-0.5))
    model = DualEncoder(
        TunedImages(network, images, tuned, _hash(backbone)),
        MiniTexts(encoder, texts, vocabulary, limit, _hash(sentences / "model.safetensors")),
    )
    return model, (classifier[0], classifier[1])


def folder_towers(folder: Path) -> DualEncoder:
    """Towers of a model in the built-in format, such as ``mini`` itself: both heads learn, or more of the text tower.

    Raises:
        ModelMissingError: The folder does not hold such a model.
    """
    file = folder / "mini_text.safetensors"
    arrays, metadata = read_safetensors(file)
    try:
        shape = json.loads(metadata["shape"])
        state = {name: _unpacked(arrays, name) for name in arrays if not name.endswith("scale")}
        encoder = SentenceTransformer(
            len(state["words"]),
            len(state["places"]),
            state["words"].shape[1],
            int(shape["heads"]),
            len(state["layers.0.up.weight"]),
            int(shape["depth"]),
        )
        words, places = state.pop("words"), state.pop("places")
        own = {name: value for name, value in state.items() if not name.startswith("head.")}
        encoder.load_state_dict({**own, "words.weight": words, "places.weight": places})
        head = head_of_arrays({name: value.numpy() for name, value in state.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelMissingError(
            f"{file} is no text tower in the built-in format.", hint="Give a folder that mmsearch train has made."
        ) from error
    texts = MiniTexts(encoder, head, folder / "mini_vocabulary.txt", int(shape["limit"]), _hash(file))
    scale = float(shape.get("scale", 15.0))
    return DualEncoder(GraphImages(folder / "mini_image.onnx"), texts, scale)


def _unpacked(arrays: dict[str, NDArray[Any]], name: str) -> Tensor:
    """A matrix in floating point, whether it is kept as int8 with a scale for each row or not."""
    scale = arrays.get("words.scale" if name == "words" else f"{name.removesuffix('weight')}scale")
    value = np.array(arrays[name], np.float32)
    if scale is not None and arrays[name].dtype == np.int8:
        value *= np.asarray(scale, np.float32)[:, None]
    return torch.from_numpy(value)


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
