"""What other packages print and raise in, silence and one line out; for the adapters that load models through them."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["causes", "loading", "quiet", "reason_of"]

loading = threading.Lock()
"""Held while a model is loaded: that changes settings of the process, so it happens once at a time."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the latest first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def reason_of(error: BaseException) -> str:
    """The first line of what a foreign error says, for the middle of a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")[:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what open_clip, torch and the hub's client would print to themselves; the caller is told by exceptions."""
    root = logging.getLogger()
    silence = logging.NullHandler()  # or the first logging.warning() of open_clip sets up logging for the process
    talkers = [logging.getLogger(name) for name in ("huggingface_hub", "transformers", "timm")]
    levels = [talker.level for talker in talkers]
    root.addHandler(silence)
    for talker in talkers:
        talker.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(silence)
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
