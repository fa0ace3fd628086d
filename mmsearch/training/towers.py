"""Features and token ids go in, embeddings of the shared space come out: the parts of ``mini`` that learn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmsearch.training.features import padded
from mmsearch.training.heads import Head
from mmsearch.training.recipe import Recipe
from mmsearch.training.text_tower import SentenceTransformer

__all__ = ["DualEncoder"]

TEXTS_AT_ONCE = 112


class DualEncoder(nn.Module):
    """The parts that learn: both heads, the sentence encoder's last layers, the temperature."""

    def __init__(self, recipe: Recipe, features: Tensor, sentences: SentenceTransformer) -> None:
        super().__init__()
        torch.manual_seed(recipe.seed)
        center, spread = features.mean(0), features.std(0) + 0.05
        self.recipe = recipe
        self.images = Head(features.shape[1], recipe.hidden, recipe.dim, recipe.dropout, center, spread)
        # Unit vectors of length `width` have entries about this size.
        scale = torch.full((sentences.width,), sentences.width**-0.5)
        self.texts = Head(sentences.width, recipe.hidden, recipe.dim, recipe.text_dropout, None, scale)
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.sentences = sentences.requires_grad_(False)

    @property
    def scale(self) -> Tensor:
        """Inverse temperature."""
        return self.log_scale.exp().clamp(max=60.0)

    def read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Sentence features, with gradients in the last layers only; sentences of like length go together."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        frozen = len(self.sentences.layers) - self.recipe.tuned_layers
        parts = []
        for start in range(0, len(order), TEXTS_AT_ONCE):
            ids, mask = padded([tokens[i] for i in order[start : start + TEXTS_AT_ONCE]])
            with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
                with torch.no_grad():
                    hidden = self.sentences.run(self.sentences.embed(ids), mask, 0, frozen)
                hidden = self.sentences.run(hidden, mask, frozen)
            parts.append(self.sentences.pool(hidden.float(), mask))
        features = torch.cat(parts)[torch.tensor(order).argsort()]
        return nn.functional.normalize(features, dim=1)
