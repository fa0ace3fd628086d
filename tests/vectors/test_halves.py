"""Half-precision arithmetic."""

from __future__ import annotations

import numpy as np

from mmsearch.vectors.halves import HALF_SCALE, to_halves, widen


def test_every_finite_half_widens_to_itself_exactly() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(1, -1)
    wide = widen(halves, np.empty(halves.shape, np.int32)).astype(np.float64) * float(HALF_SCALE)
    assert (wide == halves.astype(np.float64)).all()
    assert (np.signbit(wide) == np.signbit(halves)).all()


def test_rounding_makes_contiguous_halves() -> None:
    halves = to_halves(np.ones((4, 6), np.float64)[:, ::2])
    assert halves.dtype == np.float16
    assert halves.flags.c_contiguous
