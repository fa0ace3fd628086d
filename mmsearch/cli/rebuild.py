"""``mmsearch rebuild``: a library -> its vector index made anew from the catalog."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli.options import Json, Library, command_app
from mmsearch.cli.output import note, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.errors import UsageError

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch rebuild
  mmsearch rebuild --index hnsw
"""

_KINDS = ("auto", "flat", "ivf", "hnsw", "pq")

app = command_app()


@app.command(cls=PlainCommand, epilog=_EXAMPLES)
def rebuild(
    library: Library = None,
    kind: Annotated[
        str, typer.Option("--index", metavar="KIND", help=f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}.")
    ] = "auto",
    as_json: Json = False,
) -> int:
    """Make the vector indexes of a library anew.

    No file is read for it: the catalog holds every vector. Auto takes the kind that suits the number of vectors.
    """
    if kind not in _KINDS:
        raise UsageError(f"There is no kind of index {kind!r}.", hint=f"Kinds: {', '.join(_KINDS)}.")

    from mmsearch.engine import SearchEngine
    from mmsearch.present.jsonl import json_line
    from mmsearch.present.report import index_text

    with SearchEngine.open(library, read_only=False, offline=True) as engine:
        indexes = engine.rebuild(kind=kind)
    for index in indexes:
        note(f"Index: {index_text(index)}")
    if as_json:
        write_lines(json_line(index) for index in indexes)
    return 0
