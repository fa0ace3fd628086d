"""The vector indexes of a library, one for each encoder and modality."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.types import Collection, Modality
from mmsearch.vectors.store import VectorStore

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder

__all__ = ["VectorStores"]


class VectorStores:
    """Opens the index of a collection once, and keeps it open.

    Args:
        folder: Where the indexes of all collections lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stores: dict[str, VectorStore] = {}

    def __call__(self, encoder: Encoder, modality: Modality) -> VectorStore:
        """The index of what an encoder made of segments of a modality."""
        name = Collection(encoder.id, modality).name
        # Of two threads that come first, both get the same.
        return self._stores.get(name) or self._stores.setdefault(name, VectorStore(self._folder, name, encoder.dim))
