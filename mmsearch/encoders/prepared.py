"""What encoders have in common whose text towers are exported when their model is first loaded."""

from __future__ import annotations

import gc
import os
import shutil
import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from mmsearch.encoders.absent import OneTextTower
from mmsearch.encoders.model_folder import ModelFolder, ModelMeta, TextMeta, Weights
from mmsearch.encoders.text_tower import TextTower
from mmsearch.errors import EncoderError, UnknownEncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.fetching import Source
    from mmsearch.encoders.precision import Precision
    from mmsearch.encoders.torch_tower import TorchTextTower

__all__ = ["PreparedEncoder"]


class _Loaded(Protocol):
    """A model in torch, on the processor."""

    @property
    def weights(self) -> Path:
        """The checkpoint it was made from, or the folder with it."""


LoadedT = TypeVar("LoadedT", bound=_Loaded)
MadeT = TypeVar("MadeT")


class PreparedEncoder(OneTextTower, Generic[LoadedT]):
    """An encoder that keeps a description of its model and the exported text tower in the model cache.

    The text tower runs on ONNX Runtime, so that a text query does not import torch; one that cannot be exported stays
    in torch. Where the checkpoint has changed since, both are made anew.

    Attributes:
        id: The one spelling of its id, under which a library remembers it.

    Args:
        source: Which model.
        device: Where the other tower runs; the best place here when None.
        precision: Of that tower; the fastest that serves when None.
        offline: Never fetch weights.
        notify: Called with a sentence before something that takes long.

    Raises:
        UnknownEncoderError: The id names a file or folder that is not there, nor ever was.
    """

    def __init__(
        self,
        source: Source,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        offline: bool = False,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.id = source.id
        self._device, self._precision = device, precision
        self._offline, self._notify = offline, notify
        self._folder = ModelFolder(source.id)
        self._lock = threading.RLock()
        self._meta: ModelMeta | None = None
        self._texts: TextTower | TorchTextTower | None = None
        self._loaded: LoadedT | None = None  # between an export and the first use of the other tower
        if source.local is not None and not os.path.exists(source.local) and self._folder.read() is None:
            raise UnknownEncoderError(
                f"There is no checkpoint {source.local}.", hint="See what there is: mmsearch models list"
            )

    @abstractmethod
    def _load(self) -> LoadedT:
        """The model, whose weights are fetched first if they are not on this machine."""

    @abstractmethod
    def _transform_of(self, loaded: LoadedT) -> Mapping[str, Any]:
        """What the description keeps of how pictures or sounds are prepared."""

    @abstractmethod
    def _embed(self, loaded: LoadedT, texts: list[str]) -> NDArray[np.float32]:
        """Embed a few texts in torch: (n, dim) float32, rows L2-normalised."""

    @abstractmethod
    def _export_texts(self, loaded: LoadedT, folder: Path) -> TextMeta:
        """Write the text tower into an empty folder; raises `NotExportableError` where that is not possible."""

    @abstractmethod
    def _drop_other_tower(self, loaded: LoadedT) -> None:
        """Free the memory of the tower that is not for texts."""

    @property
    def dim(self) -> int:
        """Length of its embeddings; loads the model if that was never done on this machine."""
        return self.describe().dim

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

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts, cut to the model's context length: (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
            ModelMissingError: The model was never loaded on this machine and could not be fetched.
        """
        if not texts:
            return np.empty((0, self.dim), np.float32)
        return self._text_tower().encode(texts)

    def _text_tower(self) -> TextTower | TorchTextTower:
        with self._lock:
            if self._texts is None:
                meta = self.describe()
                if meta.text is not None:
                    self._texts = TextTower(self._folder.path / meta.text.folder, meta.text)
                else:
                    loaded = self._load()
                    self._drop_other_tower(loaded)
                    from mmsearch.encoders.torch_tower import TorchTextTower

                    self._texts = TorchTextTower(lambda few: self._embed(loaded, few))
                self._loaded = None
            return self._texts

    def _made_of_model(self, make: Callable[[LoadedT], MadeT]) -> MadeT:
        """Make the other tower of the model, then let go of the rest of it; under the lock."""
        self.describe()
        made = make(self._loaded or self._load())
        self._loaded = None
        gc.collect()  # the text tower is much of a model and not needed any more
        return made

    def _export(self, loaded: LoadedT) -> ModelMeta:
        """Put the text tower and a description of the model into its folder."""
        from mmsearch.encoders.foreign import quiet
        from mmsearch.encoders.text_check import NotExportableError

        if self._notify:
            self._notify(f"Preparing {self.id} for fast queries; this happens once.")
        part = self._folder.new_part()
        text, reason = None, None
        try:
            with quiet():
                dim = self._embed(loaded, ["a photo"]).shape[1]
                text = self._export_texts(loaded, part)
        except NotExportableError as error:
            reason = str(error)
        except RuntimeError as error:
            raise EncoderError(f"The text tower of {self.id} failed: {error}") from error
        finally:
            if text is None:
                shutil.rmtree(part, ignore_errors=True)
        meta = ModelMeta(self.id, dim, self._transform_of(loaded), Weights.of(loaded.weights), text, reason)
        self._folder.write(meta)
        return meta
