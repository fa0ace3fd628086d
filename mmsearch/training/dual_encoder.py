"""Captioned photos and a model to begin from go in; a model that mmsearch can index with comes out, with its figures.

A model begins as one of three: the built-in one or another in its format, whose heads learn; any open_clip model; or
published weights of a backbone and of a sentence encoder, of which a new model in the built-in format is made in two
stages, as ``mini`` was.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmsearch.encoders.mini import MODELS
from mmsearch.training.checkpoints import Checkpoints
from mmsearch.training.classes import class_names, fill_prompt
from mmsearch.training.features import CaptionInputs, DevSet, PairBatches, PhotoInputs
from mmsearch.training.metrics import Metrics
from mmsearch.training.mini_images import TunedImages
from mmsearch.training.mini_texts import MiniTexts
from mmsearch.training.mini_towers import folder_towers, published_towers
from mmsearch.training.objectives import ClassKnowledge, Objective, Refitting
from mmsearch.training.place import Data, Place, Report
from mmsearch.training.recipe import FINE_CLIP, FINE_MINI, HEADS, REFITTED, TUNED, Recipe
from mmsearch.training.sampling import BatchSampler
from mmsearch.training.saving import in_integers, save_mini, save_open_clip_towers
from mmsearch.training.towers import DualEncoder
from mmsearch.training.trainer import Outcome, Trainer

__all__ = [
    "FINE_CLIP",
    "FINE_MINI",
    "HEADS",
    "REFITTED",
    "TUNED",
    "Data",
    "Place",
    "Published",
    "Report",
    "build",
    "fine_tune",
]

CLASS_PROMPT = "a photo of a {}"


@dataclass(frozen=True, slots=True)
class Published:
    """Published weights to make a new model of.

    Attributes:
        backbone: ImageNet weights of an EfficientNet-lite (``.pth``).
        sentences: Folder of a BERT-like sentence encoder.
        hidden, dim: Of the heads.
        tuned_units: Last units of the backbone that learn in the second stage.
        tuned_layers: Last layers of the sentence encoder that learn in the second stage.
    """

    backbone: Path
    sentences: Path
    architecture: str = "tf_efficientnet_lite2"
    side: int = 260
    hidden: int = 1536
    dim: int = 256
    tuned_units: int = 3
    tuned_layers: int = 4


def fine_tune(
    model: str,
    data: Data,
    recipe: Recipe,
    place: Place,
    *,
    lock: Literal["none", "image", "text"] = "none",
    unlocked: int = 0,
    text_layers: int = 0,
    offline: bool = False,
) -> Report:
    """Go on training a model.

    Args:
        model: ``mini``, the folder of a model in its format, or the id of any open_clip model.
        data: What to learn from.
        recipe: How.
        place: Where.
        lock: For an open_clip model: which tower keeps its weights (LiT; Zhai et al. 2022, arXiv 2111.07991).
        unlocked: Of a locked tower, how many of its last groups learn all the same.
        text_layers: For a model in the built-in format: how many of the text tower's last layers learn.
        offline: Never fetch weights.

    Raises:
        MmsearchError: As the parts say.
    """
    place.prepare()
    if model.startswith("open_clip/"):
        from mmsearch.training.open_clip_towers import load_open_clip_towers

        dual: DualEncoder = load_open_clip_towers(
            model, lock=lock, unlocked=unlocked, offline=offline, notify=place.notify
        )
    else:
        folder = MODELS if model == "mini" else Path(model.removeprefix("mini/"))
        dual = folder_towers(folder)
        assert isinstance(dual.texts, MiniTexts)
        dual.texts.tune(text_layers)
    settings = {"model": model, "lock": lock, "unlocked": unlocked, "text_layers": text_layers}
    dev = DevSet(dual, data.dev, place.work, place.progress)
    before = dev.figures(dual.to(place.device).eval())
    outcome = _stage("train", dual, data, dev, recipe, place, settings)
    dual = dual.to("cpu").eval()
    dev = DevSet(dual, data.dev, place.work)
    trained = dev.figures(dual)
    if model.startswith("open_clip/"):
        id, exported, parity = save_open_clip_towers(dual, data.dev, dev, place)
    else:
        id, exported, parity = save_mini(dual, data, dev, place)
    report = Report(
        id,
        place.model,
        len(data.train.images),
        len(data.train.captions),
        {"train": outcome},
        before,
        trained,
        exported,
        parity,
        {"train": recipe},
    )
    return _finish(report, place)


def build(
    published: Published,
    data: Data,
    place: Place,
    *,
    heads: Recipe = HEADS,
    tuned: Recipe | None = TUNED,
    refitted: Recipe | None = REFITTED,
) -> Report:
    """Make a new model in the built-in format out of published weights.

    Args:
        published: The weights.
        data: What to learn from.
        place: Where.
        heads: How the heads learn, on features that are frozen.
        tuned: How the last units and layers learn with them; None leaves that out.
        refitted: How the image head learns to read features in integers; None leaves that out.

    Raises:
        MmsearchError: As the parts say.
    """
    place.prepare()
    torch.manual_seed(heads.seed)
    dual, classifier = published_towers(
        published.backbone,
        published.sentences,
        place.work / "vocabulary.txt",
        architecture=published.architecture,
        side=published.side,
        tuned=published.tuned_units,
        hidden=published.hidden,
        dim=published.dim,
    )
    images, texts = dual.images, dual.texts
    assert isinstance(images, TunedImages) and isinstance(texts, MiniTexts)
    settings = {key: str(value) for key, value in asdict(published).items()}
    prompts = [fill_prompt(CLASS_PROMPT, name) for name in class_names()]
    names = texts.tokenise(prompts)
    photos = PhotoInputs(images, data.train.images, heads.views, place.work, seed=heads.seed, progress=place.progress)
    _centre(images, photos)
    knowledge = _knowledge(classifier, torch.from_numpy(texts.frozen(names)).clone(), heads)
    dev = DevSet(dual, data.dev, place.work, place.progress)
    stages = {"heads": _stage("heads", dual, data, dev, heads, place, settings, knowledge)}
    recipes = {"heads": heads}
    if tuned is not None:
        images.tune()
        texts.tune(published.tuned_layers)
        dev = DevSet(dual, data.dev, place.work)
        knowledge = _knowledge(classifier, names, tuned)
        stages["tuned"] = _stage("tuned", dual, data, dev, tuned, place, {**settings, **_flat(heads)}, knowledge)
        recipes["tuned"] = tuned
    dual = dual.to("cpu").eval()
    trained = dev.figures(dual)
    dual, parity = in_integers(dual, data, dev, place)
    dev = DevSet(dual, data.dev, place.work, place.progress)
    rough = dev.figures(dual)
    if refitted is not None:
        known = {**settings, **_flat(heads), **_flat(tuned or heads)}
        stages["integers"] = _stage("integers", dual, data, dev, refitted, place, known, Refitting(refitted))
        recipes["integers"] = refitted
    id, exported, written = save_mini(dual.to("cpu").eval(), data, dev, place)
    report = Report(
        id,
        place.model,
        len(data.train.images),
        len(data.train.captions),
        stages,
        None,
        trained,
        exported,
        {"images": parity, "images_refitted": written["images"], "texts": written["texts"]},
        recipes,
        rough,
    )
    return _finish(report, place)


def _knowledge(classifier: tuple[torch.Tensor, torch.Tensor], names: Any, recipe: Recipe) -> ClassKnowledge | None:
    """What the classifier says, unless the recipe gives it no weight."""
    wanted = recipe.class_weight or recipe.mixed_weight
    return ClassKnowledge(classifier, names, recipe) if wanted else None


def _stage(
    name: str,
    dual: DualEncoder,
    data: Data,
    dev: DevSet,
    recipe: Recipe,
    place: Place,
    settings: dict[str, Any],
    beside: ClassKnowledge | Refitting | None = None,
) -> Outcome:
    """One run of the trainer."""
    photos = PhotoInputs(
        dual.images, data.train.images, recipe.views, place.work, seed=recipe.seed, progress=place.progress
    )
    captions = CaptionInputs(
        dual.texts,
        data.train.captions,
        recipe.caption_views,
        place.work,
        share=recipe.caption_share,
        seed=recipe.seed,
        progress=place.progress,
    )
    sampler = BatchSampler(data.train, recipe.batch, recipe.captions, recipe.seed, alpha=recipe.balance)
    known = json.dumps([name, settings, _flat(recipe), dual.images.key, dual.texts.key, data.names()], default=str)
    return Trainer(
        dual,
        PairBatches(sampler, photos, captions),
        beside if isinstance(beside, Refitting) else Objective(dual, recipe, beside),
        recipe.schedule(),
        Checkpoints(place.work / f"{name}.pt", hashlib.sha256(known.encode()).hexdigest()),
        Metrics(place.metrics),
        stage=name,
        evaluate=dev.figures,
        device=place.device,
        progress=place.progress,
    ).run()


def _flat(recipe: Recipe) -> dict[str, str]:
    return {key: str(value) for key, value in asdict(recipe).items()}


def _centre(images: TunedImages, photos: PhotoInputs) -> None:
    """Give the head the mean and the spread of the features, which it takes out first."""
    chosen = np.arange(len(photos.photos))
    parts = [
        images.features(photos.rows(part, [0] * len(part))) for part in np.array_split(chosen, len(chosen) // 512 + 1)
    ]
    features = torch.cat(parts)
    images.head.center.copy_(features.mean(0))
    images.head.spread.copy_(features.std(0) + 0.05)


def _finish(report: Report, place: Place) -> Report:
    from mmsearch.training.metrics import plot

    place.report.write_text(json.dumps(report.to_dict(), indent=1, default=str) + "\n", encoding="utf-8")
    plot(Metrics(place.metrics).lines(), place.plot)
    return report
