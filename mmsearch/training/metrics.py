"""Figures of a run go into a file, one JSON object a line, and come out as a picture of loss and recall."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmsearch.errors import ExtraMissingError
from mmsearch.files import written

__all__ = ["Metrics", "plot"]

_SMOOTHED = 0.9


class Metrics:
    """The file of figures: appended to as the run goes on, cut back where a run is taken up again.

    Args:
        file: One JSON object a line, each with ``stage`` and ``step``.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(line)) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """All lines; one that a kill left unfinished is passed over."""
        found = []
        try:
            text = self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        for line in text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drop all other lines."""
        kept = [line for line in self.lines() if wanted(line)]
        with written(self.file) as stream:
            stream.write("".join(json.dumps(line) + "\n" for line in kept).encode())


def plot(lines: list[dict[str, Any]], target: Path) -> None:
    """Draw loss and dev recall over the steps of all stages.

    Args:
        lines: As `Metrics.lines` gives them.
        target: The picture to write, such as ``training.png``.

    Raises:
        ExtraMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ExtraMissingError("A plot", "train") from error

    figure = Figure(figsize=(11, 4), layout="constrained")
    losses, recalls = figure.subplots(1, 2)
    offset = 0
    for number, stage in enumerate(dict.fromkeys(line["stage"] for line in lines)):
        own = [line for line in lines if line["stage"] == stage]
        colour = f"C{number}"
        steps = [offset + line["step"] for line in own if "loss" in line]
        values = [line["loss"] for line in own if "loss" in line]
        losses.plot(steps, values, color=colour, alpha=0.25, linewidth=1)
        losses.plot(steps, _smooth(values), color=colour, label=stage)
        seen = [line for line in own if "dev" in line]
        at = [offset + line["step"] for line in seen]
        for direction, style in zip(seen[0]["dev"] if seen else (), ("-", "--"), strict=False):
            for recall, marker in (("recall@1", "o"), ("recall@10", "s")):
                shares = [100 * line["dev"][direction][recall] for line in seen]
                label = f"{direction.replace('_', ' ')} {recall}" if number == 0 else None
                recalls.plot(at, shares, style, marker=marker, color=colour, label=label, markersize=4)
        offset += max((line["step"] for line in own), default=0)
    losses.set(xlabel="step", ylabel="loss", title="Training loss")
    recalls.set(xlabel="step", ylabel="%", ylim=(0, 100), title="Recall on the dev set")
    for axes in (losses, recalls):
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    with written(target) as stream:
        figure.savefig(stream, dpi=120, format=target.suffix.removeprefix(".") or "png")


def _smooth(values: list[float]) -> list[float]:
    """Exponential moving average that starts without bias."""
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = _SMOOTHED * mean + (1 - _SMOOTHED) * value
        weight = _SMOOTHED * weight + (1 - _SMOOTHED)
        smoothed.append(mean / weight)
    return smoothed
