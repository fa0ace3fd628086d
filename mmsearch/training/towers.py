"""What a trainer needs to know of a dual encoder: two towers, each with a part that stays and a part that learns.

What the part that stays gives is computed once and kept in files (`mmsearch.training.features`), so that an epoch
costs only what learns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["DualEncoder", "ImageTower", "Learner", "TextTower"]


class ImageTower(nn.Module, ABC):
    """Photos in, embeddings out.

    Attributes:
        dim: Length of the embeddings.
        side: Side in pixels of what it reads.
        cached: Whether what `frozen` gives is worth keeping in files; otherwise photos are read anew each time.
        key: Names the frozen part: its kind, its sizes and a hash of its weights.
    """

    dim: int
    side: int
    cached: bool
    key: str

    @abstractmethod
    def prepare(self, image: Image.Image) -> NDArray[Any]:
        """One RGB picture of any size -> what the tower reads, always of the same shape and type."""

    @abstractmethod
    def frozen(self, batch: NDArray[Any]) -> NDArray[Any]:
        """(n, ...) prepared pictures -> (n, ...) what `forward` takes; the identity where every part learns."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(n, ...) what `frozen` gave -> (n, dim), rows L2-normalised."""


class TextTower(nn.Module, ABC):
    """Sentences in, embeddings out.

    Attributes:
        dim: Length of the embeddings.
        cached: Whether `frozen` gives features worth keeping; otherwise `forward` takes the token ids themselves.
        key: Names the frozen part: its kind, its sizes and a hash of its weights.
    """

    dim: int
    cached: bool
    key: str

    @abstractmethod
    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each sentence, cut at the tower's limit."""

    @abstractmethod
    def frozen(self, tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
        """Token ids of n sentences -> (n, w); called only where `cached`."""

    @abstractmethod
    def forward(self, features: Tensor | Sequence[Sequence[int]]) -> Tensor:
        """Features (n, w) where `cached`, else n sentences' token ids -> (n, dim), rows L2-normalised."""


class Learner(nn.Module):
    """What a trainer needs to know of any model: what of it learns, and how sharply its similarities are read."""

    MAX_SCALE = 100.0
    """Bound of the inverse temperature (Radford et al. 2021, section 2.5)."""

    log_scale: nn.Parameter

    @property
    def scale(self) -> Tensor:
        """Inverse temperature."""
        return self.log_scale.exp().clamp(max=self.MAX_SCALE)

    def learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Names and parameters of all that learns."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)


class DualEncoder(Learner):
    """Two towers that share one space, and how sharply their similarities are read.

    Args:
        images: Any image tower.
        texts: A text tower of the same `dim`.
        scale: Inverse temperature to begin with.
        bias: Added to the scaled similarities, by the sigmoid loss alone.
    """

    def __init__(self, images: ImageTower, texts: TextTower, scale: float = 14.0, bias: float = -10.0) -> None:
        super().__init__()
        if images.dim != texts.dim:
            raise ValueError(f"the towers' embeddings are of length {images.dim} and {texts.dim}")
        self.images = images
        self.texts = texts
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))
