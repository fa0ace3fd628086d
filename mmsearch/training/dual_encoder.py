"""Captioned photos and two published networks go in, the towers of ``mini`` come out.

    python -m mmsearch.training.dual_encoder --data DATA --backbone efficientnet-lite2.pth --sentences MINILM --out OUT

The photos' side learns a head on frozen ImageNet features. The captions' side learns a head and, in a second stage, the
last layers of the sentence encoder. Both learn from pairs (InfoNCE) and from the ImageNet classifier, whose thousand
class names are drawn to the photos that it gives them to: so the space knows words that no caption holds.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.training.backbone import load_backbone
from mmsearch.training.datasets import class_names, join, read_captions
from mmsearch.training.evaluate import caption_metrics
from mmsearch.training.export import ImageTower, export_image_tower, export_text_tower, export_vocabulary
from mmsearch.training.features import (
    calibration_photos,
    photo_features,
    sentence_features,
    tokenise,
    wait_while,
)
from mmsearch.training.losses import class_distillation, contrastive
from mmsearch.training.material import Material
from mmsearch.training.recipe import Recipe
from mmsearch.training.text_tower import load_sentence_transformer
from mmsearch.training.towers import DualEncoder

__all__ = ["evaluate", "main", "train"]

logger = logging.getLogger(__name__)

PROMPT = "a photo of a {}"


def train(model: DualEncoder, material: Material, stage: int, kept: Path, pause: Path | None = None) -> None:
    """One stage of training.

    Args:
        model: Changed in place.
        material: What to learn from.
        stage: 1 trains the heads on frozen features, 2 the heads and the sentence encoder's last layers.
        kept: Where the sentence encoder's frozen features are kept.
        pause: A file that makes training wait as long as it is there.
    """
    recipe = model.recipe
    rng = np.random.default_rng((recipe.seed, stage))
    torch.manual_seed(recipe.seed)
    epochs = recipe.epochs if stage == 1 else recipe.tuned_epochs
    heads = [*model.images.parameters(), *model.texts.parameters(), model.log_scale]
    rates = [recipe.rate if stage == 1 else recipe.rate / 5]
    groups = [{"params": heads, "lr": rates[0]}]
    if stage == 1:
        sentences = _unit(sentence_features(model.sentences, material.tokens, kept, pause))
        names = _unit(sentence_features(model.sentences, material.class_tokens))
    else:
        layers = model.sentences.layers[-recipe.tuned_layers :].requires_grad_(True)
        groups.append({"params": list(layers.parameters()), "lr": recipe.tuned_rate})
        rates.append(recipe.tuned_rate)
    steps = epochs * (len(material.photos.photos) // recipe.batch)
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    each = recipe.captions if stage == 1 else recipe.tuned_captions
    owners = torch.arange(recipe.batch).repeat_interleave(each)
    weight, bias = material.classifier
    width = weight.shape[1]
    model.train()
    for step, (features, captions) in enumerate(material.batches(recipe.batch, each, epochs, rng)):
        wait_while(pause)
        if stage == 1:
            texts, classes, chosen = sentences[captions], names, torch.arange(len(names))
        else:
            chosen = torch.from_numpy(rng.choice(len(weight), min(160, len(weight)), replace=False))
            both = [material.tokens[i] for i in captions] + [material.class_tokens[i] for i in chosen]
            read = model.read(both)
            texts, classes = read[: len(captions)], read[len(captions) :]
        images = model.images(features)
        loss = contrastive(images, model.texts(texts), owners, model.scale)
        classes = model.texts(classes)
        said = torch.softmax((features[:, :width] @ weight.T + bias)[:, chosen], 1)
        loss = loss + recipe.class_weight * class_distillation(images, classes, said, recipe.class_scale)
        mixed = _pushed(features[: len(features) // 4], weight[chosen], rng)
        said = torch.softmax((mixed[:, :width] @ weight.T + bias)[:, chosen], 1)
        loss = loss + recipe.mixed_weight * class_distillation(model.images(mixed), classes, said, recipe.class_scale)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            logger.info("stage %d step %d of %d: loss %.3f", stage, step, steps, float(loss.detach()))
    model.eval()


def _pushed(features: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """Features (n, w) moved towards classes drawn at random, within what ReLU6 can give."""
    drawn = torch.from_numpy(rng.integers(0, len(weight), len(features)))
    strength = torch.from_numpy(rng.uniform(4, 12, (len(features), 1)).astype(np.float32))
    last, rest = features[:, : weight.shape[1]], features[:, weight.shape[1] :]
    return torch.cat([(last + strength * weight[drawn]).clamp(0, 6), rest], dim=1)


def _unit(features: NDArray[np.float32]) -> Tensor:
    return nn.functional.normalize(torch.from_numpy(features), dim=1)


@torch.inference_mode()
def evaluate(
    model: DualEncoder, features: Tensor, tokens: list[list[int]], owners: NDArray[np.int64], kept: Path | None = None
) -> dict[str, dict[str, float]]:
    """Retrieval in both directions, among photos that training has not seen.

    Args:
        model: Both towers.
        features: (n, width) of the photos.
        tokens: Of their captions.
        owners: For each caption the index of its photo.
        kept: Where the sentence features are kept, as long as the sentence encoder is as it came.
    """
    texts = model.texts(_unit(sentence_features(model.sentences, tokens, kept)))
    there, back = caption_metrics(model.images(features).numpy(), texts.numpy(), owners)
    return {"text_to_image": there.to_dict(), "image_to_text": back.to_dict()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both towers, export them, and write the figures beside them."""
    parser = argparse.ArgumentParser(prog="python -m mmsearch.training.dual_encoder", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with flickr8k/, coco1000/ and stamps/")
    parser.add_argument("--backbone", type=Path, required=True, help="ImageNet weights of efficientnet-lite2 (.pth)")
    parser.add_argument("--sentences", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for weights and figures; finished parts found there are taken over",
    )
    parser.add_argument("--pause", type=Path, help="training waits as long as this file is there")
    for name, default in asdict(Recipe()).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(option, type=type(default), default=default)
    given = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = Recipe(**{name: given[name] for name in asdict(Recipe())})
    data, out, pause = given["data"], given["out"], given["pause"]
    out.mkdir(parents=True, exist_ok=True)
    backbone, *classifier = load_backbone(given["backbone"], "tf_efficientnet_lite2", recipe.side, recipe.grid)
    tables = [data / "flickr8k/train", data / "coco1000", data / "stamps"]
    photos = join(read_captions(folder / "captions.csv", folder / "images") for folder in tables)
    dev = read_captions(data / "flickr8k/dev/captions.csv", data / "flickr8k/dev/images")
    words = given["sentences"] / "tokenizer.json"
    calibration = calibration_photos(photos.photos, recipe.side)
    graph = out / "backbone.onnx"
    if not graph.exists():
        export_image_tower(backbone, recipe.side, graph, calibration)
    material = Material(
        photos=photos,
        views=tuple(
            torch.from_numpy(view).float()
            for view in photo_features(
                graph, photos.photos, recipe.side, recipe.views, out, seed=recipe.seed, pause=pause
            )
        ),
        tokens=tokenise(words, photos.captions, recipe.limit),
        classifier=(classifier[0], classifier[1]),
        class_tokens=tokenise(words, [PROMPT.format(name) for name in class_names()], recipe.limit),
    )
    sentences = load_sentence_transformer(given["sentences"] / "model.safetensors")
    model = DualEncoder(recipe, material.views[0], sentences)
    (out / "dev").mkdir(exist_ok=True)
    seen = photo_features(graph, dev.photos, recipe.side, 1, out / "dev", pause=pause)[0]
    dev_features = torch.from_numpy(seen).float()
    dev_tokens = tokenise(words, dev.captions, recipe.limit)
    figures: dict[str, object] = {"recipe": asdict(recipe)}
    for stage in (1, 2) if recipe.tuned_epochs else (1,):
        trained = out / f"stage_{stage}.pt"
        if trained.exists():
            model.load_state_dict(torch.load(trained, weights_only=True))
            model.eval()
        else:
            train(model, material, stage, out / "sentences.npy", pause)
            torch.save(model.state_dict(), trained)
        figures[f"stage_{stage}"] = evaluate(
            model, dev_features, dev_tokens, dev.owners, out / "dev" / "sentences.npy" if stage == 1 else None
        )
        logger.info("stage %d: %s", stage, json.dumps(figures[f"stage_{stage}"]))
    export_image_tower(ImageTower(backbone, model.images), recipe.side, out / "mini_image.onnx", calibration)
    export_text_tower(model.sentences, model.texts, 12, recipe.limit, out / "mini_text.safetensors")
    export_vocabulary(words, out / "mini_vocabulary.txt")
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
