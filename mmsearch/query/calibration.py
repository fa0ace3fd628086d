"""Tells how far raw similarities stand out: scores and a query's background scores -> evidence.

A raw similarity says little by itself: some queries are close to everything, others to nothing. What counts is how far
a score stands out from the scores that the same query gets from things which do not match it. With mu and sigma the
mean and standard deviation of those background scores,

    evidence = slope * z + intercept,    z = (score - mu) / sigma

which is the argument of Platt's sigmoid (Platt 1999, "Probabilistic outputs for support vector machines") over a score
that is normalised by the query. It is what a pair by itself tells, and where a reranker starts from. What it means
beside all else that was found, `mmsearch.query.relevance` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Background", "Calibration", "calibration_for"]

# Scores that the expected deviation is worth at least: two or three scores may lie close together by chance.
_LEAST_CONFIDENCE = 4


@dataclass(frozen=True, slots=True)
class Background:
    """How one query scores against things that do not match it."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration of one encoder and pair of modalities.

    Attributes:
        slope, intercept: Of the sigmoid over z.
        mean, deviation: Background expected before anything is known of the library.
        confidence: How many background scores that expectation is worth; 0 where the encoder is unknown, of which only
            the deviation is expected, and that not firmly.
    """

    slope: float
    intercept: float
    mean: float = 0.0
    deviation: float = 0.05
    confidence: int = 0

    def background(self, scores: NDArray[np.float32]) -> Background:
        """Estimate a query's background from its scores against a sample of the library.

        A sample holds matches as well. They are few in a large library; in a small one they are not, so the upper
        tail is left out (scores above the median mirror those below it) and the estimate leans on the expectation.

        Args:
            scores: (n,) raw scores of the query; n may be 0.
        """
        n = scores.size
        if n == 0:
            return Background(self.mean, self.deviation)
        # np.median would import numpy.ma, which a cold query need not pay for.
        median = float(np.partition(scores, n // 2)[n // 2])
        below = np.minimum(scores.astype(np.float64) - median, 0.0)
        # For a symmetric background E[min(x - median, 0)^2] is half its variance.
        variance = 2.0 * float(np.mean(below**2))
        m = self.confidence
        mean = (n * median + m * self.mean) / (n + m)
        m = max(m, _LEAST_CONFIDENCE)
        deviation = ((n * variance + m * self.deviation**2) / (n + m)) ** 0.5
        return Background(mean, max(deviation, 1e-4))

    def log_odds(self, scores: NDArray[np.float32], background: Background) -> NDArray[np.float64]:
        """Log-odds that the things with these scores match, same shape as `scores`."""
        z = (scores.astype(np.float64) - background.mean) / background.deviation
        return np.asarray(self.slope * z + self.intercept)


_IMAGE, _TEXT, _AUDIO = Modality.IMAGE, Modality.TEXT, Modality.AUDIO

# Encoder, what is asked with, what is found. Fitted by benchmarks/calibration.py, which prints these numbers.
_FITTED: dict[tuple[str, Modality, Modality], Calibration] = {
    ("mini", _TEXT, _IMAGE): Calibration(1.344, -4.180, mean=0.0525, deviation=0.1374, confidence=20),
    ("mini", _IMAGE, _IMAGE): Calibration(1.690, -4.842, mean=0.1398, deviation=0.1431, confidence=20),
    ("mini", _IMAGE, _TEXT): Calibration(1.413, -4.293, mean=0.0516, deviation=0.1340, confidence=20),
    ("mini", _TEXT, _TEXT): Calibration(1.264, -4.479, mean=-0.0016, deviation=0.1385, confidence=20),
    ("mini", _TEXT, _AUDIO): Calibration(1.751, -4.822, mean=0.1485, deviation=0.1302, confidence=20),
    ("mini", _AUDIO, _TEXT): Calibration(2.638, -5.640, mean=0.1485, deviation=0.1212, confidence=20),
    ("mini", _AUDIO, _AUDIO): Calibration(1.330, -3.987, mean=0.1890, deviation=0.2594, confidence=20),
    ("mini", _AUDIO, _IMAGE): Calibration(1.197, -3.053, mean=0.0079, deviation=0.0956, confidence=20),
    ("mini", _IMAGE, _AUDIO): Calibration(1.328, -3.240, mean=0.0077, deviation=0.0864, confidence=20),
}
# Any other encoder: the same sigmoids, with a background that is learnt from the library alone.
_SAME = Calibration(slope=1.7, intercept=-4.7)
_CROSSING = Calibration(slope=1.3, intercept=-4.0)


def calibration_for(encoder_id: str, asked: Modality, found: Modality) -> Calibration:
    """The calibration of an encoder, or a general one for an encoder that has none of its own.

    Args:
        encoder_id: The encoder.
        asked: What the query is.
        found: What is searched; a frame of a video is an image.
    """
    asked, found = (_IMAGE if kind is Modality.VIDEO else kind for kind in (asked, found))
    return _FITTED.get((encoder_id, asked, found)) or (_SAME if asked is found else _CROSSING)
