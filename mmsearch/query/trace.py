"""What a search did: its steps, how many candidates each left and how long each took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Step", "Trace"]


@dataclass(slots=True)
class Step:
    """One step of a search.

    Attributes:
        name: Such as ``embed``, ``filter``, ``vectors``, ``rerank``.
        detail: How it was done, for people.
        candidates: How many were left after it; None where it finds none.
        seconds: Wall time.
        where: Which collection it was about, if one.
    """

    name: str
    detail: str = ""
    candidates: int | None = None
    seconds: float = 0.0
    where: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The step as plain JSON values, in a stable order."""
        return {
            "step": self.name,
            "where": self.where,
            "detail": self.detail,
            "candidates": self.candidates,
            "ms": round(1000 * self.seconds, 3),
        }


@dataclass(slots=True)
class Trace:
    """Collects the steps of a search that is told to fill it.

    >>> from mmsearch import Trace
    >>> trace = Trace()
    >>> with trace.step("vectors", "ivf2304,sq8") as step:
    ...     step.candidates = 100
    >>> [(step.name, step.candidates) for step in trace.steps]
    [('vectors', 100)]
    """

    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, detail: str = "", where: str = "") -> Iterator[Step]:
        """Time what happens inside as one step, which may be told more there."""
        step = Step(name, detail, where=where)
        self.steps.append(step)
        start = time.perf_counter()
        try:
            yield step
        finally:
            step.seconds = time.perf_counter() - start

    def lines(self) -> Iterator[str]:
        """The steps as a table for people: what, where, how many were left, how long, how."""
        rows = [
            (
                step.name,
                step.where,
                "" if step.candidates is None else f"{step.candidates:,}",
                f"{1000 * step.seconds:.1f} ms",
                step.detail,
            )
            for step in self.steps
        ]
        heading = ("step", "where", "left", "time", "how")
        widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(4)]
        for name, where, left, taken, how in [heading, *rows]:
            cells = (
                f"{name:<{widths[0]}}",
                f"{where:<{widths[1]}}",
                f"{left:>{widths[2]}}",
                f"{taken:>{widths[3]}}",
                how,
            )
            yield "  ".join(cells).rstrip()
