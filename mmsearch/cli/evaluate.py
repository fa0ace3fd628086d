"""``mmsearch eval``: a model and pictures with captions, or classes of pictures or sounds -> how good it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Device, Json, Model, Offline, Precision, Reranker, command_app
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.config import DEFAULT_MODEL
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mmsearch import protocols
    from mmsearch.evaluation import CaptionsReport, ClassesReport
    from mmsearch.training.evaluate import Interval

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch eval captions.csv --images ./images
  mmsearch eval captions.csv --images ./images --plot recall.png --sheet hits.png
  mmsearch eval captions.csv --images ./images --json | jq .text_to_image.ci
  mmsearch eval captions.csv --images ./images --rerank --shortlist 50
  mmsearch eval --classes ./flowers
  mmsearch eval --classes ./flowers --prompts prompts.txt --plot classes.svg
  mmsearch eval --classes ./esc10 --only '4-*'

\b
captions.csv has the columns image,caption; COCO's captions as .json do as well.
--classes takes a folder with one folder for each class, of pictures or of
sounds; underscores in their names are read as spaces. A line of prompts.txt:
a photo of a {}, a kind of flower.
"""
_INTERVALS = "95 % intervals by the bootstrap, over "
_CONFUSIONS = 8

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
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="GLOB", show_default=False, help="Of --classes: files of such names alone."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            show_default=False,
            help="Sentences for the names of classes, one a line, with {} for the name. Otherwise built-in ones.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            metavar="FILE",
            show_default=False,
            help="Draw recall over k, or the accuracy of each class: .png, .svg or .pdf. Needs mmsearch[train].",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE",
            show_default=False,
            help="Draw example queries with what they find: .png, .jpg or .webp.",
        ),
    ] = None,
    model: Model = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Measure the reranker as well.")] = False,
    shortlist: Annotated[
        int, typer.Option("--shortlist", metavar="N", help="How many of each list the reranker reads.")
    ] = 100,
    reranker: Reranker = None,
    as_json: Json = False,
    device: Device = None,
    precision: Precision = None,
    offline: Offline = False,
) -> int:
    """Measure a model on captions or class folders.

    With captions: recall at 1, 5 and 10, median rank, mean reciprocal rank and NDCG at 10, from text to image and back.
    With classes: zero-shot classification. Each figure comes with its 95 % confidence interval.
    """
    _check_arguments(captions, images, classes, prompts, only, rerank or reranker is not None)
    if shortlist < 1:
        raise UsageError(f"--shortlist must be at least 1, not {shortlist}.", hint="Leave it out for 100.")

    from mmsearch import evaluation
    from mmsearch.encoders import load_encoder
    from mmsearch.present.progress import progress_display
    from mmsearch.present.report import failure_lines
    from mmsearch.present.terminal import describe

    _check_files(plot, sheet)
    sentences = None if prompts is None else evaluation.read_prompts(prompts)
    encoder = load_encoder(model or DEFAULT_MODEL, device=device, precision=precision, offline=offline, notify=note)
    reading = _reranker(encoder, reranker) if rerank or reranker is not None else None
    report: CaptionsReport | ClassesReport
    lines: Iterator[str]
    if captions is not None and images is not None:
        read = evaluation.read_coco if captions.suffix.lower() == ".json" else evaluation.read_captions
        caption_set = read(captions, images)
        with progress_display(sys.stderr, describe(sys.stderr)) as progress:
            report = evaluation.evaluate_captions(
                encoder, caption_set, reranker=reading, shortlist=shortlist, progress=progress
            )
        lines = _captions_lines(report)
    else:
        class_set = evaluation.read_classes(classes or Path(), only or ())
        if sheet is not None and evaluation.is_sound(class_set.items[0]):
            raise UsageError("A sheet shows pictures, and these are sounds.", hint="Leave out --sheet, or try --plot.")
        with progress_display(sys.stderr, describe(sys.stderr)) as progress:
            report = evaluation.evaluate_classes(encoder, class_set, prompts=sentences, progress=progress)
        lines = _classes_lines(report, prompts)
    if report.skipped:
        notes([f"Left out, since it cannot be read: {line}" for line in failure_lines(report.skipped)])
    if as_json:
        from mmsearch.present.jsonl import json_line

        lines = iter([json_line(report.to_dict())])
    write_lines(lines)
    _draw(report, plot, sheet)
    return 0


def _reranker(encoder: protocols.Encoder, name: str | None) -> protocols.Reranker:
    from mmsearch.rerank import load_reranker

    found = load_reranker(name, encoder)
    if found is None:
        raise UsageError(
            f"There is no reranker for the model {encoder.id}.", hint="Train one: mmsearch train reranker --help"
        )
    return found


def _check_arguments(
    captions: Path | None,
    images: Path | None,
    classes: Path | None,
    prompts: Path | None,
    only: list[str] | None,
    reranks: bool,
) -> None:
    problem = None
    if (captions is None) == (classes is None):
        problem = "Give either a file of captions or --classes DIR."
    elif captions is not None and images is None:
        problem = "Captions need --images DIR, the folder of the pictures."
    elif classes is not None and images is not None:
        problem = "--images belongs to captions, not to --classes."
    elif captions is not None and prompts is not None:
        problem = "--prompts belongs to --classes, not to captions."
    elif captions is None and reranks:
        problem = "--rerank belongs to captions, not to --classes."
    elif captions is not None and only:
        problem = "--only belongs to --classes, not to captions."
    if problem is not None:
        raise UsageError(problem, hint="See: mmsearch eval --help")


def _check_files(plot: Path | None, sheet: Path | None) -> None:
    """Find out what would be in the way of the pictures before the work that they are to show."""
    if plot is not None:
        from mmsearch.evaluation.plot import check_plot

        check_plot(plot)
    if sheet is not None:
        from mmsearch.evaluation.sheet import check_sheet

        check_sheet(sheet)
    if plot is not None and sheet is not None and plot.resolve() == sheet.resolve():
        raise UsageError(f"The plot and the sheet cannot both be {plot}.", hint="Give each its own name.")


def _draw(report: CaptionsReport | ClassesReport, plot: Path | None, sheet: Path | None) -> None:
    from mmsearch.present.paths import shown_path

    if plot is not None:
        from mmsearch.evaluation.plot import draw_plot

        draw_plot(report, plot)
        note(f"The plot is in {shown_path(plot)}")
    if sheet is not None:
        from mmsearch.evaluation.sheet import draw_sheet

        draw_sheet(report, sheet)
        note(f"The sheet is in {shown_path(sheet)}")


def _captions_lines(report: CaptionsReport) -> Iterator[str]:
    from mmsearch.present.report import columns

    yield f"{report.model}: {report.images:,} images, {report.captions:,} captions"
    rows: list[tuple[str, ...]] = [("", "text to image", "image to text")]
    there, back = report.text_to_image.to_dict(), report.image_to_text.to_dict()
    rows += [_captions_row(there, back, *line) for line in _FIGURES]
    if report.reranked is not None:
        there, back = report.reranked.text_to_image.to_dict(), report.reranked.image_to_text.to_dict()
        rows.append((f"best {report.reranked.shortlist} reranked", "", ""))
        rows += [_captions_row(there, back, *line) for line in _FIGURES]
    yield from columns(rows)
    yield f"{_INTERVALS}images with all their captions"


def _captions_row(
    there: dict[str, Any], back: dict[str, Any], key: str, title: str, show: Callable[[float], str]
) -> tuple[str, ...]:
    return (title, *(f"{show(found[key]):6}  {_between(found['ci'][key], show)}" for found in (there, back)))


def _classes_lines(report: ClassesReport, prompts: Path | None) -> Iterator[str]:
    from mmsearch.present.paths import printable, shown_path
    from mmsearch.present.report import columns

    figures = report.metrics.to_dict()
    source = "built in" if prompts is None else f"from {shown_path(prompts)}"
    yield f"{report.model}: {report.classes:,} classes, {report.items:,} items"
    rows = [
        (title, _percent(figures[key]), _between(figures["ci"][key], _percent))
        for key, title in (
            ("accuracy", "accuracy"),
            ("accuracy@5", "accuracy@5"),
            ("mean_per_class", "mean per class"),
        )
    ]
    yield from columns(rows)
    yield f"{_INTERVALS}the {report.what} of each class"
    yield f"{len(report.prompts)} prompts {source}, the first is: {printable(report.prompts[0])}"
    confused = [
        (f"  {printable(pair.label)}", f"taken for {printable(pair.predicted)}", f"{pair.count:,} of {pair.items:,}")
        for pair in report.confusions(_CONFUSIONS)
    ]
    if confused:
        yield "confused most:"
        yield from columns(confused)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _rank(rank: float) -> str:
    return f"{rank:,g}"


def _share(share: float) -> str:
    return f"{share:.3f}"


def _between(ends: Interval, show: Callable[[float], str]) -> str:
    return f"({show(ends[0]).removesuffix(' %')} to {show(ends[1]).removesuffix(' %')})"


_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("recall@1", "recall@1", _percent),
    ("recall@5", "recall@5", _percent),
    ("recall@10", "recall@10", _percent),
    ("median_rank", "median rank", _rank),
    ("mrr", "MRR", _share),
    ("ndcg@10", "NDCG@10", _share),
)
