"""Captioned photos and a model to begin from go in; a model that mmsearch can index with comes out, with its figures.

A model begins as one of three: the built-in one or another in its format, whose heads learn; any open_clip model; or
published weights of a backbone and of a sentence encoder, of which a new model in the built-in format is made in two
stages, as ``mini`` was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mmsearch.encoders.mini import MODELS
from mmsearch.errors import EncoderError, UsageError
from mmsearch.training.captions import CaptionedImages
from mmsearch.training.checkpoints import Checkpoints
from mmsearch.training.classes import class_names, fill_prompt
from mmsearch.training.features import CaptionInputs, DevSet, PairBatches, PhotoInputs, ProgressCallback
from mmsearch.training.metrics import Metrics
from mmsearch.training.mini_towers import (
    GraphImages,
    MiniImages,
    MiniTexts,
    RefittedImages,
    TunedImages,
    folder_towers,
    published_towers,
)
from mmsearch.training.objectives import ClassKnowledge, Objective, Refitting
from mmsearch.training.recipe import FINE_CLIP, FINE_MINI, HEADS, REFITTED, TUNED, Recipe
from mmsearch.training.sampling import BatchSampler
from mmsearch.training.towers import DualEncoder
from mmsearch.training.trainer import Figures, Outcome, Trainer

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

CLASS_PROMPTS = ("a photo of a {}", "{}", "a {}", "a picture of a {}")
PARITY = 0.999
"""The least cosine between what was trained and what is written, before anything is put into integers."""
_CHECKED = 64
_REFIT_DROPOUT = 0.1


@dataclass(frozen=True, slots=True)
class Data:
    """What to learn from, and what to measure with.

    Attributes:
        train: Photos and captions.
        dev: Others, never learned from; the best epoch and the figures come from them.
    """

    train: CaptionedImages
    dev: CaptionedImages


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training happens.

    Attributes:
        out: Folder for the model, the figures, the plot and what is kept to go on from.
        device: ``cpu``, ``cuda`` and so on.
        fresh: Begin anew, whatever `out` holds.
        progress: Called as photos, captions and steps are done.
        notify: Called with a sentence before something that takes long.
    """

    out: Path
    device: str = "cpu"
    fresh: bool = False
    progress: ProgressCallback = None
    notify: Callable[[str], None] | None = None

    @property
    def work(self) -> Path:
        """Folder of what is kept to go on from; it can be deleted when the training is done."""
        return self.out / "work"

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.out / "model"

    def prepare(self) -> None:
        """Make the folder, empty of an earlier run if that is wanted.

        Raises:
            UsageError: There is something that is no folder, or it holds something else.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is no folder.", hint="Choose another --out.")
        if self.fresh:
            for path in (self.work, self.model):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.metrics, self.plot, self.report):
                path.unlink(missing_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)

    @property
    def metrics(self) -> Path:
        """Figures of each step and epoch, one JSON object a line."""
        return self.out / "metrics.jsonl"

    @property
    def plot(self) -> Path:
        """Picture of loss and recall."""
        return self.out / "training.png"

    @property
    def report(self) -> Path:
        """What came out, in JSON."""
        return self.out / "report.json"


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of a training.

    Attributes:
        model: Id to use it by.
        folder: Where it lies.
        photos, captions: What was learned from.
        stages: How each stage ended.
        before: Figures on the dev set before training; None for a new model.
        trained: After training, as it was trained.
        exported: As it was written: in integers for a model in the built-in format.
        parity: Least cosine between trained and written embeddings, of photos and of captions, before integers.
        recipes: How each stage learned.
        in_integers: Figures of a new model's image tower in integers, before its head was fitted to them.
    """

    model: str
    folder: Path
    photos: int
    captions: int
    stages: dict[str, Outcome]
    before: Figures | None
    trained: Figures
    exported: Figures
    parity: dict[str, float]
    recipes: dict[str, Recipe] = field(default_factory=dict)
    in_integers: Figures | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {
            "model": self.model,
            "photos": self.photos,
            "captions": self.captions,
            "before": self.before,
            "trained": self.trained,
            "in_integers": self.in_integers,
            "exported": self.exported,
            "parity": self.parity,
            "stages": {
                name: {"epochs": end.epochs, "best_epoch": end.best_epoch, "stopped_early": end.stopped_early}
                for name, end in self.stages.items()
            },
            "recipes": {name: asdict(recipe) for name, recipe in self.recipes.items()},
        }


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
        id, exported, parity = _save_open_clip(dual, data.dev, dev, place)
    else:
        id, exported, parity = _save_mini(dual, data, dev, place)
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
    prompts = [fill_prompt(prompt, name) for name in class_names() for prompt in CLASS_PROMPTS[:1]]
    names = texts.tokenise(prompts)
    photos = PhotoInputs(images, data.train.images, heads.views, place.work, seed=heads.seed, progress=place.progress)
    _centre(images, photos)
    knowledge = _knowledge(classifier, torch.from_numpy(texts.frozen(names)), heads)
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
    dual, parity = _in_integers(dual, data, dev, place)
    dev = DevSet(dual, data.dev, place.work, place.progress)
    rough = dev.figures(dual)
    if refitted is not None:
        known = {**settings, **_flat(heads), **_flat(tuned or heads)}
        stages["integers"] = _stage("integers", dual, data, dev, refitted, place, known, Refitting(refitted))
        recipes["integers"] = refitted
    id, exported, written = _save_mini(dual.to("cpu").eval(), data, dev, place)
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


def _in_integers(dual: DualEncoder, data: Data, dev: DevSet, place: Place) -> tuple[DualEncoder, float]:
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
    known = json.dumps([name, settings, _flat(recipe), dual.images.key, dual.texts.key, _names(data)], default=str)
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


def _names(data: Data) -> list[Any]:
    """The photos' names and the captions: whether it is the same data."""
    parts = [*(path.name for path in data.train.images), *data.train.captions, *(p.name for p in data.dev.images)]
    return [len(data.train.images), hashlib.sha256("\n".join(parts).encode()).hexdigest()]


def _centre(images: TunedImages, photos: PhotoInputs) -> None:
    """Give the head the mean and the spread of the features, which it takes out first."""
    chosen = np.arange(len(photos.photos))
    parts = [
        images.features(photos.rows(part, [0] * len(part))) for part in np.array_split(chosen, len(chosen) // 512 + 1)
    ]
    features = torch.cat(parts)
    images.head.center.copy_(features.mean(0))
    images.head.spread.copy_(features.std(0) + 0.05)


def _save_mini(dual: DualEncoder, data: Data, dev: DevSet, place: Place) -> tuple[str, Figures, dict[str, float]]:
    """Write a model in the built-in format; its id, figures and parity."""
    from mmsearch.encoders import load_encoder
    from mmsearch.encoders.mini import MiniEncoder
    from mmsearch.training.export import export_text_tower, replace_head

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


def _save_open_clip(
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


def _finish(report: Report, place: Place) -> Report:
    from mmsearch.training.metrics import plot

    place.report.write_text(json.dumps(report.to_dict(), indent=1, default=str) + "\n", encoding="utf-8")
    plot(Metrics(place.metrics).lines(), place.plot)
    return report
