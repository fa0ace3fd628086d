"""Features of one tower go in, embeddings of the shared space come out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Head"]


class Head(nn.Module):
    """A straight projection plus one hidden layer.

    Args:
        width: Length of the features.
        hidden: Width of the hidden layer.
        dim: Length of the embeddings.
        dropout: Share of features and hidden units that training leaves out.
        center, spread: (width,) mean and spread of the features, taken out first; None for features that are at ease.
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self, width: int, hidden: int, dim: int, dropout: float = 0.0, center: Any = None, spread: Any = None
    ) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, dim)
        self.skip = nn.Linear(width, dim)
        self.dropout = dropout
        weight = self.up.weight
        self.register_buffer("center", weight.new_zeros(width) if center is None else center)
        self.register_buffer("spread", weight.new_ones(width) if spread is None else spread)

    def forward(self, features: Tensor) -> Tensor:
        """(n, width) -> (n, dim), rows L2-normalised."""
        x = F.dropout((features - self.center) / self.spread, self.dropout, self.training)
        hidden = F.dropout(F.gelu(self.up(x), approximate="tanh"), self.dropout, self.training)
        return F.normalize(self.skip(x) + self.down(hidden), dim=1)
