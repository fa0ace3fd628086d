"""The numbers that training depends on besides its data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Recipe"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that training depends on besides its data.

    Attributes:
        side: Side of the photos in pixels.
        grid: Into how many places a photo is divided each way.
        views: Ways in which training looks at each photo.
        captions, tuned_captions: Captions of each photo in a batch, in the first and the second stage.
        tuned_layers: Layers of the sentence encoder, from the last, that learn in the second stage.
        class_weight: Weight of the classifier's word on the photos.
        mixed_weight: Weight of its word on features pushed towards a class, one that the photos may never show.
        class_scale: Inverse temperature of both.
        limit: Tokens that a text is cut at.
        bfloat16: Half the numbers' length in the sentence encoder while it learns: faster on processors that know it.
    """

    side: int = 260
    grid: int = 2
    views: int = 4
    dim: int = 256
    hidden: int = 1024
    dropout: float = 0.4
    text_dropout: float = 0.1
    batch: int = 512
    captions: int = 2
    epochs: int = 16
    rate: float = 1e-3
    decay: float = 0.1
    tuned_layers: int = 2
    tuned_epochs: int = 0
    tuned_rate: float = 5e-5
    tuned_captions: int = 1
    class_weight: float = 0.1
    mixed_weight: float = 0.1
    class_scale: float = 30.0
    limit: int = 128
    seed: int = 0
    bfloat16: bool = False
