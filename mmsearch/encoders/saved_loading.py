"""Where a model of transformers comes from in, the model out, through transformers' own loading code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmsearch.encoders.fetching import without_network
from mmsearch.encoders.foreign import loading, quiet, reason_of
from mmsearch.encoders.saved_source import SavedSource
from mmsearch.encoders.saved_weights import SAFE, fetch_weights, import_transformers, lacking
from mmsearch.errors import EncoderError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load_saved", "read_weights"]

_T = TypeVar("_T")


def load_saved(
    source: SavedSource,
    read: Callable[[Any, Path], _T],
    *,
    offline: bool = False,
    notify: Callable[[str], None] | None = None,
) -> tuple[_T, Path]:
    """Have `read` make a model of its folder, fetching its files first if they are not on this machine.

    Args:
        source: Which model.
        read: Given transformers and the folder; it may fail in any way, as checkpoints do.
        offline: Never touch the network.
        notify: Called with a sentence before a download.

    Returns:
        What `read` returned, and the weights or the user's own folder with them.

    Raises:
        ExtraMissingError: transformers is not installed.
        ModelMissingError: The files are not here and could not be fetched.
        EncoderError: They are not what they should be.
        StorageError: The disk is full or not writable.
    """
    transformers = import_transformers(source.kind)
    with loading, quiet():
        weights, _ = fetch_weights(source, offline=offline, notify=notify)
        folder = weights if weights.is_dir() else weights.parent
        try:
            if missing := lacking(folder, source.kind):
                raise ValueError(f"it lacks {missing}")
            with without_network(), _without_bars(transformers):
                return read(transformers, folder), weights
        except Exception as error:  # a checkpoint can fail in any way
            hint = (
                "Check the folder's config.json, preprocessor_config.json, tokenizer and weights."
                if source.repository is None
                else f"Fetch it anew: mmsearch models remove {source.id} && mmsearch models pull {source.id}"
            )
            raise EncoderError(f"The model {source.id} cannot be loaded: {reason_of(error)}.", hint=hint) from error


def read_weights(kind: Any, folder: Path) -> nn.Module:
    """A model of that class on the CPU in float32, in `eval` mode, all of whose weights lie in the folder.

    They are read from safetensors; only where there are none from ``pytorch_model.bin``, and nothing but tensors.

    Raises:
        ValueError: Some are not there.
    """
    safe = any((folder / name).is_file() for name in (SAFE, f"{SAFE}.index.json"))
    model, found = kind.from_pretrained(
        str(folder), local_files_only=True, use_safetensors=safe, weights_only=True, output_loading_info=True
    )
    learnt = {name for name, _ in model.named_parameters()}
    learnt.update(name for name, _ in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    random = sorted(learnt & set(found["missing_keys"]))
    if random:
        raise ValueError(f"its weights lack {random[0]}" + (f" and {len(random) - 1} more" if random[1:] else ""))
    ready: nn.Module = model.float().eval()
    return ready


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
