"""Events of a run -> the caller's progress function, about ten times a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from mmsearch.types import Progress

__all__ = ["Reporter"]

_Stage = Literal["scan", "tokens", "embed", "save"]
_EVERY_S = 0.1


class Reporter:
    """Passes on the first and the last event of each stage, and those between at most ten times a second.

    Args:
        progress: The caller's function, or None.
    """

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self.progress = progress
        self._stage: _Stage = "scan"
        self._total: int | None = None
        self._began = self._reported = 0.0

    def begin(self, stage: _Stage, total: int | None) -> None:
        """Report the start of a stage."""
        self._stage, self._total = stage, total
        self._began = time.perf_counter()
        self._report(0, self._began)

    def advance(self, done: int, note: str = "") -> None:
        """Report the number of files that are done, and a word beside it, unless the last report is too fresh."""
        if self.progress is not None:
            now = time.perf_counter()
            if done == self._total or now - self._reported >= _EVERY_S:
                self._report(done, now, note)

    def end(self, done: int) -> None:
        """Report the end of a stage of unknown length."""
        self._total = done
        self._report(done, time.perf_counter())

    def _report(self, done: int, now: float, note: str = "") -> None:
        self._reported = now
        if self.progress is not None:
            self.progress(Progress(self._stage, done, self._total, now - self._began, note))
