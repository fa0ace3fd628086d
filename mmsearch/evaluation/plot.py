"""A report goes in, a picture of it comes out: recall over k, or what each class was taken for; needs matplotlib."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import ExtraMissingError
from mmsearch.evaluation.bootstrap import recall_intervals
from mmsearch.evaluation.files import check_place
from mmsearch.evaluation.measure import CaptionsReport, ClassesReport
from mmsearch.files import written
from mmsearch.present.paths import printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.evaluation.measure import Direction

__all__ = ["check_plot", "draw_plot"]

_SUFFIXES = (".png", ".svg", ".pdf")

_BLUE, _ORANGE, _INK, _FAINT = "#1f5fa8", "#c4600b", "#1c2126", "#dfe3e8"
_LARGEST_K = 100
_TICKS = (1, 2, 5, 10, 20, 50, 100)
_MARKED = (1, 5, 10)
# Of more classes than this some are shown: rows that nobody can read are no use.
_MOST_ROWS = 60
_NAME_LETTERS = 30
# The same report gives the same bytes: no dates, no versions.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def check_plot(file: Path) -> None:
    """Make sure that a plot can be drawn and written there, before the work that it is to show.

    Raises:
        UsageError: The file has an unknown suffix, or its folder is missing.
        StorageError: Nothing can be written there.
        ExtraMissingError: matplotlib is not installed.
    """
    check_place(file, _SUFFIXES)
    if importlib.util.find_spec("matplotlib") is None:
        raise ExtraMissingError("A plot", "train")


def draw_plot(report: CaptionsReport | ClassesReport, file: Path) -> None:
    """Draw a report, in the format that the file's suffix names.

    Of captions: recall at k, for k up to 100, for both directions, each with its 95 % interval as a band. Of classes:
    how many pictures of each were recognised, and what the others were taken for; of very many classes some, evenly
    spread from the one that is recognised best to the worst.

    Raises:
        StorageError: The file cannot be written.
        ExtraMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise ExtraMissingError("A plot", "train") from error
    suffix = file.suffix.lower()
    figure = _captions_figure(report) if isinstance(report, CaptionsReport) else _classes_figure(report)
    with written(file) as stream, rc_context({"svg.hashsalt": "mmsearch"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font lacks is drawn as a box
        figure.savefig(stream, format=suffix[1:], dpi=130, metadata=_METADATA[suffix])


def _captions_figure(report: CaptionsReport) -> Any:
    figure = _figure(8.5, 5.2)
    axes = figure.subplots()
    for name, direction, items, colour in (
        ("text to image", report.by_text, report.images, _BLUE),
        ("image to text, any caption of its own", report.by_image, report.captions, _ORANGE),
    ):
        _draw_recall(axes, name, direction, items, colour)
    largest = min(_LARGEST_K, max(report.images, report.captions))
    axes.set_xscale("log")
    axes.set_xlim(0.93, max(1.1, largest * 1.03))
    axes.set_xticks([k for k in _TICKS if k <= largest], [str(k) for k in _TICKS if k <= largest])
    axes.minorticks_off()
    axes.set_ylim(0, 101)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.set_xlabel("k")
    axes.set_ylabel("recall@k")
    axes.grid(color=_FAINT, linewidth=0.8)
    axes.legend(loc="lower right", frameon=False)
    _title(axes, report.model, f"{report.images:,} images, {report.captions:,} captions; bands are 95 % intervals")
    return figure


def _draw_recall(axes: Any, name: str, direction: Direction, items: int, colour: str) -> None:
    ks = np.arange(1, min(_LARGEST_K, items) + 1)
    recall = 100 * np.mean(direction.ranking.first[:, None] <= ks, axis=0)  # (n_queries, ks) -> (ks,)
    band = 100 * recall_intervals(direction.ranking, direction.groups, ks)
    axes.fill_between(ks, band[:, 0], band[:, 1], color=colour, alpha=0.18, linewidth=0)
    axes.plot(ks, recall, color=colour, linewidth=2, label=name)
    for k in _MARKED:
        if k <= len(ks):
            axes.plot(k, recall[k - 1], "o", color=colour, markersize=5)
            above = colour == _ORANGE
            axes.annotate(
                f"{recall[k - 1]:.1f}",
                (k, recall[k - 1]),
                xytext=(0, 9 if above else -9),
                textcoords="offset points",
                ha="left" if k == 1 else "center",
                va="bottom" if above else "top",
                color=colour,
                fontsize=9,
            )


def _classes_figure(report: ClassesReport) -> Any:
    names = report.embedded.names
    accuracies = report.class_accuracies()  # (classes,), NaN where there are no pictures
    order = sorted(np.flatnonzero(~np.isnan(accuracies)), key=lambda label: (-accuracies[label], names[label]))
    shown = [order[i] for i in np.linspace(0, len(order) - 1, min(_MOST_ROWS, len(order))).round().astype(int)]
    figure = _figure(10.5, 1.8 + 0.27 * len(shown))
    axes = figure.subplots()
    rows: list[str] = []
    for row, label in enumerate(map(int, shown)):
        predicted = report.predictions(label)
        _draw_class(axes, row, label, 100 * predicted / predicted.sum(), names)
        rows.append(f"{_shortened(names[label])} ({predicted.sum():,})")
    accuracy, ends = 100 * report.metrics.accuracy, report.metrics.ci["accuracy"]
    axes.axvspan(100 * ends[0], 100 * ends[1], color=_ORANGE, alpha=0.18, linewidth=0)
    axes.axvline(accuracy, color=_ORANGE, linewidth=1.2)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.tick_params(axis="y", length=0)
    what = report.what
    axes.set_xlabel(f"recognised, of the {what} of each class; all {what}: {accuracy:.1f} %, with its 95 % interval")
    axes.text(101, -0.75, "the others are taken for", color=_INK, fontsize=8, fontstyle="italic")
    some = f", {len(shown)} of them shown, from best to worst" if len(shown) < len(order) else ""
    _title(axes, report.model, f"{report.items:,} {what} in {report.classes:,} classes{some}")
    return figure


def _draw_class(axes: Any, row: int, label: int, shares: NDArray[np.float64], names: tuple[str, ...]) -> None:
    """One row: how much is right, and in words the two classes that the rest is mostly taken for."""
    axes.barh(row, 100, height=0.72, color=_FAINT, zorder=0.5)
    axes.barh(row, shares[label], height=0.72, color=_BLUE)
    inside = shares[label] >= 12
    axes.text(
        shares[label] + (-0.8 if inside else 0.8),
        row,
        f"{shares[label]:.0f}",
        ha="right" if inside else "left",
        va="center_baseline",
        color="white" if inside else _INK,
        fontsize=8,
    )
    others = [other for other in np.argsort(-shares, kind="stable")[:3] if other != label and shares[other] > 0][:2]
    words = ", ".join(f"{_shortened(names[other])} {shares[other]:.0f} %" for other in others)
    axes.text(101, row, words, va="center_baseline", color=_INK, fontsize=8, parse_math=False)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def _title(axes: Any, model: str, words: str) -> None:
    axes.set_title(f"{model}: {words}", loc="left", fontsize=11, pad=18, color=_INK, parse_math=False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_axisbelow(True)


def _shortened(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"
