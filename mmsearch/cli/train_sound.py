"""``mmsearch train sound``: sounds in folders of classes, and a model -> the same model with an audio tower."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Device, Fresh, Json, Seed, TrainingPrecision
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.config import DEFAULT_MODEL
from mmsearch.errors import ExtraMissingError, UsageError

if TYPE_CHECKING:
    from mmsearch.training.sounds import SoundReport

__all__ = ["EXAMPLES", "require_training", "train_sound"]

EXAMPLES = """\b
Examples:
  mmsearch train sound ./sounds --out ./my-model
  mmsearch train sound ./esc10 --captions ./stamps/captions.csv --out ./my-model
  mmsearch train sound ./esc10 --hold-out '4-*' --out ./without-fold-4
  mmsearch train sound ./sounds --photos ./flickr8k/train --model ./my-model/model \\
      --out ./my-model-that-hears

\b
FOLDER has one folder for each class of sounds; underscores in their names are
read as spaces. A table for --captions has the columns caption and sound, and
may have image: captions.csv beside sound/ and images/. OUT gets model/ (for
--model of every other command), metrics.jsonl, training.png and report.json.
"""


def train_sound(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER", show_default=False, hidden=True)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", show_default=False, help="Where the model goes.")],
    captions: Annotated[
        list[Path] | None,
        typer.Option("--captions", metavar="CSV", show_default=False, help="Captioned sounds to learn from as well."),
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option("--photos", metavar="DATA", show_default=False, help="Captioned pictures of what can be heard."),
    ] = None,
    phrases: Annotated[
        Path | None,
        typer.Option(
            "--phrases", metavar="CSV", show_default=False, help="What else people call the classes: class,phrase."
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out", metavar="GLOB", show_default=False, help="Measure with sounds of such names instead."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option("--model", metavar="ID", help="Whose texts and pictures sounds shall meet: mini, or a folder."),
    ] = DEFAULT_MODEL,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", show_default=False, help="So many epochs.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="N", show_default=False, help="Sounds a batch.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="X", show_default=False, help="Highest learning rate.")
    ] = None,
    seed: Seed = 0,
    precision: TrainingPrecision = None,
    device: Device = None,
    fresh: Fresh = False,
    as_json: Json = False,
) -> int:
    """Train an audio tower for a model in the built-in format.

    What the model knows of texts and pictures stays as it is: sounds learn to lie where what is said of them lies, and
    pictures of it.
    """
    if model.startswith("open_clip/"):
        raise UsageError("Only models in the built-in format can learn to hear.", hint="Give --model mini or a folder.")
    require_training()

    from mmsearch.encoders.precision import check_device, check_precision, choose_device, choose_precision
    from mmsearch.present.progress import progress_display
    from mmsearch.present.report import failure_lines
    from mmsearch.present.terminal import describe
    from mmsearch.training import sound_data
    from mmsearch.training.memory import keep_freed_memory
    from mmsearch.training.place import Place
    from mmsearch.training.sounds import SoundRecipe, train_sounds

    where = choose_device(check_device(None if device == "auto" else device))
    number = check_precision(None if precision == "auto" else precision) or choose_precision(None, where)
    given = {"epochs": epochs, "batch": batch, "rate": rate, "seed": seed, "precision": number}
    recipe = SoundRecipe(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    own = None if phrases is None else sound_data.read_phrases(phrases)
    read = sound_data.read_sounds(folders, captions or [], photos or [], phrases=own)
    note(f"Learning from {len(read.sounds):,} sounds with {len(read.names):,} names.")
    keep_freed_memory()
    with progress_display(sys.stderr, describe(sys.stderr)) as progress:
        place = Place(out, str(where), fresh, progress, note)
        try:
            report = train_sounds(model, read, recipe, place, hold_out=hold_out or [])
        except KeyboardInterrupt:
            note("The last checkpoint is kept. To go on, run the same command again.")
            raise
    if report.failures:
        notes([f"Left out, since it cannot be read: {line}" for line in failure_lines(report.failures)])
    if as_json:
        from mmsearch.present.jsonl import json_line

        write_lines([json_line(report.to_dict())])
    else:
        write_lines(_lines(report))
    notes([f"Figures of each step: {place.metrics}", f"Their plot: {place.plot}"])
    notes([f"To use it: mmsearch index ./sounds --library ./my-library --model {report.model}"])
    return 0


def require_training() -> None:
    """Say which packages are missing before a long training ends without its plot."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ExtraMissingError("Training")
    if any(find_spec(name) is None for name in ("matplotlib", "timm", "onnx")):
        raise ExtraMissingError("Training", "train")


def _lines(report: SoundReport) -> Iterator[str]:
    from mmsearch.present.report import columns

    yield f"{report.model}: learned from {report.sounds:,} sounds and {report.made:,} made ones, {report.names:,} names"
    if report.figures is None:
        return
    rows: list[tuple[str, ...]] = [(f"of {report.held_out:,} held out", "recall@1", "recall@5", "median rank", "MRR")]
    for side, own in report.figures.items():
        shares = [f"{100 * own[f'recall@{k}']:.1f} %" for k in (1, 5)]
        rows.append((side.replace("_", " "), *shares, f"{own['median_rank']:g}", f"{own['mrr']:.3f}"))
    yield from columns(rows)
    yield f"mean average precision of the names: {report.figures['text_to_sound']['map']:.3f}"
