"""Which model of transformers is meant in, its files on this disk out; fetched from the hub if need be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmsearch import config
from mmsearch.encoders.fetching import check_download, download, model_missing, size_on_hub
from mmsearch.encoders.model_folder import hub_folder
from mmsearch.encoders.saved_source import CONFIG, SavedKind, SavedSource, is_saved
from mmsearch.errors import ExtraMissingError

__all__ = ["SAFE", "fetch_weights", "find_weights", "import_transformers", "lacking"]

SAFE = "model.safetensors"
_WEIGHTS = (SAFE, "pytorch_model.bin")
# What says how sounds or pictures are prepared and texts cut into tokens; repositories differ in what they have.
_BESIDE = (
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)


def find_weights(source: SavedSource) -> tuple[Path, Path | None] | None:
    """The weights of a model on this machine, and the hub cache that they lie in if they do; None if they are not here.

    Looks into mmsearch's own cache, then into the one that all users of the hub share; never at the network. Of a
    user's own folder the folder is given, of a repository the weights in its snapshot, which has the rest beside them.
    """
    if source.repository is None:
        return (source.local, None) if source.local is not None and source.local.exists() else None
    hub = _import_hub(source.kind)
    from huggingface_hub import constants

    for cache in (hub_folder(), Path(constants.HF_HUB_CACHE)):
        for file in _WEIGHTS:
            weights = hub.try_to_load_from_cache(source.repository, file, cache_dir=cache)
            if isinstance(weights, str) and Path(weights).exists() and not lacking(Path(weights).parent, source.kind):
                return Path(weights), cache
    return None


def fetch_weights(
    source: SavedSource,
    *,
    offline: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: bool = False,
) -> tuple[Path, Path | None]:
    """What `find_weights` finds; if that is nothing, download it into mmsearch's cache, and check it.

    Args:
        source: Which model.
        offline: Never touch the network, as do ``$MMSEARCH_OFFLINE`` and ``$HF_HUB_OFFLINE``.
        notify: Called with a sentence before a download.
        progress: Let the hub's client draw its progress bar on stderr.

    Raises:
        ExtraMissingError: transformers is not installed.
        ModelMissingError: The weights are not here and could not be fetched.
        StorageError: The disk is full or not writable.
    """
    import_transformers(source.kind)
    found = find_weights(source)
    if found is not None:
        return found
    if source.repository is None:
        raise model_missing(source)
    if offline or config.offline():
        raise model_missing(source, "and the network is not to be used")
    hub, repository, kind = _import_hub(source.kind), source.repository, source.kind
    weights, size = size_on_hub(source, repository, _WEIGHTS, kind.title)
    if notify:
        notify(f"Fetching {source.id}" + (f" ({size / 1e6:,.0f} MB)" if size else ""))

    def fetch(cache: Path) -> None:
        from huggingface_hub.errors import EntryNotFoundError

        nothing = model_missing(source, f"and {repository} is no {kind.title} model")
        try:
            folder = Path(hub.hf_hub_download(repository, CONFIG, cache_dir=cache)).parent
        except EntryNotFoundError as error:
            raise nothing from error
        if not is_saved(folder, kind):  # seen before the large file is fetched
            raise nothing
        for file in _BESIDE:
            try:
                hub.hf_hub_download(repository, file, cache_dir=cache)
            except EntryNotFoundError:
                continue
        if missing := lacking(folder, kind):
            raise model_missing(source, f"and {repository} lacks {missing}")
        hub.hf_hub_download(repository, weights, cache_dir=cache)  # the last: where it is, everything is

    download(source, fetch, progress=progress)
    found = find_weights(source)
    if found is None:
        raise model_missing(source, f"and {repository} changed while it was fetched")
    check_download(source, found[0])
    return found


def import_transformers(kind: SavedKind) -> Any:
    """The transformers package.

    Raises:
        ExtraMissingError: It, or torch, is not installed.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ExtraMissingError(f"A {kind.title} model") from error
    try:
        import transformers
    except ImportError as error:
        raise ExtraMissingError(f"A {kind.title} model", kind.extra) from error
    return transformers


def _import_hub(kind: SavedKind) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ExtraMissingError(f"A {kind.title} model", kind.extra) from error
    return huggingface_hub


def lacking(folder: Path, kind: SavedKind) -> str | None:
    """What a folder has too little of to be a model, its weights apart; None where all is there.

    transformers makes up a tokenizer that knows no word where there is none.
    """
    there = {name for name in _BESIDE if (folder / name).exists()}
    if not is_saved(folder, kind):
        return f"a {CONFIG} of {kind.title}"
    if not there & {"preprocessor_config.json", "processor_config.json"}:
        return "the settings of a processor"
    return None if any(files <= there for files in kind.tokenizer) else "a tokenizer"
