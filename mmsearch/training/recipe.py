"""The numbers that a training depends on besides its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmsearch.training.trainer import Schedule

__all__ = ["FINE_CLIP", "FINE_MINI", "HEADS", "REFITTED", "TUNED", "Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that one stage of training depends on besides its data.

    Attributes:
        loss: ``infonce``, ``sigmoid`` or ``hinges``; see `mmsearch.training.losses`.
        epochs: At most so many.
        batch: Photos a batch.
        captions: Captions of each photo in a batch.
        views: Views of each photo to draw from, the photo itself among them.
        caption_views: Views of each caption to draw from, the caption itself among them.
        caption_share: Share of the captions that are drawn in another view than the first.
        balance: Exponent of the sources' sizes; see `mmsearch.training.sampling.BatchSampler`.
        rates: Highest learning rates by the beginnings of parameters' names; see `mmsearch.training.trainer.Schedule`.
        decay: See there, as the next five.
        warmup: See there.
        average: See there.
        patience: See there.
        precision: See there; ``auto`` is the fastest that serves, and must be chosen before training.
        seed: Of everything random.
        keep: Weight of staying close to what the model knew before.
        class_weight: Weight of the ImageNet classifier's word on the photos, where there is a classifier.
        mixed_weight: Weight of its word on features pushed towards a class, one that the photos may never show.
        class_scale: Inverse temperature of both.
        classes_a_step: Classes that a step reads the names of.
    """

    loss: str = "infonce"
    epochs: int = 16
    batch: int = 512
    captions: int = 2
    views: int = 4
    caption_views: int = 1
    caption_share: float = 0.25
    balance: float = 1.0
    rates: Mapping[str, float] = field(default_factory=lambda: {"": 1e-3})
    decay: float = 0.1
    warmup: float = 0.1
    average: float = 0.0
    patience: int = 0
    precision: str = "fp32"
    seed: int = 0
    keep: float = 0.0
    class_weight: float = 0.0
    mixed_weight: float = 0.0
    class_scale: float = 30.0
    classes_a_step: int = 1000

    def schedule(self) -> Schedule:
        """The part of it that the trainer needs."""
        return Schedule(
            self.epochs,
            self.rates,
            self.decay,
            self.warmup,
            average=self.average,
            patience=self.patience,
            precision=self.precision,
            seed=self.seed,
        )


HEADS = Recipe(class_weight=0.2, mixed_weight=0.2, views=6, caption_views=3)
"""First stage of a new model: both heads, on features that are frozen."""

TUNED = Recipe(
    epochs=10,
    batch=384,
    captions=1,
    views=6,
    caption_views=3,
    rates={"": 3e-4, "images.backbone.": 1.5e-4, "texts.sentences.": 7e-5},
    warmup=0.15,
    average=0.97,
    precision="auto",
    class_weight=0.1,
    mixed_weight=0.2,
    classes_a_step=128,
)
"""Second stage: the heads, the last units of the backbone and the last layers of the sentence encoder."""

REFITTED = Recipe(epochs=8, batch=512, captions=1, views=2, rates={"": 1e-4}, decay=0.0, average=0.97, keep=20.0)
"""Third stage: the image head alone, on features in integers; the network in floating point teaches it."""

FINE_MINI = Recipe(
    epochs=12,
    batch=256,
    captions=2,
    caption_views=3,
    rates={"": 2e-4, "texts.sentences.": 3e-5},
    average=0.97,
    patience=3,
    keep=1.0,
)
"""Going on with a model in the built-in format."""

FINE_CLIP = Recipe(
    epochs=6,
    batch=64,
    captions=1,
    views=8,
    rates={"": 1e-5},
    average=0.97,
    patience=2,
    precision="auto",
)
"""Going on with an open_clip model."""
