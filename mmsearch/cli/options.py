"""The options that several commands share, spelled and explained one way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Device",
    "Fresh",
    "Json",
    "Library",
    "Model",
    "Models",
    "Offline",
    "Precision",
    "Reranker",
    "Seed",
    "TrainingPrecision",
    "command_app",
]

Library = Annotated[
    Path | None,
    typer.Option(
        "--library",
        metavar="DIR",
        show_default=False,
        help="The library's folder. Otherwise $MMSEARCH_LIBRARY, the nearest .mmsearch/ upward, or the user's own.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="ID", show_default=False, help="A model from: mmsearch models list"),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="ID",
        show_default=False,
        help="A model from: mmsearch models list. Several can be given, each for what it can embed.",
    ),
]
Reranker = Annotated[
    str | None,
    typer.Option(
        "--reranker",
        metavar="FILE|ID",
        show_default=False,
        help="Another reranker: a file made by mmsearch train reranker, blip/... or coca/...",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", help="Never fetch a model.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
Device = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", show_default=False, help="Where the model runs: cpu, cuda, cuda:1, mps."),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", show_default=False, help="fp32, fp16 or bf16."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of everything random.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Begin anew instead of going on.")]
TrainingPrecision = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", show_default=False, help="fp32, bf16 or fp16 (CUDA) while training."),
]


def command_app() -> typer.Typer:
    """An empty application for one command of the table, or for a group of them."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
