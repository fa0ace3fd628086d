"""Photos and texts go in, embeddings of the built-in model come out; it needs no torch, and texts no ONNX Runtime.

So do those of a model of one's own, in a folder of the same format. How the built-in one was made, from what, and how
well it does is told in ``mmsearch/models/MODEL_CARD.md``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.config import processors
from mmsearch.encoders.mini_text import HINT, TextTower, read_shape
from mmsearch.errors import EncoderError, ModelMissingError, UsageError
from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from mmsearch.encoders.mini_source import MiniSource

__all__ = ["MODELS", "MiniEncoder"]

MODELS = Path(__file__).resolve().parent.parent / "models"
"""The folder of the built-in weights."""

_AT_ONCE = 4  # pictures that a thread computes at once: more need memory and gain nothing


class MiniEncoder:
    """The built-in dual encoder: an EfficientNet-lite in eight-bit integers, and MiniLM in NumPy.

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
        self._session: Any = None
        self._pool: ThreadPoolExecutor | None = None
        self._texts: TextTower | None = None

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
        return frozenset({Modality.IMAGE, Modality.TEXT})

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
        return max(32, 2 * _AT_ONCE * processors())

    def load(self) -> None:
        """Load both towers at once, to see that they are there and belong together.

        Raises:
            ModelMissingError: They are not, or do not.
        """
        self._image_session()
        self._text_tower()

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
        if len(images) == 0:
            return np.zeros((0, self.dim), np.float32)
        session = self._image_session()

        def embed(start: int) -> NDArray[np.float32]:
            return np.asarray(session.run(None, {"images": np.stack(images[start : start + _AT_ONCE])})[0])

        starts = range(0, len(images), _AT_ONCE)
        try:
            # Each thread computes pictures of its own. Were each layer shared out instead, all would wait for the one
            # whose core is decoding the next photos: that is half as fast on two cores.
            parts = list(self._pool.map(embed, starts)) if self._pool and len(starts) > 1 else [*map(embed, starts)]
        except Exception as error:  # ONNX Runtime raises classes of its own that have no common base
            raise EncoderError(f"The image tower of {self.id} failed: {error}") from error
        return np.concatenate(parts)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts; those beyond the token limit are cut.

        Returns:
            (n, dim) float32, rows L2-normalised.

        Raises:
            ModelMissingError: The weights are not there.
        """
        return self._text_tower().encode(texts)

    def _text_tower(self) -> TextTower:
        """The text tower, loaded at first use."""
        with self._lock:
            if self._texts is None:
                tower = TextTower(self._models, hint=self._hint)
                self._check()
                self._texts = tower
            return self._texts

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

    def _image_session(self) -> Any:
        """The image tower, loaded at first use."""
        with self._lock:
            if self._session is None:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.log_severity_level = 3
                options.intra_op_num_threads = 1
                path = self._models / "mini_image.onnx"
                try:
                    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
                except Exception as error:  # as above
                    raise ModelMissingError(f"The weights in {path} cannot be read.", hint=self._hint) from error
                sides, dims = session.get_inputs()[0].shape[1:3], session.get_outputs()[0].shape[1:]
                if (sides, dims) != ([self.image_size] * 2, [self.dim]):
                    raise ModelMissingError(
                        f"{path} and mini_text.safetensors do not belong together.", hint=self._hint
                    )
                self._check()
                self._session = session
                if processors() > 1:
                    self._pool = ThreadPoolExecutor(processors(), "mmsearch-encode")
            return self._session
