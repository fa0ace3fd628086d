"""Which weights are meant in, a checkpoint on this disk out; the only module that talks to the hub, and seldom."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from mmsearch import config
from mmsearch.encoders.model_folder import hub_folder, unwritable
from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.errors import ExtraMissingError, ModelMissingError

__all__ = ["causes", "fetch_weights", "find_weights", "import_open_clip", "model_missing", "reach_hub", "reason_of"]

_REACH_S = 5.0
_CONFIG = "open_clip_config.json"
_DEFAULT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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
    size = _size_on_hub(source, repository, files)
    if notify:
        notify(f"Fetching {source.id}" + (f" ({size / 1e6:,.0f} MB)" if size else ""))
    open_clip = import_open_clip()
    cache = hub_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _progress(progress):
            if source.kind == "hub":
                open_clip.download_pretrained({"hf_hub": f"{repository}/{_CONFIG}"}, cache_dir=str(cache))
                open_clip.download_pretrained({"hf_hub": f"{repository}/"}, cache_dir=str(cache))
            else:
                tag = open_clip.get_pretrained_cfg(source.model, source.pretrained)
                open_clip.download_pretrained(tag, cache_dir=str(cache))
    except Exception as error:  # the hub's client and its transport raise what they like
        full = next((cause for cause in causes(error) if _is_disk(cause)), None)
        if isinstance(full, OSError):
            raise unwritable(cache, full) from error
        raise model_missing(source, f"and fetching it failed ({reason_of(error)})") from error
    found = find_weights(source)
    if found is None:
        raise model_missing(source, "and its repository has no weights for open_clip")
    _check_download(source, found[0])
    return found


def model_missing(source: OpenClipSource, reason: str = "") -> ModelMissingError:
    """The error for weights that are not here, with what helps; `reason` is a clause to end its sentence with."""
    said = f", {reason}" if reason else ""
    if source.local is not None:
        return ModelMissingError(
            f"The weights {source.local} are not there{said}.", hint="Bring them back, or index with another model."
        )
    return ModelMissingError(
        f"The model {source.id} is not on this machine{said}.",
        hint=f"With a network, run: mmsearch models pull {source.id} (or copy the cache of a machine that did: "
        f"{config.cache_folder()})",
    )


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


def reach_hub(source: OpenClipSource) -> None:
    """See whether the hub answers, without patience: its client would try for half a minute.

    Raises:
        ModelMissingError: It does not.
    """
    from huggingface_hub import constants

    utilities: Any = import_module("huggingface_hub.utils")
    try:
        utilities.get_session().head(constants.ENDPOINT, timeout=_REACH_S)
    except Exception as error:
        raise model_missing(source, f"and the hub cannot be reached ({reason_of(error)})") from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the latest first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def reason_of(error: BaseException) -> str:
    """The first line of what a foreign error says, for the middle of a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")[:200]


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


def _size_on_hub(source: OpenClipSource, repository: str, files: tuple[str, ...]) -> int | None:
    """Ask the hub once, without patience: its client would try for half a minute to reach it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    for file in files:
        try:
            return get_hf_file_metadata(hf_hub_url(repository, file), timeout=_REACH_S).size
        except RepositoryNotFoundError as error:
            reason = f"and the hub has no repository {repository}, or shows it only to those who log in"
            raise model_missing(source, reason) from error
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise model_missing(source, f"and the hub cannot be reached ({reason_of(error)})") from error
    raise model_missing(source, f"and {repository} has no weights for open_clip")


def _check_download(source: OpenClipSource, weights: Path) -> None:
    """Compare a large file with its name: the hub's cache calls it by the sha-256 that the hub promised."""
    stored = weights.resolve()
    if not _SHA256.fullmatch(stored.name):
        return
    digest = sha256()
    with stored.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    if digest.hexdigest() != stored.name:
        stored.unlink(missing_ok=True)
        weights.unlink(missing_ok=True)
        raise model_missing(source, "since what was fetched is damaged and was deleted")


def _is_disk(cause: BaseException) -> bool:
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    return isinstance(cause, OSError) and cause.errno in numbers


@contextmanager
def _progress(shown: bool) -> Iterator[None]:
    utilities: Any = import_module("huggingface_hub.utils")
    before = utilities.are_progress_bars_disabled()
    if not shown:
        utilities.disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            utilities.enable_progress_bars()
