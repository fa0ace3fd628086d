"""Sentences go in, the states of the words that carry their sense come out, as the fusion model reads them.

The words are read by the built-in text tower, whatever encoder a library has: it is there, needs no torch, and its
states tell a word from the same word elsewhere in a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.mini import MiniEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WordReader", "Words"]

# Marks and words that say nothing of a picture by themselves; what they mean for others is in the others' states.
_MARKS = ("[CLS]", "[SEP]", ".", ",", "'", ";", ":", "!", "-")
_PASSED_OVER = frozenset((*_MARKS, "a", "an", "the", "is", "are", "of", "s", "it", "its", "and"))
_LONGEST = 28
# Sentences that are remembered: the captions that one picture is held against are those of the next one, too.
_KEPT = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of some sentences, one after the other.

    Attributes:
        states: (w, width) float32.
        owners: (w,) the sentence of each, ascending from 0; every sentence has one at least.
        pieces: The w word pieces themselves.
    """

    states: NDArray[np.float32]
    owners: NDArray[np.int64]
    pieces: tuple[str, ...]


class WordReader:
    """Reads sentences with the built-in text tower.

    Args:
        depth: Layers of the tower that they go through; all when 0.
        mini: The built-in encoder, where it is loaded anyway.
    """

    def __init__(self, depth: int = 0, mini: MiniEncoder | None = None) -> None:
        self._depth = depth
        self._mini = mini or MiniEncoder()
        self._known: dict[str, tuple[NDArray[np.float32], tuple[str, ...]]] = {}

    def read(self, sentences: Sequence[str]) -> Words:
        """Read n sentences, at least one; of a long one only the first words count.

        Raises:
            ModelMissingError: The tower's weights are not there.
            EncoderError: The tower failed.
        """
        unknown = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._known]
        if unknown:
            self._learn(unknown)
        found = [self._known[sentence] for sentence in sentences]
        owners = np.repeat(np.arange(len(found)), [len(states) for states, _ in found])
        pieces = tuple(piece for _, own in found for piece in own)
        self._forget()
        return Words(np.concatenate([states for states, _ in found]), owners, pieces)

    def _learn(self, sentences: Sequence[str]) -> None:
        tower = self._mini.text_tower()
        for sentence, (ids, states) in zip(sentences, tower.states(sentences, self._depth or None), strict=True):
            named = [tower.piece(id_) for id_ in ids]
            kept = [at for at, piece in enumerate(named) if piece not in _PASSED_OVER][:_LONGEST] or [0]
            self._known[sentence] = states[kept], tuple(named[at] for at in kept)

    def _forget(self) -> None:
        """Let go of the sentences that were read first, beyond those that are worth the memory."""
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
