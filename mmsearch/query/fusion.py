"""Joins the terms of a composite query, and the ranked lists of several modalities and encoders.

Terms: calibrated log-odds per term -> one score and relevance per candidate. Similarities between two pictures are much
higher than those between a picture and words, so adding embeddings or raw scores lets the picture decide alone.
Calibrated probabilities have one scale. Taking the conditions as independent, the log-probability that a candidate
meets them all is

    score = sum_{w > 0} w log p + sum_{w < 0} |w| log (1 - p)

A term that a candidate plainly meets adds nothing, and one to avoid that is not there costs nothing, so a negative term
pushes away what it describes and leaves the rest in order. A file beside words counts half (`balanced`): it shows much,
of which some is meant, while what the words say is meant as it stands.

Lists: one for each modality and encoder. Their scores have nothing in common, but relevance is the probability of a
match in each, so items come in its order (CombMAX of Fox and Shaw 1994, over probabilities). Fusion by rank alone puts
the best of a list in which nothing matches second; benchmarks/hybrid_search.py compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["balanced", "fuse", "fuse_lists"]

# Of a file that is sought beside words; chosen by benchmarks/composite_queries.py.
_BESIDE_WORDS = 0.5


def balanced(weights: Sequence[float], words: Sequence[bool]) -> list[float]:
    """What the terms of a query count beside each other.

    Args:
        weights: As the query has them.
        words: Which of the terms are words, and not files.
    """
    sought_words = any(own and weight > 0 for weight, own in zip(weights, words, strict=True))
    return [
        weight * (_BESIDE_WORDS if sought_words and weight > 0 and not own else 1.0)
        for weight, own in zip(weights, words, strict=True)
    ]


def fuse(log_odds: NDArray[np.float64], weights: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fuse the terms of a query.

    Args:
        log_odds: (terms, candidates) calibrated log-odds that a candidate matches a term.
        weights: One for each term, not 0; negative for a term to avoid.

    Returns:
        (candidates,) scores, at most 0 and higher for better, and (candidates,) relevance, 0 to 1: the weighted
        geometric mean of the wanted terms' probabilities, times the probability of none to avoid.
    """
    signs = np.sign(weights)[:, None]  # (terms, 1)
    sizes = np.abs(weights)[:, None]
    # log sigmoid(x) = -log(1 + e^-x), and 1 - sigmoid(x) = sigmoid(-x)
    log_probabilities = -np.logaddexp(0.0, -signs * log_odds)  # (terms, candidates)
    contributions = sizes * log_probabilities
    wanted = signs[:, 0] > 0
    sought = np.sum(contributions[wanted], axis=0)
    avoided = np.sum(contributions[~wanted], axis=0)
    relevance = np.exp(sought / float(np.sum(sizes[wanted])) + avoided)
    return sought + avoided, relevance


def fuse_lists(lists: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Join ranked lists of items.

    Args:
        lists: Of item ids with their relevance, best first; an item stands in a list once.

    Returns:
        Item ids with the highest relevance of each, best first; where that is equal, the one that stands higher in a
        list is, then the lower id.
    """
    best: dict[int, tuple[float, int]] = {}
    for ranked in lists:
        for rank, (item, relevance) in enumerate(ranked):
            here = (-relevance, rank)
            best[item] = min(best.get(item, here), here)
    order = sorted(best, key=lambda item: (*best[item], item))
    return [(item, -best[item][0]) for item in order]
