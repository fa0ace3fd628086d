"""Features of one tower go in, embeddings of the shared space come out."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Head", "exported_head", "head_of_arrays"]


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


def exported_head(weights: dict[str, NDArray[Any]]) -> Head:
    """The head of an exported image tower."""
    plain = {name: value for name, value in weights.items() if name.startswith("head.")}
    for name in ("up", "down", "skip"):
        packed = plain.get(f"head.{name}.weight.packed")
        if packed is not None:
            plain[f"head.{name}.weight"] = packed * plain[f"head.{name}.weight.scale"][:, None]
    return head_of_arrays(plain)


def head_of_arrays(state: dict[str, NDArray[Any]]) -> Head:
    """A head from its arrays, named `head.up.weight` and so on; without centre and spread they are folded in."""
    names = ["center", "spread", *(f"{part}.{kind}" for part in ("up", "down", "skip") for kind in ("weight", "bias"))]
    found = {name: torch.tensor(state[f"head.{name}"]).float() for name in names if f"head.{name}" in state}
    hidden, width = found["up.weight"].shape
    head = Head(width, hidden, len(found["down.weight"]))
    head.load_state_dict({"center": torch.zeros(width), "spread": torch.ones(width), **found})
    return head
