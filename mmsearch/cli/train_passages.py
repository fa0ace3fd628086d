"""``mmsearch train passages``: documents and a model -> the same model, with a smaller text tower for long passages."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import Json, Seed
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.cli.train_sound import require_training
from mmsearch.config import DEFAULT_MODEL
from mmsearch.errors import UsageError

__all__ = ["EXAMPLES", "train_passages"]

EXAMPLES = """\b
Examples:
  mmsearch train passages ./notes --out ./my-model
  mmsearch train passages ./notes ./articles --captions captions.csv \\
      --model ./my-model/model --out ./my-faster-model

\b
TEXT is a document, or a folder of documents, of any kind that mmsearch index
reads. OUT gets model/, for --model of every other command.
"""


def train_passages(
    texts: Annotated[list[Path], typer.Argument(metavar="TEXT", show_default=False, hidden=True)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", show_default=False, help="Where the model goes.")],
    captions: Annotated[
        list[Path] | None,
        typer.Option("--captions", metavar="CSV", show_default=False, help="Captions to make passages of as well."),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("--most", metavar="N", show_default=False, help="Passages of each TEXT at most."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="ID", help="Whose text tower teaches: mini, or a folder.")
    ] = DEFAULT_MODEL,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps of 96 passages.")] = 1400,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="N", show_default=False, help="End after so many minutes.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> int:
    """Train a smaller text tower, for long passages of large libraries.

    It learns to give what the model's text tower gives. Queries and short texts are left to that, as they were.
    """
    if model.startswith("open_clip/"):
        raise UsageError("Only models in the built-in format have such a tower.", hint="Give --model mini or a folder.")
    require_training()

    from mmsearch.encoders.precision import choose_device, choose_precision
    from mmsearch.present.progress import progress_display
    from mmsearch.present.report import failure_lines
    from mmsearch.present.terminal import describe
    from mmsearch.training.passage_texts import compose_passages, read_caption_groups, read_documents
    from mmsearch.training.passages import PassageRecipe, save_passages
    from mmsearch.types import Progress

    passages, failures = read_documents(texts, most=most, seed=seed)
    if failures:
        notes([f"Left out, since it cannot be read: {line}" for line in failure_lines(failures)])
    groups = [group for table in captions or [] for group in read_caption_groups(table)]
    passages += compose_passages(groups, seed=seed)
    note(f"Learning from {len(passages):,} passages.")
    half = choose_precision(None, choose_device(None)) == "bf16"
    recipe = PassageRecipe(steps=steps, minutes=minutes or float("inf"), half=half, seed=seed)
    with progress_display(sys.stderr, describe(sys.stderr)) as progress:
        begun = time.monotonic()

        def show(step: int, cosine: float) -> None:
            progress(Progress("train", step, steps, time.monotonic() - begun, f"cosine {cosine:.3f}"))

        name, trained = save_passages(model, passages, recipe, out, progress=show)
    if as_json:
        from mmsearch.present.jsonl import json_line

        figures = {"passages": trained.passages, "steps": trained.steps, "cosine": round(trained.cosine, 4)}
        write_lines([json_line({"model": name, **figures, "cosine_of_95_percent": round(trained.lowest, 4)})])
    else:
        write_lines(
            [
                f"{name}: learned from {trained.passages:,} passages in {trained.steps:,} steps",
                f"cosine to the whole tower, passages held out: {trained.cosine:.3f} in the mean, "
                f"95 of 100 above {trained.lowest:.3f}",
            ]
        )
    notes([f"To use it: mmsearch index ./notes --library ./my-library --model {name}"])
    return 0
