"""An image tower in, the same tower out with its products laid out for a processor that multiplies bf16.

oneDNN works on blocked weights and reorders them on every call unless it is given them ready. Three layers of a vision
transformer are replaced by equal ones that do: linear layers, self-attention (as plain products, since torch's fused
kernel takes twice as long for short sequences in bf16) and the patch embedding. `benchmarks/open_clip_towers.py`
measures what it is worth.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["pack"]

_LEAST_COSINE = 0.99
_LONGEST_PLAIN_ATTENTION = 640  # tokens; beyond it the matrix of all pairs costs more than the fused kernel


def pack(tower: nn.Module, probe: Tensor) -> nn.Module:
    """Replace the layers of a bf16 tower in place, or leave it as it was where that does not work on this machine.

    Args:
        tower: In bf16, on the CPU, in `eval` mode.
        probe: A batch for it, to see that the result is the same.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    with torch.inference_mode():
        try:
            expected = _first(tower(probe)).float()
            _replace(tower, replaced)
            got = _first(tower(probe)).float()
            same = bool((functional.cosine_similarity(got, expected) >= _LEAST_COSINE).all())
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            # The operators belong to torch's compiler and may change; some towers look into their layers.
            same = False
    if not same:
        for parent, name, layer in replaced:
            setattr(parent, name, layer)
    return tower


def _replace(module: nn.Module, replaced: list[tuple[nn.Module, str, nn.Module]]) -> None:
    for name, layer in list(module.named_children()):
        packed: nn.Module | None = None
        if type(layer) is nn.Linear:
            packed = _Linear(layer.weight, layer.bias)
        elif type(layer) is nn.MultiheadAttention and _attends_to_itself(module):
            packed = _SelfAttention(layer)
        elif type(layer) is nn.Conv2d and _cuts_patches(layer):
            packed = _Patches(layer)
        if packed is None:
            _replace(layer, replaced)
        else:
            replaced.append((module, name, layer))
            setattr(module, name, packed.eval())


class _Linear(nn.Module):
    """`nn.Linear` with blocked weights."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.blocked = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), None)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.blocked, self.bias, "none", [], "")
        return y


class _SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence with itself, as open_clip's blocks call it."""

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = layer.num_heads
        self.scale = layer.head_dim**-0.5
        if layer.in_proj_weight is None or layer.bias_k is not None:
            raise NotImplementedError("attention with separate or extra keys")
        self.project_in = _Linear(layer.in_proj_weight, layer.in_proj_bias)
        self.project_out = _Linear(layer.out_proj.weight, layer.out_proj.bias)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        n, length, width = x.shape
        packed = self.project_in(x).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if length > _LONGEST_PLAIN_ATTENTION or attn_mask is not None:
            q, k, v = packed
            y = functional.scaled_dot_product_attention(q, k, v, attn_mask)
        else:
            q, k, v = packed.reshape(3, n * self.heads, length, -1)  # (3, n, heads, t, d) -> 3 of (n * heads, t, d)
            weights = torch.softmax(torch.bmm(q * self.scale, k.transpose(1, 2)), dim=-1)  # -> (n * heads, t, t)
            y = torch.bmm(weights, v).view(n, self.heads, length, -1)
        return self.project_out(y.transpose(1, 2).reshape(n, length, width)), None


class _Patches(nn.Module):
    """`nn.Conv2d` whose windows do not overlap: one product over the pixels of each patch."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.side = int(layer.kernel_size[0])
        weight = layer.weight.detach().permute(0, 2, 3, 1)  # (w, c, p, p) -> (w, p, p, c), the order of the pixels
        self.linear = _Linear(weight.reshape(layer.out_channels, -1), layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        side, rows, columns = self.side, height // self.side, width // self.side
        x = x.permute(0, 2, 3, 1).reshape(n, rows, side, columns, side, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, rows * columns, side * side * channels)
        y: Tensor = self.linear(x)  # (n, patches, p * p * c) -> (n, patches, w)
        return y.view(n, rows, columns, -1).permute(0, 3, 1, 2)


def _attends_to_itself(parent: nn.Module) -> bool:
    """Whether these are open_clip's blocks, which call their attention with one sequence three times."""
    return type(parent).__name__ == "ResidualAttentionBlock" and not hasattr(parent, "ln_1_kv")


def _cuts_patches(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == layer.stride
        and layer.kernel_size[0] == layer.kernel_size[1] > 1
        and layer.in_channels == 3
        and layer.groups == 1
        and layer.padding in ((0, 0), "valid")
        and layer.dilation == (1, 1)
    )


def _first(output: Any) -> Tensor:
    """The embeddings of a tower that may return its tokens as well."""
    embeddings: Tensor = output[0] if isinstance(output, tuple) else output
    return embeddings
