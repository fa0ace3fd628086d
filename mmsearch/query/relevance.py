"""Makes scores mean something: the scores of an answer, and what is known of the whole of it -> log-odds of a match.

Relevance is the probability that a hit matches, so of all hits that are shown with a relevance of 0.3, three in ten
should. A pair's score alone cannot tell. With x the score above the mean of the query's background (or, of an encoder
that was never fitted, z, which has it in deviations; see `mmsearch.query.calibration`), x1 and z1 those of the answer's
best hit, x5 that of its fifth, and n the number of things searched,

    log-odds = slope x + best x1 + lead (x1 - x5) + standing z1 + size log n + constant

is Platt's sigmoid (Platt 1999) with the answer as context. The prior odds of any one thing fall with n, since the best
of many random scores is high; x1 and z1 tell whether the query fits anything here at all, and take back from the others
what a clear first has for itself. That is what a mixture of the score distributions of matches and others does
(Manmatha, Rath and Feng 2001; Arampatzis and Robertson 2011), in a form that is fitted directly.

A text may also be about nothing here. The same features, fitted on texts that people use beside random letters, words
and sentences of other domains, give the chance a that it is about anything, and relevance is a times that probability.

How many things match depends on what is asked: a sentence is true of few photos, a word of many. So there are two sets
of weights, and texts between a word and a sentence of twelve words take a mixture of them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.query.calibration import Background, calibration_for
from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CONTEXT",
    "Answer",
    "Relevance",
    "Weights",
    "answer_to",
    "highest_level",
    "probability",
    "relevance_for",
    "reread_for",
    "specificity",
]

CONTEXT = 5
"""Hits of an answer that have to be known, whatever is shown, to tell how relevant any of them is."""
_WORDS = re.compile(r"\w+")
_SENTENCE = 12
# In more things than that, more of them match.
_MOST = 5000


def specificity(text: str) -> float:
    """How much a text says: 0 for a word, 1 for a sentence of twelve words or more."""
    words = sum(1 for _ in _WORDS.finditer(text))
    return min(1.0, math.log(max(1, words)) / math.log(_SENTENCE))


def probability(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds -> probabilities, 0 to 1, without overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds)))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of all that a term found in a collection.

    Attributes:
        best: The highest score of what was found.
        lead: How much higher it is than the fifth; 0 where there are fewer.
        standing: How far the best that the embeddings found stands out from the background: its z.
        background: Of the term's scores over the collection.
        level: The score that x is counted from: the mean of the background, or 0 of a reranker's log-odds.
        searched: How many things were searched.
        specificity: Of the term, where it is a text; 1 for anything else.
        about: The chance that a text is about anything in the collection; 1 for anything else.
    """

    best: float
    lead: float
    standing: float
    background: Background
    level: float
    searched: int
    specificity: float = 1.0
    about: float = 1.0

    @classmethod
    def of(
        cls,
        found: NDArray[np.floating],
        background: Background,
        searched: int,
        specificity: float = 1.0,
        highest_level: float = math.inf,
    ) -> Answer:
        """The answer of the embeddings, by the scores (n,) of what they found, in any order; n may be 0.

        Where most of a collection is what is asked for, the background's mean is that of matches; `highest_level` is
        what the mean of anything else can be.
        """
        best, lead = _ahead(found) if found.size else (background.mean, 0.0)
        standing = (best - background.mean) / background.deviation
        level = min(background.mean, highest_level)
        return cls(best, lead, standing, background, level, searched, specificity)

    def reread(self, found: NDArray[np.floating]) -> Answer:
        """The answer of a reranker, by its log-odds (n,) of a shortlist, which have no background of their own."""
        best, lead = _ahead(found)
        return replace(self, best=best, lead=lead, level=0.0)


def _ahead(scores: NDArray[np.floating]) -> tuple[float, float]:
    """The highest of some scores, and how much higher it is than the fifth."""
    best, fifth = float(scores.max()), scores.size - CONTEXT
    return best, best - float(np.partition(scores, fifth)[fifth]) if fifth >= 0 else 0.0


@dataclass(frozen=True, slots=True)
class Weights:
    """See the head of this module."""

    slope: float
    best: float
    lead: float
    standing: float
    size: float
    constant: float

    def rest(self, best: float, lead: float, standing: float, size: float) -> float:
        """What does not depend on the single score."""
        return self.best * best + self.lead * lead + self.standing * standing + self.size * size + self.constant


@dataclass(frozen=True, slots=True)
class Relevance:
    """The relevance of one encoder, or its reranker, and pair of modalities.

    Attributes:
        word, sentence: Weights where a word is asked, and where a sentence or a file is.
        bend: How far texts between them differ from the mixture of both.
        raw: Whether x is the score above the background's mean, and not z.
    """

    word: Weights
    sentence: Weights
    bend: float = 0.0
    raw: bool = True

    def log_odds(self, scores: NDArray[np.floating], answer: Answer) -> NDArray[np.float64]:
        """Log-odds that things with these scores match, same shape as `scores`; they rise with the score."""
        background = answer.background
        level, unit = (answer.level, 1.0) if self.raw else (background.mean, background.deviation)
        x = (np.asarray(scores, np.float64) - level) / unit
        size = math.log(min(max(answer.searched, 1), _MOST))
        known = (answer.best - level) / unit, answer.lead / unit, answer.standing, size
        w = answer.specificity
        slope = (1 - w) * self.word.slope + w * self.sentence.slope
        rest = (1 - w) * self.word.rest(*known) + w * self.sentence.rest(*known) + self.bend * w * (1 - w)
        return _scaled(np.asarray(slope * x + rest), answer.about)

    def about(self, answer: Answer) -> float:
        """The chance that an answer is about anything, where these are the weights of that."""
        return float(probability(self.log_odds(np.array(answer.best), answer)))


def _scaled(log_odds: NDArray[np.float64], chance: float) -> NDArray[np.float64]:
    """The log-odds of probabilities that are so many times as large: of `chance` times p."""
    if chance >= 1:
        return log_odds
    chance = max(chance, 1e-6)
    return np.asarray(math.log(chance) + log_odds - np.logaddexp(0.0, math.log1p(-chance) + log_odds))


def _same(weights: Weights, raw: bool = True) -> Relevance:
    return Relevance(weights, weights, 0.0, raw)


_IMAGE, _TEXT, _AUDIO = Modality.IMAGE, Modality.TEXT, Modality.AUDIO

# Encoder or reranker, what is asked with, what is found. Fitted by benchmarks/relevance_fit.py, which prints this.
_FITTED: dict[tuple[str, Modality, Modality], Relevance] = {
    ("mini", _TEXT, _IMAGE): Relevance(
        Weights(11.478, -3.668, -0.838, -0.001, -0.147, -1.642),
        Weights(17.25, -18.3, 7.084, 0.289, -0.203, -1.473),
        -2.878,
    ),
    ("mini", _IMAGE, _TEXT): _same(Weights(19.497, -8.278, 9.983, -0.29, -0.606, -1.497)),
    ("mini", _IMAGE, _IMAGE): _same(Weights(8.7, -2.654, -1.701, -0.056, -0.363, -0.075)),
    ("mini", _TEXT, _TEXT): Relevance(
        Weights(13.367, -15.219, -0.184, 0.247, 0.163, 0.484), Weights(22.107, -6.404, 18.076, -0.981, -0.233, -6.017)
    ),
    ("mini", _TEXT, _AUDIO): _same(Weights(56.054, 0.0, 0.0, 0.0, 0.064, -14.412)),
    ("mini", _AUDIO, _TEXT): _same(Weights(22.162, 0.0, 0.0, 0.0, -1.0, -3.062)),
    ("mini", _AUDIO, _AUDIO): _same(Weights(7.752, 0.0, 0.0, 0.0, -0.176, -3.644)),
    ("mini", _AUDIO, _IMAGE): _same(Weights(16.054, 0.0, 0.0, 0.0, -0.278, -2.931)),
    ("mini", _IMAGE, _AUDIO): _same(Weights(18.214, 0.0, 0.0, 0.0, -0.04, -3.239)),
    ("mini-reranker@032a2fa2", _TEXT, _IMAGE): Relevance(
        Weights(1.116, 0.226, -0.197, -0.436, -0.356, 2.928), Weights(1.98, -1.58, 0.587, 0.01, -0.457, 0.24), -2.164
    ),
    ("mini-reranker@032a2fa2", _IMAGE, _TEXT): _same(Weights(1.975, -0.687, 1.062, -0.925, -0.42, 3.554)),
}
# Whether a text is about anything in a collection.
_ABOUT: dict[tuple[str, Modality], Relevance] = {
    ("mini", _IMAGE): Relevance(
        Weights(0.0, 21.479, 0.148, -0.222, -0.976, -0.195), Weights(0.0, 22.696, 0.824, 0.079, -1.029, -4.081), -4.08
    ),
    ("mini", _TEXT): Relevance(
        Weights(0.0, 20.739, -1.644, 0.084, -1.276, 0.391), Weights(0.0, 15.239, 2.396, 1.152, -0.627, -7.95), -8.153
    ),
}
# Any other encoder: by z alone, which the library tells.
_CROSSING = Relevance(
    Weights(1.113, -0.238, -0.088, -0.238, -0.053, -1.599),
    Weights(2.151, -1.017, 0.798, -1.017, -0.166, -1.382),
    -2.099,
    raw=False,
)
_WORDS_ALONE = Relevance(
    Weights(1.126, -0.462, -0.073, -0.462, 0.098, -0.214),
    Weights(2.635, -1.387, 2.724, -1.387, 0.031, -2.482),
    raw=False,
)
_FILE_CROSSING = _same(Weights(2.764, -0.507, 0.192, -0.507, -0.762, -3.516), raw=False)
_ALIKE = _same(Weights(1.262, -0.023, -0.884, -0.023, -0.555, -1.097), raw=False)
_ANY_ABOUT = Relevance(
    Weights(0.0, 0.497, -0.174, 0.497, -0.697, 0.83),
    Weights(0.0, 0.713, -0.105, 0.713, -0.563, -2.152),
    -2.436,
    raw=False,
)
_ANY_ABOUT_TEXTS = Relevance(
    Weights(0.0, 0.601, -0.781, 0.601, -0.747, 1.238),
    Weights(0.0, 0.872, 0.505, 0.872, -0.309, -5.284),
    -8.276,
    raw=False,
)


def relevance_for(encoder_id: str, asked: Modality, found: Modality) -> Relevance:
    """The relevance of an encoder's scores, or a general one for an encoder that has none of its own.

    Args:
        encoder_id: The encoder.
        asked: What the query is.
        found: What is searched; a frame of a video is an image.
    """
    asked, found = _seen(asked), _seen(found)
    fitted = _FITTED.get((encoder_id, asked, found))
    if fitted is not None:
        return fitted
    if asked is _TEXT:
        return _WORDS_ALONE if found is _TEXT else _CROSSING
    return _ALIKE if asked is found else _FILE_CROSSING


def reread_for(reranker_id: str, asked: Modality, found: Modality) -> Relevance | None:
    """The relevance of a reranker's log-odds; None for one that was not fitted."""
    return _FITTED.get((reranker_id, _seen(asked), _seen(found)))


def answer_to(
    encoder_id: str,
    asked: Modality,
    found: Modality,
    scores: NDArray[np.floating],
    background: Background,
    searched: int,
    text: str,
) -> Answer:
    """What is known of an answer of the embeddings.

    Args:
        encoder_id: The encoder.
        asked: What the query is.
        found: What is searched.
        scores: (n,) of what was found, in any order, at least `CONTEXT` of the best; n may be 0.
        background: Of the query's scores.
        searched: How many things were searched.
        text: What was asked, where it was a text.
    """
    if asked is not _TEXT:
        return Answer.of(scores, background, searched)
    highest = highest_level(encoder_id, found)
    answer = Answer.of(scores, background, searched, specificity(text), highest)
    if found is _AUDIO:
        return answer
    about = _ABOUT.get((encoder_id, _seen(found))) or (_ANY_ABOUT_TEXTS if found is _TEXT else _ANY_ABOUT)
    return replace(answer, about=about.about(answer))


def highest_level(encoder_id: str, found: Modality) -> float:
    """What the mean of a text's scores can be over pictures which it is not about; infinity where it is not known."""
    known = calibration_for(encoder_id, _TEXT, _IMAGE)
    if _seen(found) is not _IMAGE or not known.confidence:
        return math.inf
    return known.mean + known.deviation / 2


def _seen(kind: Modality) -> Modality:
    return _IMAGE if kind is Modality.VIDEO else kind
