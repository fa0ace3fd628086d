"""A reranker that keeps tokens and is quick: what it keeps of a picture is a random projection of its patches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmsearch.types import RerankCandidate, RerankTerm, TokenFormat


class ProjectingReranker:
    """Tokens of a seeded projection of places and of features; it reads nothing.

    Attributes:
        most: The most pictures that it was given at once.
    """

    def __init__(self, seed: int = 0, format: TokenFormat | None = None) -> None:
        self.id = f"projecting@{seed}"
        self.tokens = format or TokenFormat(4, 24)
        self.most = 0
        self._seed = seed

    def compress(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """(n, places, width) -> (n, count, dim)."""
        self.most = max(self.most, len(patches))
        rng = np.random.default_rng(self._seed)
        places = rng.standard_normal((self.tokens.count, patches.shape[1]))
        features = rng.standard_normal((patches.shape[2], self.tokens.dim))
        projected = np.stack([places @ picture.astype(np.float64) @ features for picture in patches])
        return np.clip(np.rint(projected * 8), -127, 127).astype(np.int8)

    def log_odds(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64] | None:
        """None: it reads nothing."""
        return None
