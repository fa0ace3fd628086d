"""Where a model runs and with which numbers: what was asked for and the machine in, device and precision out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["Precision", "check_device", "check_precision", "choose_device", "choose_precision", "torch_type"]

Precision = Literal["fp32", "bf16", "fp16"]
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")


def check_device(device: str | None) -> str | None:
    """Refuse what is no device at all, without loading torch.

    Raises:
        UsageError: It is none of ``cpu``, ``cuda``, ``cuda:<number>`` and ``mps``.
    """
    if device is not None and not _DEVICE.fullmatch(device):
        raise UsageError(f"There is no device {device!r}.", hint="Choose cpu, cuda, cuda:<number> or mps.")
    return device


def check_precision(precision: str | None) -> Precision | None:
    """Refuse what is no precision.

    Raises:
        UsageError: It is none of ``fp32``, ``bf16`` and ``fp16``.
    """
    if precision is None:
        return None
    for name in get_args(Precision):
        if precision == name:
            return cast(Precision, name)
    raise UsageError(f"There is no precision {precision!r}.", hint="Choose fp32, bf16 or fp16.")


def choose_device(wanted: str | None) -> torch.device:
    """The wanted device, else the first of a CUDA device, Apple's GPU and the processor that works here.

    Raises:
        UsageError: The wanted one is not there.
    """
    import torch

    if wanted is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(wanted)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[device.type]:
        raise UsageError(f"The device {wanted} is not there.", hint="Leave the device out to use what is.")
    return device


def choose_precision(wanted: Precision | None, device: torch.device) -> Precision:
    """The wanted precision, else the fastest one in which embeddings stay what they are.

    That is bf16 on processors with AMX or AVX512-BF16 and on CUDA devices that have it, where its range saves towers
    that overflow in fp16; fp16 on older CUDA devices; fp32 elsewhere.
    """
    import torch

    if wanted is not None:
        return wanted
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return "bf16" if major >= 8 else "fp16" if major >= 7 else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_multiplies_bf16() else "fp32"


def torch_type(precision: Precision) -> torch.dtype:
    """The element type of a precision."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _cpu_multiplies_bf16() -> bool:
    """Whether the processor has instructions for bf16 products and torch's oneDNN will use them."""
    import torch

    if not getattr(torch.backends.mkldnn, "is_available", bool)():
        return False
    # torch's own probes carry names that change, and know more than the flags: whether the system lets AMX be used.
    probes = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    if any(probe is not None and probe() for probe in probes):
        return True
    return None in probes and not _flags().isdisjoint({"amx_bf16", "avx512_bf16"})


def _flags() -> frozenset[str]:
    """What Linux says of the processor; nothing elsewhere."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return frozenset()
