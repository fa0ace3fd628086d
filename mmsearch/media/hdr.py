"""Pictures of high dynamic range (PQ or HLG, BT.2020 colours) -> ordinary 8 bit sRGB pictures.

A video player on a plain screen does the same; without it such pictures look grey and washed out. Curves are those of
ITU-R BT.2100-2, reference white is at 203 cd/m2 (ITU-R BT.2408), and highlights up to 1000 cd/m2 are rolled off by
Reinhard's curve (Reinhard et al. 2002, equation 4) on the luminance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["to_srgb"]

_WHITE = 203.0
_PEAK = 1000.0 / _WHITE
_LUMA = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)  # BT.2020
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)


def to_srgb(values: NDArray[np.float32], curve: Literal["pq", "hlg"]) -> NDArray[np.uint8]:
    """Map (h, w, 3) float32 signal values, 0 to 1 -> (h, w, 3) uint8."""
    light = _pq(values) if curve == "pq" else _hlg(values)  # 1 is reference white
    luma = np.maximum(light @ _LUMA, 1e-6)[..., None]
    mapped = luma * (1 + luma / _PEAK**2) / (1 + luma)
    # Reinhard's curve halves white itself; scaled so that a white page stays white.
    light = light * (mapped / luma) * (2 / (1 + 1 / _PEAK**2))
    light = (light @ _TO_709.T).clip(0.0, 1.0)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray((encoded * 255).round(), dtype=np.uint8)


def _pq(values: NDArray[np.float32]) -> NDArray[np.float32]:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = values.clip(0, 1) ** (1 / m2)
    return np.asarray((np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * (10_000 / _WHITE), dtype=np.float32)


def _hlg(values: NDArray[np.float32]) -> NDArray[np.float32]:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    values = values.clip(0, 1)
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luma = np.maximum(scene @ _LUMA, 1e-6)[..., None]
    return np.asarray(scene * luma**0.2 * (1000 / _WHITE), dtype=np.float32)
