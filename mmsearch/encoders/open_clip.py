"""Pictures and texts in, embeddings of an open_clip model out: in batches, in the machine's best precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.absent import NoSounds, no_patches
from mmsearch.encoders.image_transform import ImageTransform
from mmsearch.encoders.model_folder import TextMeta
from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.encoders.precision import Precision
from mmsearch.encoders.prepared import PreparedEncoder
from mmsearch.types import Modality, PatchFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.encoders.open_clip_loading import LoadedModel
    from mmsearch.encoders.open_clip_towers import ImageTower

__all__ = ["OpenClipEncoder"]


class OpenClipEncoder(PreparedEncoder["LoadedModel"], NoSounds):
    """The encoder of one open_clip model; made by `mmsearch.encoders.load_encoder`.

    The image tower runs in torch. The text tower is exported when the model is first loaded and runs on ONNX Runtime
    from then on, so that a text query imports neither torch nor open_clip; a few towers cannot be exported and stay in
    torch.

    Args:
        source: Which model.
        device: Where the image tower runs; the best place here when None.
        precision: Of the image tower; the fastest that serves when None.
        offline: Never fetch weights.
        notify: Called with a sentence before something that takes long.

    Raises:
        UnknownEncoderError: The id names a file or folder that is not there, nor ever was.
    """

    modalities = frozenset({Modality.IMAGE, Modality.TEXT})
    text_pieces = 70  # nearly all of these towers read 77 tokens, of which two are marks

    def __init__(
        self,
        source: OpenClipSource,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        offline: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(source, device=device, precision=precision, offline=offline, notify=notify)
        self._source = source
        self._transform: ImageTransform | None = None
        self._images: ImageTower | None = None

    @property
    def image_size(self) -> int:
        """The longer side, in pixels, of what its image tower reads."""
        transform = self._image_transform()
        return max(transform.height, transform.width)

    @property
    def batch_size(self) -> int:
        """How many images it likes to get at once; fewer after memory ran out."""
        return self._image_tower().batch_size

    def prepare_image(self, image: Image.Image) -> NDArray[Any]:
        """Resize, crop or pad one RGB image to (height, width, 3) uint8; safe to call from many threads."""
        return self._image_transform()(image)

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed n prepared images, in smaller batches where memory is short: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed, also with a single image.
            ModelMissingError: Its weights are not on this machine and could not be fetched.
        """
        if not images:
            return np.empty((0, self.dim), np.float32)
        return self._image_tower().encode(images)

    @property
    def patches(self) -> PatchFormat | None:
        """What its image tower, which it loads and runs once to see, yields beside an embedding.

        Raises:
            ModelMissingError: Its weights are not on this machine and could not be fetched.
        """
        return self._image_tower().patches

    def encode_images_with_patches(
        self, images: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed n prepared images and tell what is at each place of them, in one pass of the tower.

        Returns:
            What `encode_images` gives, and (n, places, width) float32.

        Raises:
            EncoderError: The tower failed, also with a single image, or yields no patches.
            ModelMissingError: Its weights are not on this machine and could not be fetched.
        """
        tower = self._image_tower()
        if tower.patches is None:
            raise no_patches(self.id)
        if not images:
            return np.empty((0, self.dim), np.float32), np.empty((0, tower.patches.count, tower.patches.width), "f")
        return tower.encode_with_patches(images)

    def _image_transform(self) -> ImageTransform:
        if self._transform is None:
            self._transform = ImageTransform.from_config(self.describe().transform)
        return self._transform

    def _image_tower(self) -> ImageTower:
        with self._lock:
            if self._images is None:
                self._images = self._made_of_model(self._tower_of)
            return self._images

    def _tower_of(self, loaded: LoadedModel) -> ImageTower:
        from mmsearch.encoders.open_clip_towers import ImageTower  # torch: what is missing was said by now

        return ImageTower(loaded, self._device, self._precision)

    def _load(self) -> LoadedModel:
        from mmsearch.encoders.open_clip_loading import load_model

        return load_model(self._source, offline=self._offline, notify=self._notify)

    def _transform_of(self, loaded: LoadedModel) -> Mapping[str, Any]:
        return loaded.transform.to_config()

    def _embed(self, loaded: LoadedModel, texts: list[str]) -> NDArray[np.float32]:
        from mmsearch.encoders.text_export import reference_embeddings

        return reference_embeddings(loaded.model, loaded.tokenizer, texts)

    def _export_texts(self, loaded: LoadedModel, folder: Path) -> TextMeta:
        from mmsearch.encoders.text_export import export_text_tower

        return export_text_tower(loaded.model, loaded.tokenizer, folder)

    def _drop_other_tower(self, loaded: LoadedModel) -> None:
        model: Any = loaded.model
        del model.visual
