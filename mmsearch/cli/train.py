"""``mmsearch train``: captioned pictures or sounds, and a model to begin from -> a model of one's own."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Device, Fresh, Json, Offline, Seed, TrainingPrecision, command_app
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.cli.parameters import PlainCommand, PlainGroup
from mmsearch.cli.train_passages import EXAMPLES as PASSAGE_EXAMPLES
from mmsearch.cli.train_passages import train_passages
from mmsearch.cli.train_reranker import EXAMPLES as RERANKER_EXAMPLES
from mmsearch.cli.train_reranker import train_reranker
from mmsearch.cli.train_sound import EXAMPLES as SOUND_EXAMPLES
from mmsearch.cli.train_sound import require_training, train_sound
from mmsearch.cli.training_data import BatchSize, Dev, DevImages, Images, Rate, Views, read_data
from mmsearch.config import DEFAULT_MODEL
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.training.dual_encoder import Report
    from mmsearch.training.recipe import Recipe

__all__ = ["app"]

_GROUP_EXAMPLES = """\b
Examples:
  mmsearch train dual-encoder captions.csv --images ./photos --out ./my-model
  mmsearch eval captions.csv --images ./photos --model ./my-model/model
  mmsearch index ./photos --library ./my-library --model ./my-model/model

\b
captions.csv says what is in your photos, a line for each caption:
  image,caption
  IMG_2041.jpg,our boat in the harbour of Hvar
  IMG_2041.jpg,a white sailing boat

\b
The first line fits the built-in model to them, the second tells how well it
does now, the third uses it. Cut off? Run the same command again: it goes on
where it was. For a model that hears, and for what reads the best hits again:

\b
  mmsearch train sound ./sounds --out ./my-model
  mmsearch train reranker captions.csv --images ./photos --out ./my-reranker
"""

_EXAMPLES = """\b
Examples:
  mmsearch train dual-encoder captions.csv --images ./photos --out ./my-model
  mmsearch train dual-encoder ./flickr8k/train ./coco/captions_train.json \\
      --dev ./flickr8k/dev --out ./my-model
  mmsearch train dual-encoder captions.csv --images ./photos --out ./my-clip \\
      --model open_clip/ViT-B-32/laion2b_s34b_b79k --lock image
  mmsearch train dual-encoder ./flickr8k/train --dev ./flickr8k/dev --out ./new \\
      --backbone efficientnet-lite2.pth --sentences ./all-MiniLM-L6-v2

\b
DATA is a table with the columns image,caption (.csv), captions as COCO has
them (.json), a folder with captions.csv and images/, or a folder with one
folder for each class. OUT gets model/ (for --model of every other command),
metrics.jsonl, training.png and report.json.
"""

app = command_app()


@app.callback(cls=PlainGroup, epilog=_GROUP_EXAMPLES)
def train() -> None:
    """Train or fine-tune a model on captioned pictures."""


app.command("sound", cls=PlainCommand, epilog=SOUND_EXAMPLES)(train_sound)
app.command("reranker", cls=PlainCommand, epilog=RERANKER_EXAMPLES)(train_reranker)
app.command("passages", cls=PlainCommand, epilog=PASSAGE_EXAMPLES)(train_passages)


@app.command("dual-encoder", cls=PlainCommand, epilog=_EXAMPLES)
def dual_encoder(
    data: Annotated[list[Path], typer.Argument(metavar="DATA", show_default=False, hidden=True)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", show_default=False, help="Where the model goes.")],
    images: Images = None,
    dev: Dev = None,
    dev_images: DevImages = None,
    model: Annotated[
        str,
        typer.Option("--model", metavar="ID", help="Begin with mini, a folder made by this command, or open_clip/..."),
    ] = DEFAULT_MODEL,
    backbone: Annotated[
        Path | None,
        typer.Option(
            "--backbone", metavar="FILE", show_default=False, help="Make a new model: EfficientNet-lite2's weights..."
        ),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(
            "--sentences", metavar="DIR", show_default=False, help="... and the folder of a sentence encoder."
        ),
    ] = None,
    lock: Annotated[
        str, typer.Option("--lock", metavar="TOWER", help="open_clip: image or text keeps its weights, or none.")
    ] = "none",
    unlock: Annotated[
        int, typer.Option("--unlock", metavar="N", help="open_clip: last groups of a locked tower that learn.")
    ] = 0,
    text_layers: Annotated[
        int, typer.Option("--text-layers", metavar="N", help="mini: last layers of the text tower that learn.")
    ] = 0,
    loss: Annotated[str, typer.Option("--loss", metavar="NAME", help="infonce, sigmoid or hinges.")] = "infonce",
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", show_default=False, help="At most so many epochs.")
    ] = None,
    batch: BatchSize = None,
    rate: Rate = None,
    views: Views = None,
    balance: Annotated[
        float, typer.Option("--balance", metavar="X", help="Sources of different size: 1 as they are, 0 all alike.")
    ] = 1.0,
    classes: Annotated[
        bool,
        typer.Option("--classes/--no-classes", help="A new model learns ImageNet's class names from the backbone."),
    ] = True,
    keep: Annotated[
        float | None,
        typer.Option("--keep", metavar="X", show_default=False, help="How much to stay with what the model knew."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience", metavar="N", show_default=False, help="Stop after N epochs that are no better; 0: never."
        ),
    ] = None,
    seed: Seed = 0,
    precision: TrainingPrecision = None,
    device: Device = None,
    fresh: Fresh = False,
    offline: Offline = False,
    as_json: Json = False,
) -> int:
    """Train an image tower and a text tower together.

    Begins with a model that there is and makes it fit your pictures and your words; or makes a new one like the
    built-in model out of published weights.
    """
    _check(model, backbone, sentences, lock, loss)
    require_training()

    import torch

    from mmsearch.encoders.precision import check_device, check_precision, choose_device, choose_precision
    from mmsearch.present.progress import progress_display
    from mmsearch.present.terminal import describe
    from mmsearch.training import dual_encoder as training
    from mmsearch.training.memory import keep_freed_memory

    where = choose_device(check_device(None if device == "auto" else device))
    number = check_precision(None if precision == "auto" else precision)
    chosen = {
        "loss": loss,
        "epochs": epochs,
        "batch": batch,
        "views": views,
        "rates": None if rate is None else {"": rate},
        "balance": balance,
        "keep": keep,
        "patience": patience,
        "seed": seed,
        "precision": number,
    }
    fastest = choose_precision(None, where)
    read = read_data(data, images, dev, dev_images, seed)
    torch.manual_seed(seed)
    keep_freed_memory()
    with progress_display(sys.stderr, describe(sys.stderr)) as progress:
        place = training.Place(out, str(where), fresh, progress, note)
        try:
            if backbone is not None and sentences is not None:
                if not classes:
                    chosen |= {"class_weight": 0.0, "mixed_weight": 0.0}
                stages = (training.HEADS, training.TUNED, training.REFITTED)
                heads, tuned, refitted = (_with(recipe, chosen, fastest) for recipe in stages)
                published = training.Published(backbone, sentences)
                report = training.build(published, read, place, heads=heads, tuned=tuned, refitted=refitted)
            else:
                start = training.FINE_CLIP if model.startswith("open_clip/") else training.FINE_MINI
                report = training.fine_tune(
                    model,
                    read,
                    _with(start, chosen, fastest),
                    place,
                    lock=lock,  # type: ignore[arg-type]
                    unlocked=unlock,
                    text_layers=text_layers,
                    offline=offline,
                )
        except KeyboardInterrupt:
            note("The last checkpoint is kept. To go on, run the same command again.")
            raise
    if as_json:
        from mmsearch.present.jsonl import json_line

        write_lines([json_line(report.to_dict())])
    else:
        write_lines(_lines(report))
    notes([f"Figures of each step: {place.metrics}", f"Their plot: {place.plot}"])
    notes([f"To use it: mmsearch index ./photos --library ./my-library --model {report.model}"])
    return 0


def _check(model: str, backbone: Path | None, sentences: Path | None, lock: str, loss: str) -> None:
    """Refuse what does not go together before anything heavy is loaded."""
    if (backbone is None) != (sentences is None):
        raise UsageError(
            "A new model needs both --backbone and --sentences.", hint="See: mmsearch train dual-encoder --help"
        )
    if backbone is not None and model != DEFAULT_MODEL:
        raise UsageError("A new model is made of --backbone and --sentences, not of --model.", hint="Leave one out.")
    if lock not in ("none", "image", "text"):
        raise UsageError(f"There is no lock {lock!r}.", hint="Choose none, image or text.")
    if lock != "none" and not model.startswith("open_clip/"):
        raise UsageError("--lock is for open_clip models.", hint="For mini, see --text-layers.")
    if loss not in ("infonce", "sigmoid", "hinges"):
        raise UsageError(f"There is no loss {loss!r}.", hint="Choose infonce, sigmoid or hinges.")


def _with(recipe: Recipe, chosen: dict[str, Any], fastest: str) -> Recipe:
    """A recipe with what the user chose; what is None stays as it is."""
    recipe = dataclasses.replace(recipe, **{name: value for name, value in chosen.items() if value is not None})
    return dataclasses.replace(recipe, precision=fastest) if recipe.precision == "auto" else recipe


def _lines(report: Report) -> Iterator[str]:
    from mmsearch.present.report import columns

    yield f"{report.model}: learned from {report.photos:,} pictures, {report.captions:,} captions"
    for name, end in report.stages.items():
        early = ", stopped early" if end.stopped_early else ""
        yield f"{name}: {end.epochs} epochs, the best was {end.best_epoch}{early}"
    rows: list[tuple[str, ...]] = [("on the dev set", "recall@1", "recall@5", "recall@10", "median rank", "MRR")]
    for side in ("text_to_image", "image_to_text"):
        for when, figures in (
            ("before", report.before),
            ("trained", report.trained),
            ("in integers", report.in_integers),
            ("written", report.exported),
        ):
            if figures is None:
                continue
            own = figures[side]
            shares = [f"{100 * own[f'recall@{k}']:.1f} %" for k in (1, 5, 10)]
            rows.append((f"{side.replace('_', ' ')}, {when}", *shares, f"{own['median_rank']:g}", f"{own['mrr']:.3f}"))
    yield from columns(rows)
