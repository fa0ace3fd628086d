"""``mmsearch eval``: a model and pictures with captions or classes -> how good it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Device, Json, Model, Offline, Precision, command_app
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.config import DEFAULT_MODEL
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmsearch.evaluation import CaptionsReport, ClassesReport

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch eval captions.csv --images ./images
  mmsearch eval captions.csv --images ./images --json
  mmsearch eval --classes ./flowers

\b
captions.csv has the columns image,caption. --classes takes a folder with one
folder for each class; underscores in their names are read as spaces.
"""

app = command_app()


@app.command(cls=PlainCommand, epilog=_EXAMPLES)
def evaluate(
    captions: Annotated[Path | None, typer.Argument(metavar="CAPTIONS.csv", show_default=False, hidden=True)] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", show_default=False, help="The folder that has the pictures."),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option("--classes", metavar="DIR", show_default=False, help="A folder with one folder for each class."),
    ] = None,
    model: Model = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Measure the reranker as well.")] = False,
    as_json: Json = False,
    device: Device = None,
    precision: Precision = None,
    offline: Offline = False,
) -> int:
    """Measure a model on captions or class folders.

    With captions: recall at 1, 5 and 10, median rank and mean reciprocal rank, from text to image and back. With
    classes: zero-shot classification.
    """
    if (captions is None) == (classes is None):
        raise UsageError("Give either a file of captions or --classes DIR.", hint="See: mmsearch eval --help")
    if captions is not None and images is None:
        raise UsageError("Captions need --images DIR, the folder of the pictures.", hint="See: mmsearch eval --help")
    if classes is not None and images is not None:
        raise UsageError("--images belongs to captions, not to --classes.", hint="See: mmsearch eval --help")

    from mmsearch import evaluation
    from mmsearch.encoders import load_encoder
    from mmsearch.present.progress import progress_display
    from mmsearch.present.report import failure_lines
    from mmsearch.present.terminal import describe

    encoder = load_encoder(model or DEFAULT_MODEL, device=device, precision=precision, offline=offline, notify=note)
    if rerank:
        raise UsageError(f"There is no reranker for the model {encoder.id}.", hint="Leave --rerank out.")
    report: CaptionsReport | ClassesReport
    lines: Iterator[str]
    if captions is not None and images is not None:
        caption_set = evaluation.read_captions(captions, images)
        with progress_display(sys.stderr, describe(sys.stderr)) as progress:
            report = evaluation.evaluate_captions(encoder, caption_set, progress=progress)
        lines = _captions_lines(report)
    else:
        class_set = evaluation.read_classes(classes or Path())
        with progress_display(sys.stderr, describe(sys.stderr)) as progress:
            report = evaluation.evaluate_classes(encoder, class_set, progress=progress)
        lines = _classes_lines(report)
    if report.skipped:
        notes([f"Left out, since it cannot be read: {line}" for line in failure_lines(report.skipped)])
    if as_json:
        from mmsearch.present.jsonl import json_line

        lines = iter([json_line(report.to_dict())])
    write_lines(lines)
    return 0


def _captions_lines(report: CaptionsReport) -> Iterator[str]:
    from mmsearch.present.report import columns

    yield f"{report.model}: {report.images:,} images, {report.captions:,} captions"
    rows = [("", "recall@1", "recall@5", "recall@10", "median rank", "MRR")]
    for name, found in (("text to image", report.text_to_image), ("image to text", report.image_to_text)):
        at_1, at_5, at_10 = (
            f"{100 * share:.1f} %" for share in (found.recall_at_1, found.recall_at_5, found.recall_at_10)
        )
        rows.append((name, at_1, at_5, at_10, f"{found.median_rank:g}", f"{found.mrr:.3f}"))
    yield from columns(rows)


def _classes_lines(report: ClassesReport) -> Iterator[str]:
    figures = report.metrics
    yield f"{report.model}: {report.classes:,} classes, {report.items:,} items"
    yield f"accuracy        {100 * figures.accuracy:.1f} %"
    yield f"accuracy@5      {100 * figures.accuracy_at_5:.1f} %"
    yield f"mean per class  {100 * figures.mean_per_class:.1f} %"
