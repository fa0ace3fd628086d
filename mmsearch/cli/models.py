"""``mmsearch models``: which models there are, and those that lie on this machine."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from mmsearch.cli.options import Json, Offline, command_app
from mmsearch.cli.output import note, write_lines
from mmsearch.cli.parameters import PlainCommand, PlainGroup

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch models list
  mmsearch models pull open_clip/ViT-B-32/laion2b_s34b_b79k
  mmsearch models path mini
  mmsearch models remove open_clip/ViT-B-32/laion2b_s34b_b79k
"""

ModelId = Annotated[str, typer.Argument(metavar="ID", show_default=False, hidden=True)]

app = command_app()


@app.callback(cls=PlainGroup, epilog=_EXAMPLES)
def models() -> None:
    """List, fetch, find and remove models."""


@app.command("list", cls=PlainCommand, epilog="\b\nExample:\n  mmsearch models list --json\n")
def list_(
    as_json: Json = False,
    offline: Annotated[bool, typer.Option("--offline", help="Only models that need no network.")] = False,
) -> int:
    """List the models there are.

    Those that are built in, those that were fetched, and a few recommended ones; the network is never asked.
    """
    from mmsearch.encoders.hub import list_models
    from mmsearch.present.jsonl import json_lines
    from mmsearch.present.report import columns
    from mmsearch.present.table import size_text

    found = [model for model in list_models() if not (offline and model.state == "available")]
    if as_json:
        write_lines(json_lines(dataclasses.asdict(model) for model in found))
        return 0
    rows = [
        (
            model.id,
            model.state,
            "" if model.size_bytes is None else size_text(model.size_bytes),
            "" if model.dim is None else f"{model.dim} dimensions",
            model.note,
        )
        for model in found
    ]
    write_lines(columns(rows))
    return 0


@app.command(cls=PlainCommand, epilog="\b\nExample:\n  mmsearch models pull open_clip/ViT-B-32/laion2b_s34b_b79k\n")
def pull(model: ModelId, as_json: Json = False, offline: Offline = False) -> int:
    """Fetch the model ID and print where it lies.

    Its weights are checked, and whatever a text query needs is prepared, so that it works without a network.
    """
    from mmsearch.encoders.hub import pull as fetch
    from mmsearch.present.jsonl import json_line
    from mmsearch.present.paths import printable

    folder = fetch(model, offline=offline, notify=lambda step: note(printable(step)))
    write_lines([json_line({"id": model, "path": folder}) if as_json else str(folder)])
    return 0


@app.command(cls=PlainCommand, epilog="\b\nExample:\n  mmsearch models path mini\n")
def path(model: ModelId, as_json: Json = False, offline: Offline = False) -> int:
    """Print where the model ID lies on this machine."""
    from mmsearch.encoders.hub import path as find
    from mmsearch.present.jsonl import json_line

    folder = find(model)
    write_lines([json_line({"id": model, "path": folder}) if as_json else str(folder)])
    return 0


@app.command(cls=PlainCommand, epilog="\b\nExample:\n  mmsearch models remove open_clip/ViT-B-32/laion2b_s34b_b79k\n")
def remove(model: ModelId, as_json: Json = False, offline: Offline = False) -> int:
    """Delete what was fetched of the model ID.

    Files of your own, such as a checkpoint that you named by its path, are never touched.
    """
    from mmsearch.encoders.hub import remove as delete
    from mmsearch.present.jsonl import json_line
    from mmsearch.present.table import size_text

    freed_bytes = delete(model)
    note(f"Removed {model}, {size_text(freed_bytes)} are free again.")
    if as_json:
        write_lines([json_line({"id": model, "freed_bytes": freed_bytes})])
    return 0
