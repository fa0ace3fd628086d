"""A model and a batch go in, the one number that training makes small comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmsearch.training.losses import (
    class_distillation,
    contrastive,
    embedding_distillation,
    max_of_hinges,
    sigmoid,
    similarity_distillation,
)
from mmsearch.training.mini_images import MiniImages, RefittedImages
from mmsearch.training.recipe import Recipe
from mmsearch.training.towers import DualEncoder
from mmsearch.training.trainer import Batch

__all__ = ["ClassKnowledge", "Objective", "Refitting"]

Pairs = Callable[[DualEncoder, Tensor, Tensor, Batch], Tensor]
_KEEP_SCALE = 20.0


class ClassKnowledge:
    """What an ImageNet classifier says of photos, for the shared space to say too.

    It carries the classifier's thousand words into the space, those that no caption holds. Beside the photos' own
    features it is asked about features that are pushed towards a class drawn at random, since many classes are in no
    photo of the training set.

    Args:
        classifier: Weight (classes, w) and bias (classes,) over what `MiniImages.original` gives.
        names: What the text tower's `forward` takes for a sentence with the name of each class.
        recipe: For its weights.
    """

    def __init__(self, classifier: tuple[Tensor, Tensor], names: Tensor | Sequence[Sequence[int]], recipe: Recipe):
        self.weight, self.bias = classifier
        self.names = names
        self.recipe = recipe

    def choose(self, step: int) -> list[int]:
        """The classes of a step."""
        rng = np.random.default_rng((self.recipe.seed, 21, step))
        count = min(self.recipe.classes_a_step, len(self.weight))
        return [int(i) for i in rng.choice(len(self.weight), count, replace=False)]

    def __call__(
        self, tower: MiniImages, rows: Tensor, features: Tensor, classes: Tensor, chosen: list[int], step: int
    ) -> Tensor:
        """The cross-entropy of the space's word for the classifier's.

        Args:
            tower: The image tower.
            rows: (b, ...) what it takes.
            features: (b, w) what its head reads.
            classes: (len(chosen), dim) embeddings of the names.
            chosen: The classes of this step.
            step: Its number.
        """
        weight, bias, recipe = self.weight.to(rows.device), self.bias.to(rows.device), self.recipe
        said = torch.softmax(tower.original(rows) @ weight[chosen].T + bias[chosen], 1)
        loss = recipe.class_weight * class_distillation(tower.head(features), classes, said, recipe.class_scale)
        mixed = self._mixed(tower, features[: len(features) // 4].detach(), weight[chosen], step)
        said = torch.softmax(mixed[:, : tower.taught] @ weight[chosen].T + bias[chosen], 1)
        return loss + recipe.mixed_weight * class_distillation(tower.head(mixed), classes, said, recipe.class_scale)

    def _mixed(self, tower: MiniImages, features: Tensor, weight: Tensor, step: int) -> Tensor:
        """Features (n, w) of no photo: on the way to the mean of all, pushed towards a class, with another's places."""
        rng = np.random.default_rng((self.recipe.seed, 22, step))
        count, taught = len(features), tower.taught

        def drawn(low: float, high: float) -> Tensor:
            return torch.from_numpy(rng.uniform(low, high, (count, 1)).astype(np.float32)).to(features.device)

        towards = weight[rng.integers(0, len(weight), count)]
        last = torch.lerp(features[:, :taught], tower.head.center[:taught].expand(count, -1), drawn(0, 1))
        last = (last + drawn(4, 12) * towards).clamp(0, 6)  # within what ReLU6 can give
        return torch.cat([last, features[rng.permutation(count), taught:]], dim=1)


class Objective:
    """The recipe's loss over pairs; beside it, what the model knew before, and what a classifier knows.

    Args:
        model: As it is before training, to stay close to where the recipe says so.
        recipe: Which loss, and the weights of what is beside it.
        knowledge: Of a classifier, for the built-in model's towers.
    """

    def __init__(self, model: DualEncoder, recipe: Recipe, knowledge: ClassKnowledge | None = None) -> None:
        self.pairs = _pairs(recipe.loss)
        self.keep = recipe.keep
        self.before = copy.deepcopy(model).eval().requires_grad_(False) if recipe.keep else None
        self.knowledge = knowledge

    def __call__(self, model: DualEncoder, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""
        if self.knowledge is None:
            images, texts = model.images(batch.images), model.texts(batch.texts)
            loss = self.pairs(model, images, texts, batch)
        else:
            tower = model.images
            assert isinstance(tower, MiniImages)
            chosen = self.knowledge.choose(batch.step)
            features = tower.features(batch.images)
            images = tower.head(features)
            # Captions and names go through the tower together, since it works faster in large batches.
            both: Any
            if isinstance(self.knowledge.names, Tensor):
                both = torch.cat([batch.texts, self.knowledge.names.to(images.device)[chosen]])
            else:
                both = [*batch.texts, *(self.knowledge.names[i] for i in chosen)]
            embedded = model.texts(both)
            texts, classes = embedded[: len(batch.owners)], embedded[len(batch.owners) :]
            loss = self.pairs(model, images, texts, batch)
            loss = loss + self.knowledge(tower, batch.images, features, classes, chosen, batch.step)
        if self.before is not None:
            before = self.before.to(images.device)
            with torch.no_grad():
                known = before.images(batch.images), before.texts(batch.texts)
            loss = loss + self.keep * similarity_distillation((images, texts), known, _KEEP_SCALE, _KEEP_SCALE)
        return loss


class Refitting:
    """The recipe's loss over pairs, and the distance from what the image tower gave in floating point.

    Args:
        recipe: Which loss; `keep` is the weight of the distance.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.pairs = _pairs(recipe.loss)
        self.keep = recipe.keep

    def __call__(self, model: DualEncoder, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""
        tower = model.images
        assert isinstance(tower, RefittedImages)
        images = tower(batch.images)
        loss = self.pairs(model, images, model.texts(batch.texts), batch)
        return loss + self.keep * embedding_distillation(images, tower.wanted(batch.images))


def _pairs(name: str) -> Pairs:
    """The loss of a name."""
    if name == "sigmoid":
        return lambda model, images, texts, batch: sigmoid(
            images, texts, batch.owners, model.scale, model.bias, ignored=batch.ignored
        )
    if name == "hinges":
        hinges = partial(max_of_hinges, negatives="hardest")
        return lambda model, images, texts, batch: hinges(images, texts, batch.owners, ignored=batch.ignored)
    return lambda model, images, texts, batch: contrastive(
        images, texts, batch.owners, model.scale, ignored=batch.ignored
    )
