"""Sentences go in, the states of the words that carry their sense come out, as the fusion model reads them.

The words are read by the built-in text tower, whatever encoder a library has: it is there, needs no torch, and its
states tell a word from the same word elsewhere in a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.mini import MiniEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Read = tuple[NDArray[np.float32], tuple[str, ...]]

__all__ = ["WordReader", "Words"]

# Marks and words that say nothing of a picture by themselves; what they mean for others is in the others' states.
_MARKS = ("[CLS]", "[SEP]", ".", ",", "'", ";", ":", "!", "-")
_PASSED_OVER = frozenset((*_MARKS, "a", "an", "the", "is", "are", "of", "s", "it", "its", "and"))
_LONGEST = 28
# What is remembered: the captions that one picture is held against are those of the next one, too.
_KEPT_BYTES = 1 << 27


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of some sentences, one after the other.

    Attributes:
        states: (w, depths * width) float32, those of one depth after those of another.
        owners: (w,) the sentence of each, ascending from 0; every sentence has one at least.
        pieces: The w word pieces themselves.
    """

    states: NDArray[np.float32]
    owners: NDArray[np.int64]
    pieces: tuple[str, ...]


class WordReader:
    """Reads sentences with the built-in text tower.

    Args:
        depths: After how many layers of the tower their states are taken, one or more times; 0 for all.
        mini: The built-in encoder, where it is loaded anyway.
    """

    def __init__(self, depths: Sequence[int] = (0,), mini: MiniEncoder | None = None) -> None:
        self._depths = tuple(depths)
        self._mini = mini or MiniEncoder()
        self._known: dict[str, _Read] = {}
        self._held_bytes = 0

    def read(self, sentences: Sequence[str]) -> Words:
        """Read n sentences, at least one; of a long one only the first words count.

        Raises:
            ModelMissingError: The tower's weights are not there.
            EncoderError: The tower failed.
        """
        known = {sentence: self._known.get(sentence) for sentence in sentences}
        unknown = [sentence for sentence, read in known.items() if read is None]
        new = self._learn(unknown) if unknown else {}
        found = [known[sentence] or new[sentence] for sentence in sentences]
        owners = np.repeat(np.arange(len(found)), [len(states) for states, _ in found])
        pieces = tuple(piece for _, own in found for piece in own)
        self._remember(new)
        return Words(np.concatenate([states for states, _ in found]), owners, pieces)

    def _learn(self, sentences: Sequence[str]) -> dict[str, _Read]:
        tower = self._mini.text_tower()
        new: dict[str, _Read] = {}
        for sentence, (ids, states) in zip(sentences, tower.states(sentences, self._depths), strict=True):
            named = [tower.piece(id_) for id_ in ids]
            # A sentence of marks alone has its opening mark, whose state tells of all of it.
            kept = [at for at, piece in enumerate(named) if piece not in _PASSED_OVER][:_LONGEST] or [0]
            new[sentence] = states[kept], tuple(named[at] for at in kept)
        return new

    def _remember(self, new: Mapping[str, _Read]) -> None:
        """Keep what was read, and let go of what was read first, beyond what is worth the memory."""
        for sentence, (states, pieces) in new.items():
            if sentence not in self._known:
                self._known[sentence] = states, pieces
                self._held_bytes += states.nbytes
        while self._held_bytes > _KEPT_BYTES:
            states, _ = self._known.pop(next(iter(self._known)))
            self._held_bytes -= states.nbytes
