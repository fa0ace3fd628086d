"""The text tower of the built-in model as it learns: a sentence encoder, and a head that reads its mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.encoders.wordpiece import WordPiece
from mmsearch.training.heads import Head
from mmsearch.training.text_tower import SentenceTransformer
from mmsearch.training.towers import TextTower

__all__ = ["MiniTexts", "padded"]

_TEXTS_AT_ONCE = 112


class MiniTexts(TextTower):
    """A sentence encoder and a head.

    Args:
        sentences: The encoder; its last layers may learn.
        head: Reads the mean over the tokens, L2-normalised.
        vocabulary: File with the word pieces, one a line.
        limit: Tokens that a text is cut at.
        origin: Names the encoder's weights.
    """

    def __init__(self, sentences: SentenceTransformer, head: Head, vocabulary: Path, limit: int, origin: str) -> None:
        super().__init__()
        self.sentences = sentences.eval().requires_grad_(False)
        self.head = head
        self.dim = head.down.out_features
        self.vocabulary = vocabulary
        self.limit = limit
        self.tuned = 0
        self.cached = True
        self.key = f"sentences-{origin}-{limit}"
        self._pieces = WordPiece(vocabulary)

    def tune(self, layers: int) -> None:
        """From now on so many of the last layers learn."""
        self.tuned = layers
        if layers:
            self.cached = False
            self.sentences.layers[-layers:].requires_grad_(True)

    def settle(self) -> None:
        """From now on nothing of it learns, as far as it has come."""
        self.requires_grad_(False)
        self.tuned, self.cached = 0, True
        digest = hashlib.sha256()
        for value in self.sentences.state_dict().values():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.key = f"sentences-{digest.hexdigest()[:16]}-{self.limit}"

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each sentence, cut at the limit."""
        return [list(self._pieces.encode(text, self.limit)) for text in texts]

    @torch.inference_mode()
    def frozen(self, tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
        """(n, width) means over the tokens, L2-normalised."""
        return self._read(tokens).cpu().numpy()

    def forward(self, features: Tensor | Sequence[Sequence[int]]) -> Tensor:
        """Features or token ids -> (n, dim), rows L2-normalised."""
        read = features if isinstance(features, Tensor) else self._read(features)
        embeddings: Tensor = self.head(read)
        return embeddings

    def _read(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Sentence features, with gradients in the tuned layers only; sentences of like length go together."""
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        fixed = len(self.sentences.layers) - self.tuned
        parts = []
        for start in range(0, len(order), _TEXTS_AT_ONCE):
            ids, mask = padded([tokens[i] for i in order[start : start + _TEXTS_AT_ONCE]], self.head.up.weight.device)
            with torch.no_grad():
                hidden = self.sentences.run(self.sentences.embed(ids), mask, 0, fixed)
            parts.append(self.sentences.pool(self.sentences.run(hidden, mask, fixed).float(), mask))
        features = torch.cat(parts)[torch.tensor(order).argsort()]
        return nn.functional.normalize(features, dim=1)


def padded(tokens: Sequence[Sequence[int]], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Token ids (n, t) with zeros after the end, and where tokens stand (n, t)."""
    longest = max(len(ids) for ids in tokens)
    ids = torch.zeros(len(tokens), longest, dtype=torch.long)
    mask = torch.zeros(len(tokens), longest, dtype=torch.bool)
    for row, sentence in enumerate(tokens):
        ids[row, : len(sentence)] = torch.tensor(sentence)
        mask[row, : len(sentence)] = True
    return ids.to(device), mask.to(device)
