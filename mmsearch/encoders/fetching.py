"""A repository on the Hugging Face hub in, its files on this disk out; the only module that talks to the hub."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from mmsearch import config
from mmsearch.encoders.foreign import causes, reason_of
from mmsearch.encoders.model_folder import hub_folder, unwritable
from mmsearch.errors import MmsearchError, ModelMissingError

__all__ = ["Source", "check_download", "download", "model_missing", "reach_hub", "size_on_hub", "without_network"]

_REACH_S = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Source(Protocol):
    """Which model is meant."""

    @property
    def id(self) -> str:
        """The one spelling that libraries remember."""

    @property
    def local(self) -> Path | None:
        """The user's own file or folder, if that is what is meant."""


def model_missing(source: Source, reason: str = "") -> ModelMissingError:
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


def size_on_hub(source: Source, repository: str, files: Sequence[str], kind: str) -> tuple[str, int | None]:
    """The first of `files` that the repository has, and its size; asks without patience.

    Args:
        source: The model that the repository is of.
        repository: Its name.
        files: Names that its weights may have, the best first.
        kind: What the files are for, for the message: ``open_clip`` or ``CLAP``.

    Raises:
        ModelMissingError: It has none of them, there is no such repository, or the hub does not answer.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    for file in files:
        try:
            return file, get_hf_file_metadata(hf_hub_url(repository, file), timeout=_REACH_S).size
        except RepositoryNotFoundError as error:
            reason = f"and the hub has no repository {repository}, or shows it only to those who log in"
            raise model_missing(source, reason) from error
        except EntryNotFoundError:
            continue
        except Exception as error:
            raise model_missing(source, f"and the hub cannot be reached ({reason_of(error)})") from error
    raise model_missing(source, f"and {repository} has no weights for {kind}")


def reach_hub(source: Source) -> None:
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


def download(source: Source, fetch: Callable[[Path], None], *, progress: bool) -> None:
    """Have `fetch` put files into mmsearch's hub cache, which it is given.

    Raises:
        ModelMissingError: That failed.
        StorageError: The disk is full or not writable.
    """
    cache = hub_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _progress(progress):
            fetch(cache)
    except MmsearchError:
        raise
    except Exception as error:  # the hub's client and its transport raise what they like
        full = next((cause for cause in causes(error) if _is_disk(cause)), None)
        if isinstance(full, OSError):
            raise unwritable(cache, full) from error
        raise model_missing(source, f"and fetching it failed ({reason_of(error)})") from error


def check_download(source: Source, weights: Path) -> None:
    """Compare a large file with its name: the hub's cache calls it by the sha-256 that the hub promised.

    Raises:
        ModelMissingError: It is another one; it was deleted.
    """
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


@contextmanager
def without_network() -> Iterator[None]:
    """Have the hub's client use what is on this machine alone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


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
