"""Where a CLAP model comes from in, the model out, through transformers' own loading code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.clap_sounds import SoundTransform
from mmsearch.encoders.clap_source import ClapSource
from mmsearch.encoders.saved_loading import load_saved, read_weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoadedClap", "load_clap"]


@dataclass(frozen=True, slots=True)
class LoadedClap:
    """A CLAP model on the CPU in float32, in `eval` mode, with what belongs to it.

    Attributes:
        model: transformers' ``ClapModel``.
        tokenizer: That of its processor.
        transform: What its processor does to sounds.
        weights: The checkpoint it was made from, or the folder with it.
    """

    model: nn.Module
    tokenizer: Any
    transform: SoundTransform
    weights: Path


def load_clap(source: ClapSource, *, offline: bool = False, notify: Callable[[str], None] | None = None) -> LoadedClap:
    """Load a model through transformers itself, fetching its files first if they are not on this machine.

    Weights are read from safetensors; only where there are none from ``pytorch_model.bin``, and nothing but tensors.

    Raises:
        ExtraMissingError: transformers is not installed.
        ModelMissingError: The files are not here and could not be fetched.
        EncoderError: They are not what they should be.
        StorageError: The disk is full or not writable.
    """
    (model, tokenizer, transform), weights = load_saved(source, _read, offline=offline, notify=notify)
    return LoadedClap(model, tokenizer, transform, weights)


def _read(transformers: Any, folder: Path) -> tuple[nn.Module, Any, SoundTransform]:
    processor = transformers.ClapProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    model: Any = read_weights(transformers.ClapModel, folder)
    if len(processor.tokenizer) > model.text_model.embeddings.word_embeddings.num_embeddings:
        raise ValueError("its tokenizer knows more tokens than its text tower")
    return model, processor.tokenizer, SoundTransform.from_extractor(processor.feature_extractor.to_dict())
