"""What an encoder does for want of a tower: refuse a modality, or take one tower for two ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.types import SoundFormat

__all__ = ["NoImages", "NoSounds", "OneTextTower"]


class NoSounds:
    """For an encoder without an audio tower."""

    id: str

    @property
    def sound(self) -> SoundFormat | None:
        """None: it hears nothing."""
        return None

    def prepare_sound(self, samples: NDArray[np.float32]) -> NDArray[Any]:
        """Raise `EncoderError`."""
        raise EncoderError(f"The model {self.id} does not take sounds.")

    def encode_sounds(self, sounds: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Raise `EncoderError`."""
        raise EncoderError(f"The model {self.id} does not take sounds.")


class NoImages:
    """For an encoder without an image tower."""

    id: str

    @property
    def image_size(self) -> int:
        """0: it sees nothing."""
        return 0

    def prepare_image(self, image: Image.Image) -> NDArray[Any]:
        """Raise `EncoderError`."""
        raise EncoderError(f"The model {self.id} does not take images.")

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Raise `EncoderError`."""
        raise EncoderError(f"The model {self.id} does not take images.")


class OneTextTower(ABC):
    """For an encoder that embeds passages as it embeds queries."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts."""

    def encode_passages(self, passages: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts that are to be found, as `encode_texts` does."""
        return self.encode_texts(passages)
