"""Trained towers go in, a folder that mmsearch can use comes out, checked against them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.training.captions import CaptionedImages
from mmsearch.training.features import DevSet, PhotoInputs
from mmsearch.training.mini_images import GraphImages, MiniImages, RefittedImages, TunedImages
from mmsearch.training.mini_texts import MiniTexts
from mmsearch.training.place import Data, Place
from mmsearch.training.towers import DualEncoder
from mmsearch.training.trainer import Figures

__all__ = ["in_integers", "save_mini", "save_open_clip_towers"]

PARITY = 0.999
"""The least cosine between what was trained and what is written, before anything is put into integers."""
_CHECKED = 64
_REFIT_DROPOUT = 0.1


def in_integers(dual: DualEncoder, data: Data, dev: DevSet, place: Place) -> tuple[DualEncoder, float]:
    """The model with its image tower in integers, whose head is to be fitted anew, and the parity before integers."""
    from mmsearch.training.export import ExportedImages, export_image_tower, graph_of

    images, texts = dual.images, dual.texts
    assert isinstance(images, TunedImages) and isinstance(texts, MiniTexts)
    network = ExportedImages(images.backbone, images.head)
    graph, file = graph_of(network, images.side), place.work / "integers.onnx"
    export_image_tower(network, images.side, file, _calibration(images, data.train.images))
    tower = RefittedImages(file, graph)
    tower.head.dropout = _REFIT_DROPOUT
    texts.settle()
    whole = DualEncoder(tower, texts, float(dual.scale.detach())).eval()
    photos = PhotoInputs(tower, data.dev.images[:_CHECKED], 1, place.work)
    taught = tower.wanted(photos.rows(range(len(photos.photos)), [0] * len(photos.photos))).numpy()
    parity = _least_cosine(dev.embed(dual)[0], taught)
    _check({"images": parity})
    return whole, parity


def save_mini(dual: DualEncoder, data: Data, dev: DevSet, place: Place) -> tuple[str, Figures, dict[str, float]]:
    """Write a model in the built-in format; its id, figures and parity."""
    from mmsearch.encoders import load_encoder
    from mmsearch.encoders.mini import MiniEncoder
    from mmsearch.training.export import export_text_tower, replace_head
    from mmsearch.training.text_graphs import export_text_graph

    images, texts = dual.images, dual.texts
    assert isinstance(images, GraphImages) and isinstance(texts, MiniTexts)
    part = place.out / "model.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    shutil.copyfile(texts.vocabulary, part / "mini_vocabulary.txt")
    export_text_tower(
        texts.sentences,
        texts.head,
        texts.limit,
        part / "mini_text.safetensors",
        side=images.side,
        scale=float(dual.scale.detach()),
    )
    export_text_graph(part)
    expected = dev.embed(dual)
    replace_head(images.file, images.head, part / "mini_image.onnx")
    (part / "model.json").write_text(
        json.dumps({"name": place.out.resolve().name, "photos": len(data.train.images)}) + "\n", encoding="utf-8"
    )
    encoder = MiniEncoder(models=part)
    photos, captions = _encoded(encoder, data.dev)
    parity = {"images": _least_cosine(expected[0], photos), "texts": _least_cosine(expected[1], captions)}
    _check(parity)
    exported = _figures(encoder, data.dev)
    shutil.rmtree(place.model, ignore_errors=True)
    part.replace(place.model)
    return load_encoder(str(place.model.resolve())).id, exported, parity


def save_open_clip_towers(
    dual: DualEncoder, dev_images: CaptionedImages, dev: DevSet, place: Place
) -> tuple[str, Figures, dict[str, float]]:
    """Write a model as open_clip reads it; its id, figures and parity."""
    from mmsearch.encoders import load_encoder
    from mmsearch.training.open_clip_folder import save_open_clip
    from mmsearch.training.open_clip_towers import OpenClipDual

    assert isinstance(dual, OpenClipDual)
    save_open_clip(dual, place.model)
    id = f"open_clip/local-dir:{place.model.resolve()}"
    encoder = load_encoder(id, device="cpu", precision="fp32", offline=True)
    expected, written = dev.embed(dual), _encoded(encoder, dev_images)
    parity = {
        "images": _least_cosine(expected[0], written[0]),
        "texts": _least_cosine(expected[1], written[1]),
    }
    _check(parity)
    return id, _figures(encoder, dev_images), parity


def _encoded(encoder: Any, images: CaptionedImages) -> tuple[Any, Any]:
    """Embeddings of the first photos and captions, as the index gets them."""
    from mmsearch.training.datasets import read_photo

    photos = [encoder.prepare_image(read_photo(path, encoder.image_size)) for path in images.images[:_CHECKED]]
    return encoder.encode_images(photos), encoder.encode_texts(list(images.captions[:_CHECKED]))


def _figures(encoder: Any, images: CaptionedImages) -> Figures:
    """Both directions of retrieval, as the index will have it."""
    from mmsearch.training.datasets import read_photo
    from mmsearch.training.evaluate import caption_metrics

    parts = []
    for start in range(0, len(images.images), _CHECKED):
        chosen = images.images[start : start + _CHECKED]
        parts.append(encoder.encode_images([encoder.prepare_image(read_photo(p, encoder.image_size)) for p in chosen]))
    captions = encoder.encode_texts(list(images.captions))
    there, back = caption_metrics(np.concatenate(parts), captions, images.owners)
    return {"text_to_image": there.to_dict(), "image_to_text": back.to_dict()}


def _calibration(images: MiniImages, photos: Sequence[Path], count: int = 160) -> Any:
    """Photos, evenly spread, that show which ranges the activations take."""
    from mmsearch.training.datasets import read_photo

    chosen = list(photos)[:: max(1, len(photos) // count)][:count]
    return np.stack([images.prepare(read_photo(path, images.side)) for path in chosen])


def _least_cosine(expected: Any, written: Any) -> float:
    rows = min(len(expected), len(written))
    return round(float((expected[:rows] * written[:rows]).sum(1).min()), 5)


def _check(parity: dict[str, float]) -> None:
    for side, cosine in parity.items():
        if not cosine >= PARITY:
            raise EncoderError(
                f"The written model gives other embeddings of {side} than the trained one: {cosine:.4f}."
            )
