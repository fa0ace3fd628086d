"""The id of a published reranker in, the reranker out; one table says which families there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.precision import Precision, check_device, check_precision
from mmsearch.encoders.reranker_source import BLIP, COCA, is_reranker
from mmsearch.errors import UnknownEncoderError

if TYPE_CHECKING:
    from mmsearch.encoders.fetching import Source
    from mmsearch.rerank.file_reranker import FileReranker

__all__ = ["is_reranker", "load_foreign_reranker"]

_Notify = Callable[[str], None] | None


def load_foreign_reranker(
    name: str,
    *,
    device: str | None = None,
    precision: str | None = None,
    offline: bool = True,
    notify: _Notify = None,
) -> FileReranker[Any]:
    """Make the reranker of an id; loads nothing heavy, its model loads when it is first used.

    The ids are::

        coca/<architecture>/<tag>                   published weights, as open_clip lists them
        coca/<architecture>/<checkpoint file>       one's own weights of a known architecture
        coca/hf-hub:<organisation>/<name>           a repository on the Hugging Face hub
        coca/local-dir:<folder>                     such a repository on this disk, with its open_clip_config.json
        blip/<organisation>/<name>                  a BLIP model on the Hugging Face hub with a matching head
        blip/local-dir:<folder>                     such a model on this disk, as transformers saves it

    Args:
        name: As above; paths become absolute.
        device: ``cpu``, ``cuda``, ``cuda:<number>`` or ``mps``; the best one here when None or ``auto``.
        precision: ``fp32``, ``bf16`` or ``fp16``; the fastest that serves when None or ``auto``.
        offline: Never fetch weights: what is missing is fetched with ``mmsearch models pull``.
        notify: Called with a sentence before something that takes long.

    Raises:
        UnknownEncoderError: There is no such reranker.
        UsageError: There is no such device or precision.
    """
    family, slash, _ = name.partition("/")
    if family not in _FAMILIES or not slash:
        known = " or ".join(f"{known}/..." for known in sorted(_FAMILIES))
        raise UnknownEncoderError(f"There is no reranker {name!r}.", hint=f"Those of others are named {known}.")
    place = check_device(None if device == "auto" else device)
    numbers = check_precision(None if precision == "auto" else precision)
    return _FAMILIES[family](name, place, numbers, offline, notify)


def _coca(
    name: str, device: str | None, precision: Precision | None, offline: bool, notify: _Notify
) -> FileReranker[Any]:
    from mmsearch.encoders.reranker_source import coca_source
    from mmsearch.rerank.coca import CocaReranker

    source = coca_source(name)
    _see(source)
    return CocaReranker(source, device=device, precision=precision, offline=offline, notify=notify)


def _blip(
    name: str, device: str | None, precision: Precision | None, offline: bool, notify: _Notify
) -> FileReranker[Any]:
    from mmsearch.encoders.reranker_source import BlipSource
    from mmsearch.rerank.blip import BlipReranker

    source = BlipSource.parse(name)
    _see(source)
    return BlipReranker(source, device=device, precision=precision, offline=offline, notify=notify)


def _see(source: Source) -> None:
    """See that the user's own file or folder, if that is what is meant, is there."""
    if source.local is not None and not os.path.exists(source.local):
        raise UnknownEncoderError(
            f"There is no checkpoint {source.local}.", hint="Check the path, or name another one."
        )


_FAMILIES: dict[str, Callable[[str, str | None, Precision | None, bool, _Notify], FileReranker[Any]]] = {
    COCA: _coca,
    BLIP: _blip,
}
