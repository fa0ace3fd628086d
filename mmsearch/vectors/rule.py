"""Which index a number of vectors calls for; docs/vectors.md has the measurements behind the numbers."""

from __future__ import annotations

import math
import re

from mmsearch.errors import UsageError
from mmsearch.vectors.hnsw import HNSW_KIND

__all__ = ["KINDS", "choose_kind", "lists_of", "shortlist", "tail_limit", "training_size"]

KINDS = ("auto", "flat", "ivf", "hnsw", "pq")

# Up to so many bytes of float16 vectors, reading all of them takes about as long as opening lists would save.
_FLAT_BYTES = 32 << 20
# Beyond so many bytes of 8-bit codes, a quarter of the size is worth the weaker shortlist.
_SCALAR_BYTES = 2 << 30
# A choice is kept until the size has moved past its bound by this factor, so that it does not flip to and fro.
_HYSTERESIS = 1.5
# Lists are trained again when their number is off from the right one by this factor: four times the vectors.
_OUTGROWN = 2.0
_MOST_LISTS = 16384
_POINTS_PER_LIST = 64
# Fewer vectors than this for each of the 256 centroids of a part say nothing.
_LEAST_PRODUCT_VECTORS = 256 * 39
_TAIL_BYTES = 16 << 20


def choose_kind(
    count: int, dim: int, *, asked: str = "auto", current: str | None = None, resident: bool = False
) -> str:
    """Say what index `count` vectors of length `dim` should have.

    Args:
        count: Number of vectors.
        dim: Their length.
        asked: What the user wants: ``auto``, ``flat``, ``ivf`` (8-bit codes), ``pq`` or ``hnsw``.
        current: The index there is; it stays while it is good enough.
        resident: For a process that stays, with memory for the vectors and the graph.

    Returns:
        ``flat``, ``hnsw32``, ``ivf<lists>,sq8`` or ``ivf<lists>,pq<bytes>``.

    Raises:
        UsageError: There is no such kind.
    """
    if asked not in KINDS:
        raise UsageError(f"There is no kind of index called {asked!r}.", hint=f"Use one of: {', '.join(KINDS)}.")
    family = asked if asked != "auto" else _family(count, dim, current, resident)
    if count == 0 or family == "flat":
        return "flat"
    if family == "hnsw":
        return HNSW_KIND
    parts = _parts(dim) if family == "pq" and count >= _LEAST_PRODUCT_VECTORS else 0
    codes = f"pq{parts}" if parts else "sq8"
    lists = _lists(count)
    had = lists_of(current)
    if current is not None and had and current.endswith(f",{codes}") and 1 / _OUTGROWN <= lists / had <= _OUTGROWN:
        return current
    return f"ivf{lists},{codes}"


def _family(count: int, dim: int, current: str | None, resident: bool) -> str:
    now = "flat" if current is None else re.sub(r"ivf\d+,(sq8|pq)?\d*|hnsw\d+", lambda m: m[1] or "hnsw", current)
    flat_bound = _FLAT_BYTES * (1 if current is None else _HYSTERESIS if now == "flat" else 1 / _HYSTERESIS)
    if count * dim * 2 <= flat_bound:
        return "flat"
    if resident:
        return "hnsw"
    scalar_bound = _SCALAR_BYTES * (1 if current is None else 1 / _HYSTERESIS if now == "pq" else _HYSTERESIS)
    return "ivf" if count * dim <= scalar_bound else "pq"


def lists_of(kind: str | None) -> int:
    """The number of inverted lists that a kind names, 0 where it has none."""
    match = re.match(r"ivf(\d+),", kind or "")
    return int(match[1]) if match else 0


def _lists(count: int) -> int:
    """About 2.5 times the square root of the count, at least 16 vectors in each; whole steps of an eighth."""
    wanted = max(1, int(min(2.5 * math.sqrt(count), count / 16, _MOST_LISTS)))
    step = 1 << max(0, wanted.bit_length() - 4)
    return wanted // step * step


def _parts(dim: int) -> int:
    """Bytes of a product code: a quarter of the dimension, or the next smaller divisor; 0 where there is none."""
    return next((parts for parts in range(dim // 4, 0, -1) if dim % parts == 0), 0)


def training_size(kind: str) -> int:
    """How many vectors to train a kind of index with."""
    return max(_POINTS_PER_LIST * lists_of(kind), 256 * _POINTS_PER_LIST if ",pq" in kind else 0)


def shortlist(kind: str, k: int) -> int:
    """How many hits to ask of an index so that scoring them again exactly gives the k best."""
    if ",pq" in kind:
        return max(200, 20 * k)
    return k + max(16, k) if ",sq8" in kind else k


def tail_limit(indexed: int, dim: int) -> int:
    """How many vectors may wait beside an index before it is written anew: a twentieth of it, 16 MiB at most."""
    return min(max(2048, indexed // 20), _TAIL_BYTES // (2 * dim))
