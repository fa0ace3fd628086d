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

    def read(self, sentences: Sequence[str]) -> Words:
        """Read n sentences, at least one; of a long one only the first words count.

        Raises:
            ModelMissingError: The tower's weights are not there.
            EncoderError: The tower failed.
        """
        tower = self._mini.text_tower()
        rows, owners, pieces = [], [], []
        for place, (ids, states) in enumerate(tower.states(sentences, self._depth or None)):
            named = [tower.piece(id_) for id_ in ids]
            kept = [at for at, piece in enumerate(named) if piece not in _PASSED_OVER][:_LONGEST] or [0]
            rows.append(states[kept])
            owners.append(np.full(len(kept), place))
            pieces += [named[at] for at in kept]
        return Words(np.concatenate(rows), np.concatenate(owners), tuple(pieces))
