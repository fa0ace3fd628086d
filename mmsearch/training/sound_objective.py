"""A batch of mixed sounds goes in, how far their embeddings are from what is said of them comes out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mmsearch.training.losses import embedding_distillation
from mmsearch.training.sound_network import SoundLearner
from mmsearch.training.sound_targets import SoundTargets

__all__ = ["SoundBatch", "SoundObjective"]

_OTHERS = 200  # sentences and pictures of other things that a step compares with
_OTHER_WEIGHT = 0.3  # how much one of them counts as a wrong answer
_PHRASES = 3  # whose mean stands for a name in one step
_NEVER = -1e4


@dataclass(frozen=True, slots=True)
class SoundBatch:
    """What one step learns from.

    Attributes:
        heard: (b, bands, frames).
        labels: (b,) name of each sound.
        others: (b,) name of the sound that is mixed into it.
        shares: (b,) how much of it is the first.
        step: Number of the step that it is for.
    """

    heard: Tensor
    labels: Tensor
    others: Tensor
    shares: Tensor
    step: int

    def to(self, device: torch.device) -> SoundBatch:
        """The same on a device."""
        held = {name: getattr(self, name) for name in ("heard", "labels", "others", "shares")}
        moved: dict[str, Any] = {name: value.to(device) for name, value in held.items()}
        return replace(self, **moved)


class SoundObjective:
    """Draws sounds to sentences and pictures of what they are, and away from all others.

    Four parts, each an average over the batch: cross-entropy from a sound to all names and to sentences about other
    things; from a sentence to the sounds of the batch; from a sound to pictures; and the cosine to the mean sentence. A
    mixture has a share of both its names. Names that mean about the same are no wrong answers to each other.

    Args:
        targets: Where names, sentences and pictures are.
        seed: Of the choice among them.
        back: Weight of the second part.
        seen: Weight of the third part.
        near: Weight of the fourth part.
    """

    def __init__(self, targets: SoundTargets, *, seed: int, back: float, seen: float, near: float) -> None:
        self.phrases = targets.phrases
        self.pictures = targets.pictures
        self.means = torch.from_numpy(targets.means).clone()
        self.alike = torch.from_numpy(targets.alike).clone()
        self.has_picture = torch.tensor([len(own) > 0 for own in targets.pictures])
        self.sentences = torch.from_numpy(targets.sentences).clone(), torch.from_numpy(targets.near_sentences).clone()
        self.views = torch.from_numpy(targets.views).clone(), torch.from_numpy(targets.near_views).clone()
        self.seed = seed
        self.back, self.seen, self.near = back, seen, near

    def __call__(self, model: SoundLearner, batch: SoundBatch) -> Tensor:
        """The loss of one step."""
        rng = np.random.default_rng((self.seed, 47, batch.step))
        z = model.sounds(batch.heard).float().cpu()  # (b, dim)
        batch, scale = batch.to(torch.device("cpu")), model.scale.cpu()
        loss = self._row(z, scale, batch, self._names(rng), self.sentences, rng)
        if self.near:
            both = (
                batch.shares[:, None] * self.means[batch.labels]
                + (1 - batch.shares)[:, None] * self.means[batch.others]
            )
            loss = loss + self.near * embedding_distillation(z, both)
        if self.back:
            loss = loss + self.back * self._column(z, scale, batch, rng)
        if self.seen and bool(self.has_picture[batch.labels].any()):
            loss = loss + self.seen * self._row(z, scale, batch, self._pictures(rng), self.views, rng, self.has_picture)
        return loss

    def _names(self, rng: np.random.Generator) -> Tensor:
        """(n, dim) for each name the mean of some of its sentences, drawn to the mean of all."""
        rows = np.stack([own[rng.integers(0, len(own), _PHRASES)].mean(0) for own in self.phrases])
        some = F.normalize(torch.from_numpy(rows), dim=1)
        return F.normalize(some + float(rng.uniform()) * self.means, dim=1)

    def _pictures(self, rng: np.random.Generator) -> Tensor:
        """(n, dim) for each name one of its pictures, zeros where it has none."""
        none = np.zeros(self.means.shape[1], np.float32)
        return torch.from_numpy(np.stack([own[rng.integers(len(own))] if len(own) else none for own in self.pictures]))

    def _row(
        self,
        z: Tensor,
        scale: Tensor,
        batch: SoundBatch,
        names: Tensor,
        others: tuple[Tensor, Tensor],
        rng: np.random.Generator,
        there: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy from each sound to the names and to some other sentences or pictures."""
        rows, near = others
        drawn = torch.from_numpy(rng.integers(0, len(rows), _OTHERS if len(rows) else 0))
        logits = torch.cat([scale * z @ names.T, scale * z @ rows[drawn].T + np.log(_OTHER_WEIGHT)], dim=1)
        unsure = self.alike[batch.labels] | self.alike[batch.others]  # (b, n)
        if there is not None:
            unsure = unsure | ~there
        unsure = torch.cat([unsure, near[batch.labels][:, drawn] | near[batch.others][:, drawn]], dim=1)
        own, other = batch.labels[:, None], batch.others[:, None]
        unsure = unsure.scatter(1, own, False).scatter(1, other, False)
        said = F.log_softmax(logits.masked_fill(unsure, _NEVER), dim=1)
        weights = batch.shares, 1 - batch.shares
        if there is not None:
            weights = weights[0] * there[batch.labels], weights[1] * there[batch.others]
        return -(weights[0] * said.gather(1, own)[:, 0] + weights[1] * said.gather(1, other)[:, 0]).mean()

    def _column(self, z: Tensor, scale: Tensor, batch: SoundBatch, rng: np.random.Generator) -> Tensor:
        """Cross-entropy from a sentence for each name in the batch to the sounds that have a share of it."""
        names = torch.unique(batch.labels)
        rows = np.stack([self.phrases[name][rng.integers(len(self.phrases[name]))] for name in names.tolist()])
        logits = scale * torch.from_numpy(rows) @ z.T  # (names, b)
        right = (names[:, None] == batch.labels) * batch.shares + (names[:, None] == batch.others) * (1 - batch.shares)
        unsure = self.alike[names][:, batch.labels] & (right == 0)
        said = F.log_softmax(logits.masked_fill(unsure, _NEVER), dim=1)
        loss: Tensor = -(right / right.sum(1, keepdim=True) * said).sum(1).mean()
        return loss
