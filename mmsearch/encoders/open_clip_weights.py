"""Which weights are meant in, a checkpoint of open_clip on this disk out; the hub is asked seldom."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmsearch import config
from mmsearch.encoders.fetching import check_download, download, model_missing, size_on_hub
from mmsearch.encoders.model_folder import hub_folder
from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.errors import ExtraMissingError

__all__ = ["fetch_weights", "find_weights", "import_open_clip"]

_CONFIG = "open_clip_config.json"
_DEFAULT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def find_weights(source: OpenClipSource) -> tuple[Path, Path | None] | None:
    """The checkpoint of a model on this machine, and the hub cache that it lies in if it does; None if it is not here.

    Looks into mmsearch's own cache, then into the one that all users of the hub share; never at the network.
    """
    if source.local is not None:
        return (source.local, None) if source.local.exists() else None
    import_open_clip()
    from huggingface_hub import constants, try_to_load_from_cache

    repository, files = _hub_files(source)
    for cache in (hub_folder(), Path(constants.HF_HUB_CACHE)):
        needed = try_to_load_from_cache(repository, _CONFIG, cache_dir=cache) if source.kind == "hub" else ""
        for file in files:
            weights = try_to_load_from_cache(repository, file, cache_dir=cache)
            if isinstance(weights, str) and isinstance(needed, str) and Path(weights).exists():
                return Path(weights), cache
    return None


def fetch_weights(
    source: OpenClipSource,
    *,
    offline: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: bool = False,
) -> tuple[Path, Path | None]:
    """What `find_weights` finds; if that is nothing, have open_clip download it into mmsearch's cache, and check it.

    Args:
        source: Which model.
        offline: Never touch the network, as do ``$MMSEARCH_OFFLINE`` and ``$HF_HUB_OFFLINE``.
        notify: Called with a sentence before a download.
        progress: Let the hub's client draw its progress bar on stderr.

    Raises:
        ExtraMissingError: open_clip is not installed.
        ModelMissingError: The weights are not here and could not be fetched.
        StorageError: The disk is full or not writable.
    """
    found = find_weights(source)
    if found is not None:
        return found
    if source.local is not None:
        raise model_missing(source)
    if offline or config.offline():
        raise model_missing(source, "and the network is not to be used")
    repository, files = _hub_files(source)
    _, size = size_on_hub(source, repository, files, "open_clip")
    if notify:
        notify(f"Fetching {source.id}" + (f" ({size / 1e6:,.0f} MB)" if size else ""))
    open_clip = import_open_clip()

    def fetch(cache: Path) -> None:
        if source.kind == "hub":
            open_clip.download_pretrained({"hf_hub": f"{repository}/{_CONFIG}"}, cache_dir=str(cache))
            open_clip.download_pretrained({"hf_hub": f"{repository}/"}, cache_dir=str(cache))
        else:
            tag = open_clip.get_pretrained_cfg(source.model, source.pretrained)
            open_clip.download_pretrained(tag, cache_dir=str(cache))

    download(source, fetch, progress=progress)
    found = find_weights(source)
    if found is None:
        raise model_missing(source, "and its repository has no weights for open_clip")
    check_download(source, found[0])
    return found


def import_open_clip() -> Any:
    """The open_clip package.

    Raises:
        ExtraMissingError: It is not installed.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ExtraMissingError("An open_clip model") from error
    return open_clip


def _hub_files(source: OpenClipSource) -> tuple[str, tuple[str, ...]]:
    """The repository of a model and the names its weights may have there, the best first."""
    if source.repository is not None:
        return source.repository, _DEFAULT_FILES
    name = str(import_open_clip().get_pretrained_cfg(source.model, source.pretrained).get("hf_hub", ""))
    repository, _, file = name.rpartition("/")
    if not file:
        return repository, _DEFAULT_FILES
    safe = re.sub(r"\.(bin|pth)$", ".safetensors", file)
    return repository, (safe, file) if safe != file else (file,)
