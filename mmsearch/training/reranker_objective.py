"""What shall become small while a reranker learns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.training.fusion_network import FusionNetwork, Sentences
from mmsearch.training.reranker_batches import RerankBatch

__all__ = ["RerankObjective"]


@dataclass(frozen=True, slots=True)
class RerankObjective:
    """Three losses over one matrix of logits, each caption of a batch with each photo.

    - *Listwise*, both ways: the softmax cross-entropy of the right photo among all for each caption, and of the right
      caption among all for each photo (ListNet's top-one probabilities, Cao et al. 2007, with one right answer).
    - *Image-text matching*: binary cross-entropy of each right pair and, for each caption and each photo, of the wrong
      answer that the model itself finds likeliest (ALBEF, arXiv 2107.07651, section 3.2), half of the weight each.
    - *Distorted*: softplus(wrong - right) for a caption and its distortion beside the same photo (as the hard negatives
      of NegCLIP, arXiv 2210.01936).

    Attributes:
        matching, distorted: Weights of the second and third; the first has 1.
    """

    matching: float = 0.1
    distorted: float = 0.5

    def __call__(self, model: FusionNetwork, batch: RerankBatch) -> Tensor:
        """The loss of a batch, the mean over the network's readers: each learns as if it were alone."""
        count = len(batch.patches)
        tokens = model.tokens(batch.patches)
        all_logits = model.readings(tokens, Sentences(batch.states, batch.owners, count))
        wrong: list[Tensor | None] = [None] * len(all_logits)
        if self.distorted and len(batch.wrong_photos):
            sentences = Sentences(batch.wrong_states, batch.wrong_owners, len(batch.wrong_photos))
            wrong = [found.diagonal() for found in model.readings(tokens[batch.wrong_photos], sentences)]
        losses = [self._loss(logits, own, batch) for logits, own in zip(all_logits, wrong, strict=True)]
        return torch.stack(losses).mean()

    def _loss(self, logits: Tensor, wrong: Tensor | None, batch: RerankBatch) -> Tensor:
        """Of one reader: (captions, photos) logits, and those of the distorted captions beside their photos."""
        count = len(logits)
        logits = logits.masked_fill(batch.ignored, -1e4)
        right = torch.arange(count, device=logits.device)
        loss = (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2
        own = logits.diagonal()
        if self.matching and count > 1:
            others = logits.masked_fill(torch.eye(count, dtype=torch.bool, device=logits.device), -1e4)
            worst = torch.cat([others.max(dim=0).values, others.max(dim=1).values])
            loss = loss + self.matching * (F.softplus(-own).mean() + F.softplus(worst).mean()) / 2
        if wrong is not None:
            loss = loss + self.distorted * F.softplus(wrong - own[batch.wrong_photos]).mean()
        return loss
