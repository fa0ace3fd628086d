"""Which device and which numbers a model gets."""

from __future__ import annotations

from typing import Any

import pytest

from mmsearch.encoders import precision
from mmsearch.errors import UsageError


@pytest.mark.parametrize("device", [None, "cpu", "cuda", "cuda:3", "mps"])
def test_devices_are_taken_as_torch_spells_them(device: str | None) -> None:
    assert precision.check_device(device) == device


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cpu:0", "CPU"])
def test_other_devices_are_refused(device: str) -> None:
    with pytest.raises(UsageError, match="There is no device"):
        precision.check_device(device)


def test_precisions_are_three() -> None:
    assert [precision.check_precision(name) for name in ("fp32", "bf16", "fp16", None)] == [
        "fp32",
        "bf16",
        "fp16",
        None,
    ]
    with pytest.raises(UsageError, match="There is no precision"):
        precision.check_precision("fp8")


@pytest.mark.full
@pytest.mark.usefixtures("needs_open_clip")
class TestOnThisMachine:
    def test_the_processor_is_always_there(self) -> None:
        assert precision.choose_device("cpu").type == "cpu"

    def test_a_device_that_is_not_there_is_refused(self) -> None:
        import torch

        with pytest.raises(UsageError, match="is not there"):
            precision.choose_device(f"cuda:{torch.cuda.device_count()}")

    @pytest.mark.parametrize(("amx", "avx512"), [(True, False), (False, True), (False, False)])
    def test_bf16_is_for_processors_that_multiply_it(
        self, amx: bool, avx512: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
        monkeypatch.setattr(precision, "_flags", lambda: frozenset[str]())
        chosen = precision.choose_precision(None, torch.device("cpu"))
        assert chosen == ("bf16" if amx or avx512 else "fp32")

    @pytest.mark.parametrize(("flag", "chosen"), [("amx_bf16", "bf16"), ("avx512_bf16", "bf16"), ("avx2", "fp32")])
    def test_the_systems_flags_serve_where_torch_has_no_probe(
        self, flag: str, chosen: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
        monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
        monkeypatch.setattr(precision, "_flags", lambda: frozenset({"sse2", flag}))
        assert precision.choose_precision(None, torch.device("cpu")) == chosen

    @pytest.mark.parametrize(("capability", "chosen"), [((9, 0), "bf16"), ((7, 5), "fp16"), ((6, 1), "fp32")])
    def test_cuda_devices_get_the_best_they_have(
        self, capability: tuple[int, int], chosen: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import torch

        def of(_: Any) -> tuple[int, int]:
            return capability

        monkeypatch.setattr(torch.cuda, "get_device_capability", of)
        assert precision.choose_precision(None, torch.device("cuda")) == chosen

    def test_what_was_asked_for_is_what_is_used(self) -> None:
        import torch

        assert precision.choose_precision("fp16", torch.device("cpu")) == "fp16"
        assert precision.torch_type("bf16") is torch.bfloat16
