"""Encoders that take a part of what `HashingEncoder` takes, each a space of its own, by their ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.types import Modality, SoundFormat


class Seeing(HashingEncoder):
    """Takes pictures and texts."""

    id = "seeing"
    modalities = frozenset({Modality.IMAGE, Modality.TEXT})
    sound = None  # type: ignore[assignment]


class Hearing(HashingEncoder):
    """Takes sounds alone, in another form and length."""

    id = "hearing"
    modalities = frozenset({Modality.AUDIO})
    sound = SoundFormat(rate=16_000, window_ms=2000, hop_ms=2000)

    def __init__(self) -> None:
        super().__init__(24)


class Describing(HashingEncoder):
    """Takes sounds and texts, as CLAP does."""

    id = "describing"
    modalities = frozenset({Modality.AUDIO, Modality.TEXT})

    def __init__(self) -> None:
        super().__init__(48)

    def encode_texts(self, texts: list[str]) -> NDArray[np.float32]:  # type: ignore[override]
        return super().encode_texts([text.replace("barks", "bark") for text in texts])


FAMILIES = {encoder.id: lambda *_, made=encoder: made() for encoder in (Seeing, Hearing, Describing)}
