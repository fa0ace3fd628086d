"""Candidates of a shortlist with real files, and terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.types import Item, MediaInfo, Modality, RerankCandidate, RerankTerm, Segment, SegmentRecord

NOTHING = np.zeros(4, np.float32)


def candidate(
    path: Path | None,
    modality: Modality = Modality.IMAGE,
    *,
    text: str | None = None,
    start_ms: int | None = None,
    prior: float = 0.0,
) -> RerankCandidate:
    item = Item(1, modality, path, None, 0, 0, MediaInfo(), {})
    segment = Segment(1, 1, 0, modality, text=text, start_ms=start_ms)
    return RerankCandidate(SegmentRecord(segment, item), NOTHING, prior)


def term(content: Any, asked: Modality | None = None) -> RerankTerm:
    if asked is None:
        asked = Modality.TEXT if isinstance(content, str) else Modality.IMAGE
    return RerankTerm(content, asked, NOTHING)
