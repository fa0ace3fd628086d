"""Words and pictures in, BLIP's log-odds that they match out: its image-text matching head, through transformers.

BLIP (Li and others, arXiv 2201.12086) reads the words with cross-attention to the picture's patches, and a head of two
classes says whether they match. The picture goes through its tower again for every query, which takes most of the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.encoders.image_transform import ImageTransform
from mmsearch.encoders.reranker_source import BlipSource
from mmsearch.rerank.file_reranker import FileReranker, PairModel

__all__ = ["BlipReranker", "LoadedBlip", "load_blip"]

_BILINEAR = 2
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class LoadedBlip:
    """A BLIP model on the CPU in float32, in `eval` mode, with what belongs to it.

    Attributes:
        model: transformers' ``BlipForImageTextRetrieval``.
        tokenizer: That of its processor.
        transform: What its processor does to pictures.
        limit: Most tokens of a text.
    """

    model: Any
    tokenizer: Any
    transform: ImageTransform
    limit: int


class BlipReranker(FileReranker[BlipSource]):
    """A BLIP model with an image-text matching head; made by `mmsearch.rerank.foreign.load_foreign_reranker`.

    Its head was trained to tell matching pairs from others, so its log-odds stand as they are, whatever the prior.
    """

    def _make(self) -> PairModel:
        loaded = load_blip(self._source, offline=self._offline, notify=self._notify)
        from mmsearch.rerank.pair_models import BlipPairs  # torch: what is missing was said by now

        return BlipPairs(loaded, self._device, self._precision)


def load_blip(source: BlipSource, *, offline: bool = True, notify: Callable[[str], None] | None = None) -> LoadedBlip:
    """Load a model through transformers itself, fetching its files first if they are not on this machine.

    Raises:
        ExtraMissingError: transformers is not installed.
        ModelMissingError: The files are not here and could not be fetched.
        EncoderError: They are not what they should be, such as those of a BLIP that writes captions.
        StorageError: The disk is full or not writable.
    """
    from mmsearch.encoders.saved_loading import load_saved

    loaded, _ = load_saved(source, _read, offline=offline, notify=notify)
    return loaded


def _read(transformers: Any, folder: Path) -> LoadedBlip:
    from mmsearch.encoders.saved_loading import read_weights

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    model: Any = read_weights(transformers.BlipForImageTextRetrieval, folder)
    words = model.config.text_config
    if len(tokenizer) > words.vocab_size:
        raise ValueError("its tokenizer knows more tokens than its text encoder")
    transform = _transform(folder)
    size = model.config.vision_config.image_size
    if (transform.height, transform.width) != ((size, size) if isinstance(size, int) else tuple(size)):
        raise ValueError("its processor makes pictures of another size than its image tower reads")
    return LoadedBlip(model, tokenizer, transform, min(words.max_position_embeddings, tokenizer.model_max_length))


def _transform(folder: Path) -> ImageTransform:
    """What the processor of a saved model does to pictures: squash, scale and centre them."""
    nested = folder / "processor_config.json"
    settings: dict[str, Any] = json.loads(nested.read_text(encoding="utf-8")) if nested.is_file() else {}
    values = settings.get("image_processor")
    if values is None:  # as transformers saved it before it kept all parts of a processor in one file
        values = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    size = values.get("size", 384)
    height, width = (size["height"], size["width"]) if isinstance(size, dict) else (size, size)
    return ImageTransform(
        height=int(height),
        width=int(width),
        mean=_channels(values.get("image_mean") or _MEAN),
        std=_channels(values.get("image_std") or _STD),
        interpolation="bilinear" if values.get("resample") == _BILINEAR else "bicubic",
        resize_mode="squash",
    )


def _channels(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
