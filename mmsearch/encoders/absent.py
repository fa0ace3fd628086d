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

    from mmsearch.types import PatchFormat, SoundFormat

__all__ = ["NoImages", "NoPatches", "NoSounds", "OneTextTower", "no_patches"]


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


def no_patches(model: str, hint: str = "") -> EncoderError:
    """The error for a model whose image tower yields embeddings alone."""
    return EncoderError(f"The image tower of {model} yields no patches.", hint=hint or None)


class NoPatches:
    """For an encoder whose image tower, if it has one, yields embeddings alone."""

    id: str

    @property
    def patches(self) -> PatchFormat | None:
        """None: it yields nothing beside an embedding."""
        return None

    def encode_images_with_patches(
        self, images: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Raise `EncoderError`."""
        raise no_patches(self.id)


class NoImages(NoPatches):
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
