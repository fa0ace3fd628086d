"""Re-reading a shortlist: pictures as stored tokens, and what reads them together with a query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder, Reranker

__all__ = ["load_reranker"]


def load_reranker(name: str | Path | None, encoder: Encoder) -> Reranker | None:
    """Find the reranker that reads what an encoder sees.

    Args:
        name: Of a reranker, or the folder of one; None takes the one that belongs to the encoder.
        encoder: Whose shortlists it is to read.

    Returns:
        None where the encoder has none.
    """
    return None
