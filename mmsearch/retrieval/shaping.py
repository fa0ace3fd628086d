"""Ranked hits -> what is shown: near-duplicates folded, repetition pushed down, one page, arranged in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.query.cutoff import floor
from mmsearch.rerank.diversity import check_strength, mmr
from mmsearch.retrieval.likeness import Likeness
from mmsearch.types import Hit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK", "Duplicates", "GroupBy", "shape"]

GroupBy = Literal["item", "day", "month", "folder"]
"""What hits can be arranged by; each item has one hit anyway."""
GROUPINGS: tuple[GroupBy, ...] = ("item", "day", "month", "folder")
Duplicates = Literal["fold", "show"]

BLOCK = 100
"""Diversity reorders the ranked list in blocks of so many hits, so that what follows changes nothing before it."""
# Without diversity, hits are looked at for near-duplicates in steps of so many.
_FOLDED = 20


def shape(
    ranked: Callable[[int], Sequence[Hit]],
    k: int,
    likeness: Likeness,
    *,
    offset: int = 0,
    diverse: float | None = None,
    group_by: GroupBy | None = None,
    duplicates: Duplicates = "fold",
) -> list[Hit]:
    """Make one page of hits out of a ranked list.

    The list is asked for as deep as the page needs. Pages are stable: as long as a deeper list begins with the hits of
    a less deep one, the pages of any length joined are the hits of one long page, by rank.

    Args:
        ranked: Gives at least n of the best hits, best first and one for each item, or all there are; those that are
            not relevant enough are left out of it.
        k: How many hits, at least 1.
        likeness: What the library knows of how alike items are.
        offset: How many hits to pass over.
        diverse: Strength of MMR, 0 to 1; None leaves the order.
        group_by: Arrange the page in groups, in the order of their best hits; each hit says its group, and keeps the
            rank that it has without groups.
        duplicates: ``fold`` puts near-duplicates of a better hit into its `Hit.duplicates`, as far as they were
            looked at; ``show`` leaves them as hits.

    Returns:
        At most k hits with ranks from offset + 1.

    Raises:
        UsageError: One of the numbers is out of range, or there is no such grouping.
    """
    _check(k, offset, diverse, group_by, duplicates)
    wanted = offset + k
    page = _distinct(ranked, wanted, likeness, diverse, fold=duplicates == "fold")[offset:wanted]
    hits = [_at_rank(hit, rank) for rank, hit in enumerate(page, start=offset + 1)]
    if group_by in (None, "item"):
        return hits
    names = likeness.groups(hits, group_by)
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    order = sorted(range(len(hits)), key=lambda place: (first[names[place]], place))
    return [_in_group(hits[place], names[place]) for place in order]


def _distinct(
    ranked: Callable[[int], Sequence[Hit]], wanted: int, likeness: Likeness, diverse: float | None, *, fold: bool
) -> list[Hit]:
    """At least `wanted` hits without near-duplicates, or all; looks deeper as long as folding leaves too few."""
    step = BLOCK if diverse else _FOLDED
    depth = -(-wanted // step) * step
    while True:
        hits = list(ranked(depth))
        shown = _shaped(hits, likeness, diverse, fold=fold)
        if len(shown) >= wanted or len(hits) < depth:
            return shown
        depth *= 2


def _shaped(hits: Sequence[Hit], likeness: Likeness, diverse: float | None, *, fold: bool) -> list[Hit]:
    if not hits or not (fold or diverse):
        return list(hits)
    heads = likeness.leaders(hits) if fold else np.arange(len(hits))
    folded: dict[int, list[Hit]] = {}
    for row, head in enumerate(heads.tolist()):
        if head != row:
            folded.setdefault(head, []).append(hits[row])
    leading = np.flatnonzero(heads == np.arange(len(hits)))
    if diverse:
        leading = leading[_diverse(hits, leading, likeness, diverse)]
    return [replace(hits[row], duplicates=tuple(folded.get(row, ()))) for row in leading.tolist()]


def _diverse(hits: Sequence[Hit], leading: NDArray[np.int64], likeness: Likeness, strength: float) -> NDArray[np.int64]:
    """The order of those that lead: MMR within each block of the ranked list, with all earlier blocks chosen.

    What is not worth showing for its relevance does not rise above what is for being different.
    """
    chosen = [hits[row] for row in leading.tolist()]
    vectors, kinds = likeness.vectors(chosen)
    relevance = np.array([hit.relevance for hit in chosen])
    least = floor([hit.relevance for hit in hits])
    worth = relevance >= (least if np.isfinite(least) else 0.0)
    order = np.empty(0, np.int64)
    for block in range(int(leading[-1]) // BLOCK + 1):
        inside = leading // BLOCK == block
        for rows in (np.flatnonzero(inside & worth), np.flatnonzero(inside & ~worth)):
            before = (vectors[order], kinds[order])
            own = mmr(relevance[rows], vectors[rows], strength=strength, kinds=kinds[rows], before=before)
            order = np.concatenate([order, rows[own]])
    return order


def _at_rank(hit: Hit, rank: int) -> Hit:
    return replace(
        hit,
        rank=rank,
        others=tuple(replace(other, rank=rank) for other in hit.others),
        duplicates=tuple(replace(other, rank=rank) for other in hit.duplicates),
    )


def _in_group(hit: Hit, name: str) -> Hit:
    return replace(hit, group=name, others=tuple(replace(other, group=name) for other in hit.others))


def _check(k: int, offset: int, diverse: float | None, group_by: str | None, duplicates: str) -> None:
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}.")
    if offset < 0:
        raise UsageError(f"The offset must be at least 0, not {offset}.")
    if diverse is not None:
        check_strength(diverse)
    if group_by is not None and group_by not in GROUPINGS:
        raise UsageError(f"Hits cannot be grouped by {group_by!r}.", hint=f"Groups: {', '.join(GROUPINGS)}.")
    if duplicates not in ("fold", "show"):
        raise UsageError(f"Near-duplicates are folded or shown, not {duplicates!r}.", hint="Say fold or show.")
