"""What an encoder says of a modality for which it has no tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.types import SoundFormat

__all__ = ["NoImages", "NoSounds"]


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
