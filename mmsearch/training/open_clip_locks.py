"""A tower of an open_clip model in, the same tower of which only the last groups learn out.

Locking is that of LiT (Zhai et al. 2022, arXiv 2111.07991), with open_clip's own groups: the embedding, each block, the
projection. open_clip knows them for its own transformers; here they are told apart in timm's, in CLIP's ResNets and in
those of transformers as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from torch import nn

from mmsearch.errors import UsageError

__all__ = ["TEXT_PARTS", "Groups", "image_groups", "lock_tower", "settle", "text_groups"]

_LAST = ("attn_pool", "attn_pool_contrastive", "ln_post")  # what follows the last block
TEXT_PARTS = ("text", "transformer", "token_embedding", "ln_final", "text_projection")
"""The parts of an open_clip model without its image tower that its text embeddings come from."""
Groups = list[list[nn.Parameter]]
"""Parameters in the order in which pictures or words go through them; a group is locked or not as one."""


def lock_tower(tower: nn.Module, groups: Groups, unlocked: int) -> None:
    """Let nothing learn but the last groups."""
    if unlocked and not groups:
        raise UsageError(
            f"The groups of the tower {type(tower).__name__} cannot be told apart.",
            hint="Lock all of it or none of it.",
        )
    tower.requires_grad_(False)
    for parameter in chain.from_iterable(groups[len(groups) - unlocked :] if unlocked < len(groups) else groups):
        parameter.requires_grad_(True)


def image_groups(visual: Any) -> Groups:
    """The parameters of an image tower from its embedding to its projection; none where they cannot be told apart."""
    if hasattr(visual, "trunk"):  # timm's
        from timm.models import group_parameters

        try:
            named = group_parameters(visual.trunk, visual.trunk.group_matcher(), reverse=False)
        except AttributeError:
            return []
        trunk = [[visual.trunk.get_parameter(name) for name in named[place]] for place in sorted(named)]
        return _filled([*trunk, visual.head.parameters()])
    if hasattr(visual, "layer4"):  # the ResNet of CLIP
        stages = [visual.layer1, visual.layer2, visual.layer3, visual.layer4, visual.attnpool]
        return _remaining(visual, [list(stage.parameters()) for stage in stages])
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if not blocks:
        return []
    return _blocks(visual, blocks, [visual.proj], [*(getattr(visual, name, None) for name in _LAST)])


def text_groups(model: Any) -> Groups:
    """The parameters of a text tower from its embedding to its projection; none where they cannot be told apart."""
    text = getattr(model, "text", model)
    blocks = getattr(getattr(text, "transformer", None), "resblocks", None)
    if blocks:
        return _blocks(text, blocks, [text.text_projection], [text.ln_final])
    inner = getattr(text, "transformer", None)  # of transformers
    encoder = getattr(inner, "encoder", inner)
    for name in ("layer", "layers", "block"):
        if isinstance(layers := getattr(encoder, name, None), nn.ModuleList):
            last = [getattr(encoder, "final_layer_norm", None), getattr(inner, "pooler", None)]
            return _blocks(text, layers, [text.proj], last)
    return []


def _blocks(tower: nn.Module, blocks: Iterable[nn.Module], projection: list[Any], last: list[Any]) -> Groups:
    """An embedding, blocks of which the last has what follows it, and a projection."""
    groups = [list(block.parameters()) for block in blocks]
    groups[-1] += chain.from_iterable(map(_parameters, last))
    return _remaining(tower, [*groups, list(chain.from_iterable(map(_parameters, projection)))])


def _remaining(tower: nn.Module, groups: Groups) -> Groups:
    """The groups, and before them whatever else there is."""
    named = {id(parameter) for parameter in chain.from_iterable(groups)}
    first = [parameter for parameter in tower.parameters() if id(parameter) not in named]
    return _filled([first, *groups])


def _parameters(part: Any) -> list[nn.Parameter]:
    return [] if part is None else [part] if isinstance(part, nn.Parameter) else list(part.parameters())


def _filled(groups: Iterable[Iterable[nn.Parameter]]) -> Groups:
    learning = ([parameter for parameter in group if parameter.requires_grad] for group in groups)
    return [group for group in learning if group]


def settle(module: nn.Module) -> None:
    """Put what does not learn into `eval` mode, and every batch norm.

    Statistics of small batches would spoil those of the checkpoint, the more so as gradient checkpointing reads each
    batch twice. open_clip's own way replaces the layers, which loses timm's activations and a name that loading wants.
    """
    parameters = list(module.parameters())
    if isinstance(module, nn.modules.batchnorm._BatchNorm) or (
        parameters and not any(parameter.requires_grad for parameter in parameters)
    ):
        module.eval()
        return
    for child in module.children():
        settle(child)
