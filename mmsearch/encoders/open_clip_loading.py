"""Where an open_clip model comes from in, the model out, through open_clip's own loading code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmsearch import config
from mmsearch.encoders.fetching import model_missing, reach_hub, without_network
from mmsearch.encoders.foreign import causes, loading, quiet, reason_of
from mmsearch.encoders.image_transform import ImageTransform
from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.encoders.open_clip_weights import fetch_weights, import_open_clip
from mmsearch.errors import EncoderError, ExtraMissingError, MmsearchError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["LoadedModel", "load_model", "model_config", "quiet"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An open_clip model on the CPU in float32, in `eval` mode, with what belongs to it.

    Attributes:
        weights: The checkpoint it was made from, or the folder with it.
    """

    model: nn.Module
    tokenizer: Any
    transform: ImageTransform
    weights: Path


def load_model(
    source: OpenClipSource, *, offline: bool = False, notify: Callable[[str], None] | None = None
) -> LoadedModel:
    """Load a model through open_clip itself, fetching its weights first if they are not on this machine.

    Raises:
        ExtraMissingError: open_clip, or transformers where the model needs it, is not installed.
        ModelMissingError: The weights are not here and could not be fetched.
        EncoderError: They are not what they should be.
        StorageError: The disk is full or not writable.
    """
    open_clip = import_open_clip()
    online = not (offline or config.offline())
    with loading, quiet():
        weights, cache = fetch_weights(source, offline=not online, notify=notify)
        place: dict[str, Any] = {} if cache is None else {"cache_dir": str(cache)}
        quick = _quick_gelu(source)

        def create() -> Any:
            with unfilled() if weights.suffix != ".npz" else nullcontext():  # open_clip reads those leniently
                return open_clip.create_model_from_pretrained(
                    source.model, source.pretrained, force_quick_gelu=quick, return_transform=False, **place
                )

        try:
            model = _from_cache(source, online, create).eval()
            tokenizer = _from_cache(source, online, lambda: open_clip.get_tokenizer(source.model, **place))
            transform = ImageTransform.from_config(model.visual.preprocess_cfg)
        except MmsearchError:
            raise
        except Exception as error:  # a checkpoint can fail in any way
            raise _translated(source, error) from error
    return LoadedModel(model, tokenizer, transform, weights)


def model_config(source: OpenClipSource, loaded: LoadedModel) -> dict[str, Any]:
    """open_clip's ``model_cfg`` of a loaded model, from which it can be made again."""
    if source.kind in ("tag", "file"):
        config: dict[str, Any] = import_open_clip().get_model_config(source.model)
        return {**config, "quick_gelu": True} if _quick_gelu(source) else config
    folder = loaded.weights if loaded.weights.is_dir() else loaded.weights.parent
    found: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    return found


def _quick_gelu(source: OpenClipSource) -> bool:
    """Whether published weights demand another activation than their architecture has."""
    if source.kind != "tag":
        return False
    return bool(import_open_clip().get_pretrained_cfg(source.model, source.pretrained).get("quick_gelu"))


def _from_cache(source: OpenClipSource, online: bool, load: Callable[[], _T]) -> _T:
    """Run `load` without a network; only where it lacks a file, such as a tokenizer, and may fetch it, with one."""
    try:
        with without_network():
            return load()
    except Exception as error:
        if not _lacks_file(error):
            raise
        if not online:
            raise model_missing(source, f"or not all of it ({reason_of(error)})") from error
    reach_hub(source)
    return load()


def _translated(source: OpenClipSource, error: Exception) -> MmsearchError:
    if find_spec("transformers") is None and any("transformers" in str(cause) for cause in causes(error)):
        return ExtraMissingError(f"The model {source.id}", "hf")
    hint = (
        f"Check that it is a checkpoint of {source.model}."
        if source.kind == "file"
        else "Check the folder's open_clip_config.json and weights."
        if source.kind == "folder"
        else f"Fetch it anew: mmsearch models remove {source.id} && mmsearch models pull {source.id}"
    )
    return EncoderError(f"The model {source.id} cannot be loaded: {reason_of(error)}.", hint=hint)


def _lacks_file(error: Exception) -> bool:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    return any(
        isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled) or type(cause) is OSError
        for cause in causes(error)
    )


@contextmanager
def unfilled() -> Iterator[None]:
    """Let modules that this thread makes have whatever numbers their memory holds, where they would draw random ones.

    For models whose every weight is read from a checkpoint thereafter: drawing takes most of the time that making
    them does. Ones, zeros and whatever else is computed stay.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    names = [f"{kind}_{spread}_" for kind in ("kaiming", "xavier") for spread in ("normal", "uniform")]
    drawing = {getattr(torch.nn.init, name) for name in (*names, "normal_", "trunc_normal_", "uniform_")}
    drawing |= {torch.Tensor.erfinv_, torch.Tensor.normal_, torch.Tensor.uniform_}

    class Unfilled(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if function in drawing:
                return args[0] if args else kwargs["tensor"]
            return function(*args, **kwargs)

    with Unfilled():
        yield
