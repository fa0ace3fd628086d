"""Photos, sounds and texts go in, embeddings of the built-in model come out; no torch, and for texts no ONNX Runtime.

So do those of a model of one's own, in a folder of the same format. How the built-in one was made, from what, and how
well it does is told in ``mmsearch/models/MODEL_CARD.md``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.encoders.absent import no_patches
from mmsearch.encoders.mini_graph import GraphTower
from mmsearch.encoders.mini_sound import BANDS, FRAMES, SOUND, spectrogram
from mmsearch.encoders.mini_text import HINT, TextTower, read_shape
from mmsearch.encoders.model_folder import SOUND_FILE, TEXT_GRAPH
from mmsearch.errors import EncoderError, ModelMissingError, UsageError
from mmsearch.types import Modality, PatchFormat, SoundFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.encoders.mini_passages import PassageTower
    from mmsearch.encoders.mini_source import MiniSource

__all__ = ["MODELS", "MiniEncoder"]

MODELS = Path(__file__).resolve().parent.parent / "models"
"""The folder of the built-in weights."""

_PICTURES_AT_ONCE, _SOUNDS_AT_ONCE = 4, 8


class MiniEncoder:
    """The built-in encoder: an EfficientNet-lite in eight-bit integers, MiniLM in NumPy, a small network for sounds.

    A model of one's own may lack the audio tower (``mini_sound.onnx``); then it does not take sounds.

    Args:
        device: None, ``auto`` or ``cpu``; it runs on the processor alone.
        precision: None, ``auto`` or ``int8``; its weights are eight-bit integers.
        models: The folder of its weights, to try others than the built-in ones under its name.
        source: A model of one's own, under a name of its own.

    Raises:
        UsageError: It is asked to run elsewhere or with other numbers.
    """

    def __init__(
        self,
        device: str | None = None,
        precision: str | None = None,
        *,
        models: Path = MODELS,
        source: MiniSource | None = None,
    ) -> None:
        name = "The built-in model" if source is None else f"The model {source.id}"
        if device not in (None, "auto", "cpu"):
            raise UsageError(f"{name} does not run on {device}.", hint="Leave out --device, or say cpu.")
        if precision not in (None, "auto", "int8"):
            raise UsageError(f"{name} has no {precision} weights.", hint="Leave out --precision, or say int8.")
        self._source = source
        self._models = models if source is None else source.folder
        self._lock = threading.Lock()
        self._images: GraphTower | None = None
        self._texts: TextTower | None = None
        self._passages: PassageTower | None = None
        self._sounds: GraphTower | None = None

    @property
    def id(self) -> str:
        """The name under which a library remembers it."""
        return "mini" if self._source is None else self._source.id

    @property
    def dim(self) -> int:
        """Length of its embeddings."""
        return self._shape[0]

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can encode."""
        return frozenset({Modality.IMAGE, Modality.TEXT} | ({Modality.AUDIO} if self.sound else set()))

    @cached_property
    def sound(self) -> SoundFormat | None:
        """How its audio tower wants sounds cut; None where it has none."""
        return SOUND if (self._models / SOUND_FILE).is_file() else None

    @property
    def text_pieces(self) -> int:
        """Word pieces of a passage: its tower reads 128, and learned from captions, which are short."""
        return 112

    @property
    def image_size(self) -> int:
        """Side in pixels of the square that its image tower reads."""
        return self._shape[1]

    @cached_property
    def _shape(self) -> tuple[int, int]:
        """Length of an embedding, side of a picture."""
        if self._source is not None:
            known = self._source.describe()
            return known.dim, int(known.transform["size"])
        shape = read_shape(self._models / "mini_text.safetensors")
        return shape.dim, shape.side

    @property
    def batch_size(self) -> int:
        """How many images it likes to get at once."""
        return max(32, 2 * _PICTURES_AT_ONCE * processors())

    def load(self) -> None:
        """Load all towers at once, to see that they are there and belong together.

        Raises:
            ModelMissingError: They are not, or do not.
        """
        self._image_tower()
        self.text_tower()
        if self.sound is not None:
            self._sound_tower()

    def prepare_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Squash one RGB image to the square that the tower reads.

        Nothing is cropped, as nothing was in training: what stands at the edge of a wide photo is found too.

        Returns:
            (side, side, 3) uint8.
        """
        from PIL import Image as PillowImage

        resized = image.resize((self.image_size,) * 2, PillowImage.Resampling.BICUBIC, reducing_gap=2.0)
        return np.asarray(resized, dtype=np.uint8)

    def encode_images(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed prepared images.

        Args:
            images: n arrays from `prepare_image`.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed.
            ModelMissingError: The weights are not there.
        """
        return self._image_tower().encode(images) if len(images) else np.zeros((0, self.dim), np.float32)

    @property
    def patches(self) -> PatchFormat | None:
        """What its image tower yields beside an embedding, which it loads to see; models of old yield nothing.

        Raises:
            ModelMissingError: The weights are not there.
        """
        return self._image_tower().patches

    def encode_images_with_patches(
        self, images: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embed prepared images, and tell what is at each place of them.

        Returns:
            What `encode_images` gives, and (n, places, width) float32.

        Raises:
            EncoderError: The tower failed, or yields no patches.
            ModelMissingError: The weights are not there.
        """
        tower = self._image_tower()
        if tower.patches is None:
            raise no_patches(self.id, "It was exported by an earlier version; train it again: mmsearch train --help")
        if not len(images):
            return np.zeros((0, self.dim), np.float32), np.zeros((0, tower.patches.count, tower.patches.width), "f")
        return tower.encode_with_patches(images)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; those beyond the token limit are cut.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            ModelMissingError: The weights are not there.
        """
        return self.text_tower().encode(texts)

    def encode_passages(self, passages: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts that are to be found: many at a time, in ONNX Runtime; those beyond the token limit are cut.

        Returns:
            (n, dim) float32, rows L2-normalised; close to what `encode_texts` gives, but not equal.

        Raises:
            EncoderError: The tower failed.
            ModelMissingError: The weights are not there.
        """
        if not (self._models / TEXT_GRAPH).is_file():  # a model of one's own that was made without
            return self.encode_texts(passages)
        return self._passage_tower().encode(passages)

    def prepare_sound(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make a spectrogram of one window of mono samples at `sound.rate`.

        What is shorter than a window is followed by silence, what is longer is cut.

        Returns:
            (bands, frames) float32.

        Raises:
            EncoderError: The model does not take sounds.
        """
        if self.sound is None:
            raise self._deaf()
        return spectrogram(samples)

    def encode_sounds(self, sounds: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Embed prepared sounds.

        Args:
            sounds: n arrays from `prepare_sound`.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            EncoderError: The tower failed, or the model has none.
            ModelMissingError: The weights are not there any more.
        """
        if self.sound is None:
            raise self._deaf()
        return self._sound_tower().encode(sounds) if len(sounds) else np.zeros((0, self.dim), np.float32)

    def _deaf(self) -> EncoderError:
        return EncoderError(
            f"The model {self.id} does not take sounds.",
            hint="Train an audio tower for it: mmsearch train sound --help",
        )

    def text_tower(self) -> TextTower:
        """The text tower itself, loaded at first use; raises `ModelMissingError` where its weights are not there."""
        with self._lock:
            if self._texts is None:
                tower = TextTower(self._models, hint=self._hint)
                self._check()
                self._texts = tower
            return self._texts

    def _passage_tower(self) -> PassageTower:
        """The text tower for passages, loaded at first use."""
        texts = self.text_tower()
        with self._lock:
            if self._passages is None:
                from mmsearch.encoders.mini_passages import PassageTower

                tower = PassageTower(self._models, texts, hint=self._hint)
                self._check()
                self._passages = tower
            return self._passages

    @property
    def _hint(self) -> str:
        """What helps where weights cannot be read."""
        if self._source is None:
            return HINT
        from mmsearch.encoders.mini_source import HINT as OWN

        return OWN

    def _check(self) -> None:
        """See that what was loaded is what the id names; asked after loading, so that no change can slip between."""
        if self._source is not None:
            self._source.check()

    def _image_tower(self) -> GraphTower:
        """The image tower, loaded at first use."""
        with self._lock:
            if self._images is None:
                self._images = self._graph("mini_image.onnx", _PICTURES_AT_ONCE)
            return self._images

    def _sound_tower(self) -> GraphTower:
        """The audio tower, loaded at first use."""
        with self._lock:
            if self._sounds is None:
                self._sounds = self._graph(SOUND_FILE, _SOUNDS_AT_ONCE)
            return self._sounds

    def _graph(self, name: str, at_once: int) -> GraphTower:
        path = self._models / name
        tower = GraphTower(path, at_once=at_once, hint=self._hint)
        taken = (BANDS, FRAMES) if name == SOUND_FILE else (self.image_size, self.image_size, 3)
        if tower.shape != (taken, (self.dim,)):
            raise ModelMissingError(f"{path} and mini_text.safetensors do not belong together.", hint=self._hint)
        self._check()
        return tower
