"""Values that the tests of the presentation share."""

from __future__ import annotations

from pathlib import Path

from mmsearch.present.terminal import Terminal
from mmsearch.types import Hit, Modality

PIPE = Terminal(unicode=True)
VIDEO, AUDIO, TEXT = Modality.VIDEO, Modality.AUDIO, Modality.TEXT
SCREEN = Terminal(interactive=True, columns=80, lines=24, colour=True, unicode=True)


def hit(
    path: Path | None,
    *,
    rank: int = 1,
    relevance: float = 0.93,
    modality: Modality = Modality.IMAGE,
    **others: object,
) -> Hit:
    return Hit(
        rank=rank,
        score=0.31,
        relevance=relevance,
        stage="vector",
        item_id=12,
        segment_id=34,
        modality=modality,
        path=path,
        **others,  # type: ignore[arg-type]
    )
