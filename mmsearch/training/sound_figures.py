"""Embeddings of sounds and of sentences go in, how well they find each other comes out; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.training.evaluate import retrieval_metrics

__all__ = ["SoundFigures", "mean_precision"]


class SoundFigures:
    """Retrieval between sounds and the names of their classes.

    Args:
        names: (n_names, dim) embeddings of the sentences that stand for the names, normalised.
    """

    def __init__(self, names: NDArray[np.float32]) -> None:
        self.names = names

    def of(self, embeddings: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, dict[str, float]]:
        """Both directions; recall@1 from sound to text is the accuracy of zero-shot classification.

        Args:
            embeddings: (n, dim) of sounds.
            labels: (n,) their names.
        """
        similarity = self.names @ embeddings.T
        there = np.unique(labels)
        by_name = [np.flatnonzero(labels == name) for name in there]
        found = retrieval_metrics(similarity[there], by_name).to_dict()
        found["map"] = mean_precision(similarity[there], by_name)
        back = retrieval_metrics(similarity.T, [np.array([label]) for label in labels]).to_dict()
        return {"text_to_sound": found, "sound_to_text": back}


def mean_precision(similarity: NDArray[np.float32], relevant: Sequence[NDArray[np.int64]]) -> float:
    """Mean over queries of the average precision of their rankings.

    Args:
        similarity: (n_queries, n_items), higher is better.
        relevant: For each query the indices of what belongs to it.
    """
    precisions = []
    for row, own in zip(similarity, relevant, strict=True):
        right = np.isin(np.argsort(-row, kind="stable"), own)
        ranks = np.flatnonzero(right) + 1
        precisions.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
    return float(np.mean(precisions))
