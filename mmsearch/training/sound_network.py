"""The audio tower of the built-in model as it learns: spectrograms in, embeddings out."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmsearch.encoders.mini_sound import BANDS, FRAMES
from mmsearch.training.towers import Learner

__all__ = ["SoundLearner", "SoundNetwork"]


class SoundNetwork(nn.Module):
    """Residual convolutions, then attention over time.

    Short sounds fill little of a window and waves fill all of it, so the last features are pooled in three ways: by
    attention that each channel has for itself (Okabe et al. 2018, arXiv 1803.10963), their mean and their maximum.

    Args:
        dim: Length of the embeddings.
        widths: Channels after each halving of the spectrogram.
        dropout: Before the last layer.
    """

    def __init__(self, dim: int, widths: tuple[int, int, int, int] = (16, 32, 64, 108), dropout: float = 0.3) -> None:
        super().__init__()
        self.stem = _convolution(1, widths[0], 5)
        # Convolutions do not know which band they are at, and a whistle is no rumble.
        self.pitch = nn.Parameter(torch.zeros(1, widths[0], BANDS // 2, 1))
        layers: list[nn.Module] = [_Residual(widths[0])]
        for narrow, wide in pairwise(widths):
            layers += [_convolution(narrow, wide, 3), nn.ReLU(), _Residual(wide)]
        self.body = nn.Sequential(*layers)
        width = 2 * widths[-1]
        self.bands = nn.Sequential(
            nn.Conv2d(widths[-1], width, (BANDS // 16, 1), bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.attention = nn.Sequential(nn.Conv1d(width, width // 4, 1), nn.Tanh(), nn.Conv1d(width // 4, width, 1))
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(2 * width, dim)

    def forward(self, heard: Tensor) -> Tensor:
        """(n, BANDS, FRAMES) -> (n, dim), rows L2-normalised."""
        x = F.relu(self.stem(heard[:, None]) + self.pitch)  # (n, c, bands / 2, frames / 2)
        x = self.bands(self.body(x))[:, :, 0]  # (n, c, bands / 16, frames / 16) -> (n, 2 c, frames / 16)
        weights = torch.softmax(self.attention(x), dim=2)
        pooled = torch.cat([(weights * x).sum(2), x.mean(2) + x.amax(2)], dim=1)  # (n, 4 c)
        return F.normalize(self.out(self.dropout(pooled)), dim=1)


class _Residual(nn.Module):
    """Two convolutions beside the identity (He et al. 2016, arXiv 1512.03385)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> the same shape."""
        return F.relu(x + self.second(F.relu(self.first(x))))


def _convolution(c_in: int, c_out: int, side: int) -> nn.Sequential:
    """A convolution that halves both axes, with its normalisation."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, side, 2, side // 2, bias=False), nn.BatchNorm2d(c_out))


class SoundLearner(Learner):
    """The network, and how sharply its similarities are read, which stays.

    Args:
        sounds: The network.
        scale: Inverse temperature.
    """

    def __init__(self, sounds: SoundNetwork, scale: float) -> None:
        super().__init__()
        self.sounds = sounds.to(memory_format=torch.channels_last)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)), requires_grad=False)

    @torch.no_grad()
    def settle(self, batches: list[Tensor]) -> None:
        """Take the statistics of the normalisations anew, over some batches (Wu and Johnson 2021, arXiv 2105.07576).

        Those of training are of weights on their way; weights that are an average need their own.
        """
        norms = [layer for layer in self.sounds.modules() if isinstance(layer, nn.BatchNorm2d)]
        before = [norm.momentum for norm in norms]
        self.sounds.train()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
        for heard in batches:
            self.sounds(heard)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        self.sounds.eval()

    @torch.inference_mode()
    def embed(self, heard: Tensor, at_once: int = 64) -> Tensor:
        """(n, BANDS, FRAMES) -> (n, dim), outside of training."""
        self.sounds.eval()
        assert heard.shape[1:] == (BANDS, FRAMES)
        return torch.cat([self.sounds(part).float() for part in torch.split(heard, at_once)])
