"""Hits and groups of duplicates -> stdout, in the form that was asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmsearch.cli.output import note, write, write_bytes, write_lines

if TYPE_CHECKING:
    from mmsearch.types import DuplicateGroup, Hit

__all__ = ["Form", "open_hit", "write_duplicates", "write_hits"]

Form = Literal["table", "json", "paths", "print0"]

# Below this chance that the best hit matches, the table says so.
_DOUBTFUL = 0.1


def write_hits(hits: Sequence[Hit], form: Form, *, segments: bool, previews: bool) -> None:
    """Write at least one hit, and a line on stderr where there is no good one.

    Args:
        hits: As the engine returns them.
        form: How.
        segments: Each place of an item on a line of its own.
        previews: Show pictures in a table where the terminal can.
    """
    shown = [place for hit in hits for place in hit.unfolded()] if segments else hits
    if form == "json":
        from mmsearch.present.jsonl import json_lines

        write_lines(json_lines(hit.to_dict() for hit in shown))
    elif form == "table":
        from mmsearch.present.table import table
        from mmsearch.present.terminal import describe

        write(table(shown, describe(sys.stdout), previews=previews, base=Path.cwd()))
        if max(hit.relevance for hit in hits) < _DOUBTFUL:
            note("There is no good match; these come nearest.")
    else:
        from mmsearch.present.paths import path_bytes

        write_bytes(path_bytes(shown, b"\0" if form == "print0" else b"\n"))


def write_duplicates(groups: Sequence[DuplicateGroup], form: Form) -> int:
    """Write groups of duplicates, or that there are none; as paths those that could go. Returns the exit code."""
    if not groups:
        note("Nothing is there twice.")
        return 1
    if form == "json":
        from mmsearch.present.jsonl import json_lines

        write_lines(json_lines({"group": number, **group.to_dict()} for number, group in enumerate(groups, start=1)))
    elif form == "table":
        from mmsearch.present.duplicates import blocks, summary

        write(blocks(groups, base=Path.cwd()))
        note(summary(groups))
    else:
        from mmsearch.present.paths import path_bytes

        spare = [item for group in groups for item in group.items[1:]]
        write_bytes(path_bytes(spare, b"\0" if form == "print0" else b"\n"))
    return 0


def open_hit(hit: Hit) -> None:
    """Open a hit; its path and time are told first, whatever comes of it."""
    from mmsearch.present.paths import shown_path
    from mmsearch.present.places import clock, place_text
    from mmsearch.present.player import open_hit as play

    if hit.path is not None:
        note("  ".join(filter(None, (f"Opening {shown_path(hit.path)}", place_text(hit)))))
    player = play(hit)
    if hit.start_ms and not player.jumps:
        note(f"{player.name} starts at the beginning; go to {clock(hit.start_ms)}.")
