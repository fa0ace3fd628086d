"""Which models there are, and those that were pulled: list, pull, path, remove."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["ModelInfo", "list_models", "path", "pull", "remove"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model that can be used, as ``mmsearch models list`` shows it.

    Attributes:
        id: What ``--model`` takes.
        state: ``built-in`` ships with mmsearch, ``installed`` lies on this machine, ``available`` can be pulled.
        size_bytes: What it takes on this disk, or, for an available one, what has to be fetched; None if unknown.
        dim: Length of its embeddings, or None if unknown.
        note: A short phrase on what it is good for, or what is wrong with it.
    """

    id: str
    state: Literal["built-in", "installed", "available"]
    size_bytes: int | None
    dim: int | None
    note: str = ""


def list_models() -> tuple[ModelInfo, ...]:
    """Every built-in and installed model, and a few recommended ones; never touches the network, imports no torch."""
    raise NotImplementedError


def pull(model_id: str, *, offline: bool = False, notify: Callable[[str], None] | None = None) -> Path:
    """Fetch a model unless it is there, check its weights and export its text tower; returns its folder.

    Args:
        model_id: As for `load_encoder`; one of the user's own files or folders is checked and exported only.
        offline: Never touch the network, as do ``$MMSEARCH_OFFLINE`` and ``$HF_HUB_OFFLINE``.
        notify: Called with a short sentence at each step.

    Raises:
        UnknownEncoderError: There is no such model.
        ModelMissingError: It is not here and could not be fetched.
        ExtraMissingError: The full installation, or an extra, is needed for it.
        EncoderError: It was fetched but does not load.
        StorageError: The disk is full or not writable.
    """
    raise NotImplementedError


def path(model_id: str) -> Path:
    """The folder or file where the model lies on this machine: its weights if they are here, else its text tower.

    Raises:
        UnknownEncoderError: There is no such model.
        ModelMissingError: Nothing of it is on this machine.
    """
    raise NotImplementedError


def remove(model_id: str) -> int:
    """Delete what mmsearch pulled and exported for a model, never the user's own files; returns the bytes set free.

    Raises:
        UnknownEncoderError: There is no such model.
        ModelMissingError: Nothing of it is on this machine.
        UsageError: It is built in, or lies in a place that is not mmsearch's own.
        StorageError: It cannot be deleted.
    """
    raise NotImplementedError
