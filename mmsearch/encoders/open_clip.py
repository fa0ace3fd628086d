"""Pictures and texts in, embeddings of an open_clip model out: in batches, in the machine's best precision."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.absent import NoSounds
from mmsearch.encoders.image_transform import ImageTransform
from mmsearch.encoders.model_folder import ModelFolder, ModelMeta, Weights
from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.encoders.precision import Precision
from mmsearch.encoders.text_tower import TextTower
from mmsearch.errors import EncoderError, UnknownEncoderError
from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.encoders.open_clip_loading import LoadedModel
    from mmsearch.encoders.open_clip_towers import ImageTower, TorchTextTower

__all__ = ["OpenClipEncoder"]


class OpenClipEncoder(NoSounds):
    """The encoder of one open_clip model; made by `mmsearch.encoders.load_encoder`.

    The image tower runs in torch. The text tower is exported when the model is first loaded and runs on ONNX Runtime
    from then on, so that a text query imports neither torch nor open_clip; a few towers cannot be exported and stay in
    torch. Where the checkpoint has changed since, both are made anew.

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
        self._source = source
        self._device, self._precision = device, precision
        self._offline, self._notify = offline, notify
        self._folder = ModelFolder(source.id)
        self._lock = threading.RLock()
        self._meta: ModelMeta | None = None
        self._transform: ImageTransform | None = None
        self._images: ImageTower | None = None
        self._texts: TextTower | TorchTextTower | None = None
        self._loaded: LoadedModel | None = None  # between an export and the first use of the image tower
        if source.local is not None and not os.path.exists(source.local) and self._folder.read() is None:
            raise UnknownEncoderError(
                f"There is no checkpoint {source.local}.", hint="See what there is: mmsearch models list"
            )

    @property
    def id(self) -> str:  # type: ignore[override]
        """The one spelling of its id, under which a library remembers it."""
        return self._source.id

    @property
    def dim(self) -> int:
        """Length of its embeddings; loads the model if that was never done on this machine."""
        return self.describe().dim

    @property
    def image_size(self) -> int:
        """The longer side, in pixels, of what its image tower reads."""
        transform = self._image_transform()
        return max(transform.height, transform.width)

    @property
    def batch_size(self) -> int:
        """How many images it likes to get at once; fewer after memory ran out."""
        return self._image_tower().batch_size

    def describe(self) -> ModelMeta:
        """What is known of the model; loads and exports it if that was never done, or its checkpoint has changed."""
        with self._lock:
            if self._meta is None:
                meta = self._folder.read()
                if meta is None or meta.weights.changed():
                    self._loaded = self._load()
                    meta = self._export(self._loaded)
                self._meta = meta
            return self._meta

    def adopt(self, weights: Path) -> None:
        """Take a checkpoint in a new place for the one that the text tower came from; exports anew if it is another."""
        with self._lock:
            meta, measured = self.describe(), Weights.of(weights)
            if measured.sha256 == meta.weights.sha256:
                self._meta = replace(meta, weights=measured)
                self._folder.write(self._meta)
            else:
                self._loaded = self._load()
                self._meta = self._export(self._loaded)

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

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts, cut to the model's context length: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
            ModelMissingError: The model was never loaded on this machine and could not be fetched.
        """
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return self._text_tower().encode(texts)

    def _image_transform(self) -> ImageTransform:
        if self._transform is None:
            self._transform = ImageTransform.from_config(self.describe().transform)
        return self._transform

    def _image_tower(self) -> ImageTower:
        with self._lock:
            if self._images is None:
                self.describe()
                loaded = self._loaded or self._load()
                from mmsearch.encoders.open_clip_towers import ImageTower  # torch: what is missing was said by now

                self._images = ImageTower(loaded, self._device, self._precision)
                self._loaded = loaded = None  # type: ignore[assignment]
                gc.collect()  # the text tower is a third of the model and not needed any more
            return self._images

    def _text_tower(self) -> TextTower | TorchTextTower:
        with self._lock:
            if self._texts is None:
                meta = self.describe()
                if meta.text is not None:
                    self._texts = TextTower(self._folder.path / meta.text.folder, meta.text)
                else:
                    loaded = self._load()
                    from mmsearch.encoders.open_clip_towers import TorchTextTower

                    self._texts = TorchTextTower(loaded)
                self._loaded = None
            return self._texts

    def _load(self) -> LoadedModel:
        from mmsearch.encoders.open_clip_loading import load_model

        return load_model(self._source, offline=self._offline, notify=self._notify)

    def _export(self, loaded: LoadedModel) -> ModelMeta:
        """Put the text tower and a description of the model into its folder."""
        import shutil

        from mmsearch.encoders.open_clip_loading import quiet
        from mmsearch.encoders.text_export import NotExportableError, export_text_tower, reference_embeddings

        if self._notify:
            self._notify(f"Preparing {self.id} for fast queries; this happens once.")
        part = self._folder.new_part()
        text, reason = None, None
        try:
            with quiet():
                dim = reference_embeddings(loaded.model, loaded.tokenizer, ["a photo"]).shape[1]
                text = export_text_tower(loaded.model, loaded.tokenizer, part)
        except NotExportableError as error:
            reason = str(error)
        except RuntimeError as error:
            raise EncoderError(f"The text tower of {self.id} failed: {error}") from error
        finally:
            if text is None:
                shutil.rmtree(part, ignore_errors=True)
        meta = ModelMeta(self.id, dim, loaded.transform.to_config(), Weights.of(loaded.weights), text, reason)
        self._folder.write(meta)
        return meta
