"""ImageNet weights of EfficientNet-lite go in, a network of plain convolutions for one input size comes out.

The architecture is that of Tan and Le (arXiv 1905.11946) in its "lite" form: no squeeze-and-excite, ReLU6 throughout,
made for integer arithmetic. Batch normalisation is folded into the convolutions, and TensorFlow's asymmetric padding is
worked out for the one input size, so that the exported graph holds convolutions, clips and sums and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["ConvUnit", "ImageBackbone", "load_backbone"]

# Pixels are centred and scaled as the ImageNet weights expect them; both numbers are exact in eight bits.
PIXEL_ZERO = 127
PIXEL_SCALE = 1 / 128


class ConvUnit(nn.Module):
    """A convolution with folded normalisation, its padding spelled out, and ReLU6 where the network has one."""

    def __init__(self, conv: nn.Conv2d, bn: Any, side: int, *, activate: bool) -> None:
        super().__init__()
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        self.out_side = -(-side // stride)
        total = max((self.out_side - 1) * stride + kernel - side, 0)
        self.before, self.after = total // 2, total - total // 2
        plain = nn.Conv2d(
            conv.in_channels, conv.out_channels, kernel, stride, groups=conv.groups, bias=conv.bias is not None
        )
        plain.load_state_dict(conv.state_dict())
        norm = nn.BatchNorm2d(conv.out_channels, eps=bn.eps)
        norm.load_state_dict(bn.state_dict())
        self.conv = fuse_conv_bn_eval(plain.eval(), norm.eval())
        if self.before == self.after:
            self.conv.padding = (self.before, self.before)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) -> (n, c_out, h', w')."""
        if self.before != self.after:
            x = F.pad(x, (self.before, self.after, self.before, self.after))
        x = self.conv(x)
        return F.relu6(x) if self.activate else x


class Block(nn.Module):
    """An inverted residual block, or the depthwise-separable one that the network begins with."""

    def __init__(self, block: Any, side: int) -> None:
        super().__init__()
        self.skip = bool(block.has_skip)
        if hasattr(block, "conv_pwl"):
            parts = [
                (block.conv_pw, block.bn1, True),
                (block.conv_dw, block.bn2, True),
                (block.conv_pwl, block.bn3, False),
            ]
        else:
            parts = [(block.conv_dw, block.bn1, True), (block.conv_pw, block.bn2, False)]
        units = []
        for conv, bn, activate in parts:
            units.append(ConvUnit(conv, bn, side, activate=activate))
            side = units[-1].out_side
        self.units = nn.Sequential(*units)
        self.out_side = side

    def forward(self, x: Tensor) -> Tensor:
        """(n, c_in, h, w) -> (n, c_out, h', w')."""
        y: Tensor = self.units(x)
        return x + y if self.skip else y


class ImageBackbone(nn.Module):
    """EfficientNet-lite without its classifier, cut in two after the blocks that still tell places and colours.

    Args:
        network: timm's network, whose weights are taken over.
        side: Side of the input in pixels.
        cut: How many of its seven groups of blocks lie before the cut.
        grid: Into how many places a photo is divided each way, for what is kept of each place at the cut.
    """

    def __init__(self, network: Any, side: int, cut: int = 5, grid: int = 2) -> None:
        super().__init__()
        self.side = side
        stem = ConvUnit(network.conv_stem, network.bn1, side, activate=True)
        early: list[nn.Module] = [stem]
        late: list[nn.Module] = []
        side = stem.out_side
        for position, group in enumerate(network.blocks):
            for block in group:
                unit = Block(block, side)
                side = unit.out_side
                (early if position < cut else late).append(unit)
        last = ConvUnit(network.conv_head, network.bn2, side, activate=True)
        late.append(last)
        self.early = nn.Sequential(*early)
        self.late = nn.Sequential(*late)
        self.width = int(last.conv.out_channels)
        self.grid = grid
        channels = int(network.blocks[cut][0].conv_pw.in_channels)
        self.feature_width = self.width + channels * (2 + grid * grid)

    def pixels(self, images: Tensor) -> Tensor:
        """Uint8 (n, h, w, 3) -> float (n, 3, h, w) as the weights expect it."""
        return (images.permute(0, 3, 1, 2).float() - PIXEL_ZERO) * PIXEL_SCALE

    def forward(self, images: Tensor) -> Tensor:
        """Uint8 (n, side, side, 3) -> features (n, w).

        The first `width` of them are what the ImageNet classifier reads: the last map's means. The rest is from the
        cut: each channel's mean, its mean deviation, and its mean in each place of the grid. Classifiers learn to
        forget colours and places, which captions speak of.
        """
        cut = self.early(self.pixels(images))  # (n, c, s, s)
        return torch.cat([self.late(cut).mean((2, 3)), self.of_cut(cut)], dim=1)

    def of_cut(self, cut: Tensor) -> Tensor:
        """(n, c, s, s) at the cut -> (n, c * (2 + grid * grid)): means, mean deviations, means of places."""
        mean = cut.mean((2, 3), keepdim=True)
        deviation = (cut - mean).abs().mean((2, 3))
        stride = cut.shape[-1] // self.grid
        kernel = int(cut.shape[-1] - (self.grid - 1) * stride)
        places = F.avg_pool2d(cut, kernel, int(stride)).flatten(1)  # (n, c * grid * grid)
        return torch.cat([mean.flatten(1), deviation, places], dim=1)

    def before(self, cut: Tensor, units: int) -> Tensor:
        """The map before the last so many units, from the map at the cut."""
        x: Tensor = self.late[: len(self.late) - units](cut)
        return x

    def after(self, x: Tensor, units: int) -> Tensor:
        """(n, width) what the ImageNet classifier reads, from the map before the last so many units."""
        means: Tensor = self.late[len(self.late) - units :](x).mean((2, 3))
        return means


def load_backbone(checkpoint: Path, name: str, side: int, grid: int = 2) -> tuple[ImageBackbone, Tensor, Tensor]:
    """Read ImageNet weights of an EfficientNet-lite.

    Args:
        checkpoint: A ``.pth`` whose entries lie in the order of timm's network.
        name: timm's name of the network, such as ``tf_efficientnet_lite2``.
        side: Side of the input in pixels.
        grid: See `ImageBackbone`.

    Returns:
        The backbone, and the classifier's weight (1000, width) and bias (1000,).

    Raises:
        ValueError: The checkpoint holds another network.
    """
    import timm

    network = timm.create_model(name, pretrained=False).eval()
    ours = network.state_dict()
    theirs = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if [v.shape for v in ours.values()] != [v.shape for v in theirs.values()]:
        raise ValueError(f"{checkpoint} does not hold the weights of {name}")
    network.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    classifier: Any = network.classifier
    return ImageBackbone(network, side, grid=grid).eval(), classifier.weight.detach(), classifier.bias.detach()
