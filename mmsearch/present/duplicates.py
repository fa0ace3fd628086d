"""Groups of duplicates for people: groups -> blocks of lines, the best of each first, with what tells them apart."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.present.paths import shown_path
from mmsearch.present.table import size_text

if TYPE_CHECKING:
    from mmsearch.types import DuplicateGroup

__all__ = ["blocks", "summary"]


def blocks(groups: Sequence[DuplicateGroup], *, base: Path | None = None) -> Iterator[str]:
    """Yield one block of lines for each group.

    Args:
        groups: As the engine returns them.
        base: Paths below it are shown relative to it where that is shorter.
    """
    for number, group in enumerate(groups, start=1):
        yield f"{number}  {len(group.items)} alike, {size_text(group.spare_bytes)} without the first\n"
        for item, cosine, same in zip(group.items, group.cosines, group.same_content, strict=True):
            like = "" if item is group.items[0] else "same file" if same else f"{min(99.9, 100 * cosine):.1f} %"
            changed = time.strftime("%Y-%m-%d", time.localtime(item.mtime_ns / 1e9)) if item.path else ""
            pixels = f"{item.info.width} x {item.info.height}" if item.info.width else ""
            name = f"item {item.id}" if item.path is None else shown_path(item.path, base=base)
            yield f"   {size_text(item.size_bytes):>8}  {pixels:>11}  {changed:<10}  {like:>9}  {name}\n"
        yield "\n"


def summary(groups: Sequence[DuplicateGroup]) -> str:
    """What all groups come to, in one sentence."""
    count = sum(len(group.items) - 1 for group in groups)
    size = size_text(sum(group.spare_bytes for group in groups))
    ones = "group" if len(groups) == 1 else "groups"
    return f"{len(groups):,} {ones}: {count:,} of the items could go, and {size} with them."
