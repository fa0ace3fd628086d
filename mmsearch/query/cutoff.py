"""Decides where a ranked list stops being worth showing: relevance of the hits -> which of them to keep.

A fixed threshold cannot do it: of a sentence that fits one photo in a thousand even the right one is seldom certain,
and for one common word hundreds are. So there are two questions. Is the query about anything here at all? That is told
by `mmsearch.query.relevance.Answer.about`, and by the best relevance of the list. And which hits are worth a look
beside the best? Those whose relevance is a fair share of it. Both hang on the first hits alone, so a list that goes on
keeps what it had.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["floor", "keep"]

_FIRST = 10
"""Hits that the rule looks at: the first page."""
# Chosen by benchmarks/relevance.py; see docs/relevance.md.
_LEAST_ABOUT = 0.3
_LEAST_BEST = 0.02
_SHARE = 0.15
# What is that relevant is shown, whatever the best is, and shows that the query is about something.
_SURE = 0.5


def floor(relevance: Sequence[float] | NDArray[np.float64], about: float = 1.0) -> float:
    """The relevance that a hit of a ranked list needs to be shown.

    Args:
        relevance: Of the hits, best hit first; those after the tenth do not count.
        about: The chance that the query is about anything in the library.

    Returns:
        0 to 1, or infinity where nothing matches well enough.
    """
    first = np.asarray(relevance, np.float64)[:_FIRST]
    best = float(np.max(first, initial=0.0, where=np.isfinite(first)))
    if best < _LEAST_BEST or (about < _LEAST_ABOUT and best < _SURE):
        return float("inf")
    return min(_SHARE * best, _SURE)


def keep(relevance: Sequence[float] | NDArray[np.float64], about: float = 1.0) -> NDArray[np.bool_]:
    """Tell which hits of a ranked list are worth showing.

    Args:
        relevance: (n,) of the hits, best hit first; n may be 0.
        about: The chance that the query is about anything in the library.

    Returns:
        (n,) True for those to show. A list that is continued keeps what it had.
    """
    values = np.asarray(relevance, np.float64)
    return values >= floor(values, about)
