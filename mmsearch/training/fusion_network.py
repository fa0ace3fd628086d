"""The reranker as it learns: an adapter that makes tokens of a picture's patches, and the fusion model that reads them.

`mmsearch.rerank.cross_attention` computes the same in NumPy, with the same names, and tells what each part is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsearch.rerank.cross_attention import TOKEN_STEP
from mmsearch.training.towers import Learner

__all__ = ["Adapter", "FusionNetwork", "FusionReader", "FusionShape", "Sentences"]

_LOWEST, _HIGHEST = -127, 127


@dataclass(frozen=True, slots=True)
class FusionShape:
    """What a reranker measures, and what it is made of.

    Attributes:
        width: Features of a patch.
        words: Width of the states of words that a reader takes.
        count: Tokens of a picture.
        dim: Numbers of a token.
        heads: Of each layer of cross-attention, a divisor of `dim`.
        layers: Of cross-attention; 0 leaves it out, and each word meets the mean of the tokens.
        matched: Width of what a word and what it found are compared in.
        pools: Ways in which the words of a sentence are weighted.
        readers: Fusion models over the same tokens, each with states of words of its own; their logits are averaged.
        hidden: Width of the adapter's inner layer.
        gate: Whether a gate mixes the fused view with the global one; without, the fused view is all.
    """

    width: int
    words: int = 384
    count: int = 49
    dim: int = 192
    heads: int = 2
    layers: int = 1
    matched: int = 128
    pools: int = 2
    readers: int = 1
    hidden: int = 768
    gate: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """The words of some sentences, one after the other.

    Attributes:
        states: (w, readers * words) states of their words, those of one reader after those of the other.
        owners: (w,) the sentence of each word, ascending from 0.
        count: How many sentences.
    """

    states: Tensor
    owners: Tensor
    count: int


class Adapter(nn.Module):
    """Patches -> tokens.

    Args:
        shape: See there.
        mean, spread: (width,) of the patches.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, shape: FusionShape, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("spread", spread.clone())
        self.enter = nn.Linear(shape.width, shape.dim)
        self.norm = nn.LayerNorm(shape.dim)
        self.up = nn.Linear(shape.dim, shape.hidden)
        self.down = nn.Linear(shape.hidden, shape.dim)
        self.last = nn.LayerNorm(shape.dim)

    def forward(self, patches: Tensor) -> Tensor:
        """(n, count, width) patches, brought to so many places already -> (n, count, dim) tokens, not yet rounded."""
        x = self.enter((patches - self.mean) / self.spread)
        x = x + self.down(F.gelu(self.up(self.norm(x)), approximate="tanh"))
        tokens: Tensor = self.last(x)
        return tokens


class _Look(nn.Module):
    """One layer of cross-attention, and how a word is compared with what it found."""

    def __init__(self, shape: FusionShape, first: bool) -> None:
        super().__init__()
        dim, matched = shape.dim, shape.matched
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)  # a bias would add the same to all places
        self.value = nn.Linear(dim, dim)
        self.match = nn.Linear(dim, matched)
        if first:
            self.word = nn.Linear(dim, dim)
            self.found = nn.Linear(dim, matched, bias=False)
        else:
            self.norm = nn.LayerNorm(matched)
            self.again = nn.Linear(matched, dim, bias=False)


class FusionReader(nn.Module):
    """One fusion model: words and tokens -> image-text matching logits.

    Args:
        shape: See there.
        dropout: Of words' numbers and of what is compared, while it learns.
    """

    def __init__(self, shape: FusionShape, dropout: float) -> None:
        super().__init__()
        dim, matched = shape.dim, shape.matched
        self.shape = shape
        self.places = nn.Parameter(torch.randn(shape.count, dim) * 0.02)
        self.words = nn.Linear(shape.words, dim)
        self.words_norm = nn.LayerNorm(dim)
        self.looks = nn.ModuleList(_Look(shape, layer == 0) for layer in range(max(1, shape.layers)))
        self.weight = nn.Linear(dim, shape.pools, bias=False)
        self.pooled_norm = nn.LayerNorm(matched * shape.pools)
        self.fused = nn.Linear(matched * shape.pools, matched)
        if shape.gate:
            self.pictures = nn.Linear(dim, dim)
            self.sentences = nn.Linear(dim * shape.pools, dim)
            self.whole = nn.Linear(dim, matched)
            self.gate = nn.Linear(2 * matched, matched)
        self.matching = nn.Linear(matched, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, t: Tensor, states: Tensor, owners: Tensor, count: int, blind: Tensor | None) -> Tensor:
        """(n, count, dim) tokens and (w, words) states of the words of m sentences -> (m, n) logits."""
        u = self.dropout(self.words_norm(self.words(states)))  # (w, dim)
        first, *others = (cast(_Look, look) for look in self.looks)
        found = self._look(first, first.query(u)[None].expand(len(t), -1, -1), t, blind)  # (n, w, dim)
        meant = first.word(u)
        x = F.gelu(first.match(found * meant) + first.found(found), approximate="tanh")  # (n, w, matched)
        for look in others:
            asked = look.again(look.norm(x)) + look.query(u)
            x = x + F.gelu(look.match(self._look(look, asked, t, blind) * meant), approximate="tanh")
        x = self.dropout(x)
        sums = self._pooling(u, owners, count).to(x.dtype)  # (pools, m, w)
        pooled = torch.cat([torch.matmul(part, x) for part in sums], dim=-1)  # (n, m, pools * matched)
        h = F.gelu(self.fused(self.pooled_norm(pooled)), approximate="tanh")
        if self.shape.gate:
            pictures = self.pictures(t.mean(dim=1))
            said = self.sentences(torch.cat([part @ u.to(x.dtype) for part in sums], dim=-1))
            whole = F.gelu(self.whole(pictures[:, None] * said), approximate="tanh")
            z = torch.sigmoid(self.gate(torch.cat([h, whole], dim=-1)))
            h = z * h + (1 - z) * whole
        logits: Tensor = self.matching(self.dropout(h))[..., 0].float()
        return logits.T

    def _look(self, look: _Look, asked: Tensor, t: Tensor, blind: Tensor | None) -> Tensor:
        """(n, w, dim) queries over (n, count, dim) tokens -> (n, w, dim)."""
        if self.shape.layers == 0:
            seen: Tensor = look.value(t).mean(dim=1, keepdim=True)
            return seen.expand_as(asked)
        keys, values = look.key(t + self.places), look.value(t)
        size = self.shape.dim // self.shape.heads
        found = []
        for head in range(self.shape.heads):
            own = slice(head * size, (head + 1) * size)
            scores = torch.matmul(asked[..., own] / math.sqrt(size), keys[..., own].transpose(-1, -2))
            if blind is not None:
                scores = scores + blind[:, None].to(scores.dtype)
            found.append(torch.matmul(scores.softmax(dim=-1), values[..., own]))
        return torch.cat(found, dim=-1)

    def _pooling(self, u: Tensor, owners: Tensor, count: int) -> Tensor:
        """(pools, m, w) weight of each word in its sentence, summing to 1 over its words."""
        weights = self.weight(u).float()
        powers = torch.exp(weights - weights.max()).T  # (pools, w)
        own = torch.arange(count, device=u.device)[:, None] == owners  # (m, w)
        sums: Tensor = powers[:, None] * own
        return sums / sums.sum(dim=-1, keepdim=True)


class FusionNetwork(Learner):
    """Adapter, and the fusion models that read its tokens.

    Args:
        shape: See there.
        mean, spread: (width,) of the patches.
        dropout: Of tokens' and words' numbers and of what is compared, while it learns.
        blind: Share of a picture's tokens that no word may look at, while it learns.
    """

    def __init__(
        self, shape: FusionShape, mean: Tensor, spread: Tensor, dropout: float = 0.1, blind: float = 0.3
    ) -> None:
        super().__init__()
        self.shape, self.blind = shape, blind
        self.adapter = Adapter(shape, mean, spread)
        self.readers = nn.ModuleList(FusionReader(shape, dropout) for _ in range(shape.readers))
        self.dropout = nn.Dropout(dropout)
        # The logits are as sharp as they become; the trainer's figures know it as a scale of 1.
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=False)

    def learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of all that learns."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)

    def tokens(self, patches: Tensor) -> Tensor:
        """(n, count, width) -> (n, count, dim) tokens, rounded as they are stored; gradients do not see that."""
        tokens = self.adapter(patches).float()
        step = float(TOKEN_STEP)
        rounded = (tokens / step).round().clamp(_LOWEST, _HIGHEST) * step
        straight: Tensor = tokens + (rounded - tokens).detach()
        return straight

    def readings(self, tokens: Tensor, sentences: Sentences) -> list[Tensor]:
        """(n, count, dim) tokens and m sentences -> for each reader (m, n) image-text matching logits."""
        t = self.dropout(tokens)
        blind = None
        if self.training and self.blind:
            blind = torch.zeros(t.shape[:2], device=t.device).masked_fill(
                torch.rand(t.shape[:2], device=t.device) < self.blind, -1e4
            )
        states = torch.split(sentences.states, self.shape.words, dim=1)
        return [
            reader(t, own, sentences.owners, sentences.count, blind)
            for reader, own in zip(self.readers, states, strict=True)
        ]

    def logits(self, tokens: Tensor, sentences: Sentences) -> Tensor:
        """The mean of `readings`: (m, n)."""
        return torch.stack(self.readings(tokens, sentences)).mean(dim=0)
