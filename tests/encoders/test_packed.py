"""Layers that are laid out for a processor which multiplies bf16."""

from __future__ import annotations

from typing import Any

import pytest

from tests.encoders import tiny

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_open_clip")]


@pytest.fixture(autouse=True)
def bf16() -> None:
    import torch

    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)
    if not supported():
        pytest.skip("this processor does not multiply bf16 in torch")


def vision(**changes: Any) -> Any:
    """A vision transformer in bf16 with weights that make a difference, and a batch for it."""
    import torch
    from open_clip import CLIP

    config = tiny.architecture()
    config["vision_cfg"] |= changes
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = CLIP(**config).visual.eval().to(torch.bfloat16)
        side = config["vision_cfg"]["image_size"]
        return tower, torch.randn(3, side, side, 3).permute(0, 3, 1, 2).to(torch.bfloat16)


def kinds(tower: Any) -> list[str]:
    return [type(layer).__name__ for layer in tower.modules()]


@pytest.mark.parametrize("image_size", [48, 416])  # 10 and 677 tokens: plain and fused attention
def test_a_packed_tower_gives_what_the_plain_one_gives(image_size: int) -> None:
    import torch

    from mmsearch.encoders.packed import pack

    tower, batch = vision(image_size=image_size)
    with torch.inference_mode():
        expected = tower(batch).float()
        assert pack(tower, batch) is tower
        got = tower(batch).float()
        one = tower(batch[:1].contiguous()).float()
    assert {"_Linear", "_SelfAttention", "_Patches"} <= set(kinds(tower))
    assert not {"Linear", "MultiheadAttention", "Conv2d"} & set(kinds(tower))
    assert torch.nn.functional.cosine_similarity(got, expected).min() > 0.999
    assert torch.nn.functional.cosine_similarity(one, expected[:1]).min() > 0.999


def test_attention_from_other_queries_is_left_alone() -> None:
    import torch

    from mmsearch.encoders.packed import pack

    tower, batch = vision(attentional_pool=True, attn_pooler_queries=4, attn_pooler_heads=2)
    with torch.inference_mode():
        expected = tower(batch).float()
        got = pack(tower, batch)(batch).float()
    assert kinds(tower).count("MultiheadAttention") == 1
    assert torch.nn.functional.cosine_similarity(got, expected).min() > 0.999


@pytest.mark.parametrize("trouble", ["looks at weights", "is no longer the same", "missing operator"])
def test_a_tower_that_does_not_take_it_stays_as_it_was(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from mmsearch.encoders import packed

    class Curious(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner
            self.head = torch.nn.Linear(24, 24).to(torch.bfloat16)

        def forward(self, x: Any) -> Any:
            y = self.head(self.inner(x))
            if trouble == "looks at weights":
                return y + self.head.weight.sum()
            return -y if trouble == "is no longer the same" and "_Linear" in kinds(self) else y

    if trouble == "missing operator":

        def refuse(*_: Any) -> None:
            raise NotImplementedError

        monkeypatch.setattr(packed._Linear, "__init__", refuse)
    inner, batch = vision()
    tower = Curious(inner).eval()
    before = kinds(tower)
    with torch.inference_mode():
        expected = tower(batch)
        got = packed.pack(tower, batch)(batch)
    assert kinds(tower) == before
    assert torch.equal(got, expected)
