"""Where a CLAP model comes from in, the model out, through transformers' own loading code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.clap_sounds import SoundTransform
from mmsearch.encoders.clap_source import ClapSource
from mmsearch.encoders.clap_weights import SAFE, fetch_weights, import_transformers, lacking
from mmsearch.encoders.fetching import without_network
from mmsearch.encoders.foreign import loading, quiet, reason_of
from mmsearch.errors import EncoderError

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
    transformers = import_transformers()
    with loading, quiet():
        weights, _ = fetch_weights(source, offline=offline, notify=notify)
        folder = weights if weights.is_dir() else weights.parent
        try:
            with without_network(), _without_bars(transformers):
                model, tokenizer, extractor = _read(transformers, folder)
            transform = SoundTransform.from_extractor(extractor.to_dict())
        except Exception as error:  # a checkpoint can fail in any way
            hint = (
                "Check the folder's config.json, preprocessor_config.json, tokenizer and weights."
                if source.repository is None
                else f"Fetch it anew: mmsearch models remove {source.id} && mmsearch models pull {source.id}"
            )
            raise EncoderError(f"The model {source.id} cannot be loaded: {reason_of(error)}.", hint=hint) from error
    return LoadedClap(model, tokenizer, transform, weights)


def _read(transformers: Any, folder: Path) -> tuple[nn.Module, Any, Any]:
    if missing := lacking(folder):
        raise ValueError(f"it lacks {missing}")
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(folder), "local_files_only": True}
    processor = transformers.ClapProcessor.from_pretrained(**place, trust_remote_code=False)
    safe = any((folder / name).is_file() for name in (SAFE, f"{SAFE}.index.json"))
    model, found = transformers.ClapModel.from_pretrained(
        **place, use_safetensors=safe, weights_only=True, output_loading_info=True
    )
    learnt = {name for name, _ in model.named_parameters()}
    learnt.update(name for name, _ in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    random = sorted(learnt & set(found["missing_keys"]))
    if random:
        raise ValueError(f"its weights lack {random[0]}" + (f" and {len(random) - 1} more" if random[1:] else ""))
    if len(processor.tokenizer) > model.text_model.embeddings.word_embeddings.num_embeddings:
        raise ValueError("its tokenizer knows more tokens than its text tower")
    return model.float().eval(), processor.tokenizer, processor.feature_extractor


@contextmanager
def _without_bars(transformers: Any) -> Iterator[None]:
    """Keep transformers from drawing progress bars."""
    talk = transformers.utils.logging
    before = talk.is_progress_bar_enabled()
    talk.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            talk.enable_progress_bar()
