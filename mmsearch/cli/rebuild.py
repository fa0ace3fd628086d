"""``mmsearch rebuild``: a library -> its vector index made anew from the catalog, or its tokens from the files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import Device, Json, Library, Precision, command_app
from mmsearch.cli.output import notes, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.engine import SearchEngine
    from mmsearch.types import TokenSummary

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch rebuild
  mmsearch rebuild --index hnsw
  mmsearch rebuild --tokens
"""

_KINDS = ("auto", "flat", "ivf", "hnsw", "pq")

app = command_app()


@app.command(cls=PlainCommand, epilog=_EXAMPLES)
def rebuild(
    library: Library = None,
    kind: Annotated[
        str | None,
        typer.Option("--index", metavar="KIND", show_default=False, help=f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]}."),
    ] = None,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Make what rerankers keep of pictures anew instead, from the files.")
    ] = False,
    device: Device = None,
    precision: Precision = None,
    as_json: Json = False,
) -> int:
    """Make the vector indexes of a library, or its tokens, anew.

    No file is read for the indexes: the catalog holds every vector. Auto takes the kind that suits the number of
    vectors. For the tokens every photo and video is read again. Ctrl-C saves those so far.
    """
    if kind is not None and kind not in _KINDS:
        raise UsageError(f"There is no kind of index {kind!r}.", hint=f"Kinds: {', '.join(_KINDS)}.")

    from mmsearch.engine import SearchEngine
    from mmsearch.present.jsonl import json_line
    from mmsearch.present.report import index_text, token_dict, token_lines

    rows: list[str] = []
    interrupted = False
    with SearchEngine.open(library, read_only=False, offline=True, device=device, precision=precision) as engine:
        if kind is not None or not tokens:
            indexes = engine.rebuild(kind=kind or "auto")
            notes(f"Index: {index_text(index)}" for index in indexes)
            rows += map(json_line, indexes)
        if tokens:
            summary = _make_tokens(engine)
            notes(token_lines(summary))
            rows.append(json_line(token_dict(summary)))
            interrupted = summary.interrupted
    if as_json:
        write_lines(rows)
    return 130 if interrupted else 0


def _make_tokens(engine: SearchEngine) -> TokenSummary:
    from mmsearch.present.progress import progress_display
    from mmsearch.present.terminal import describe

    with progress_display(sys.stderr, describe(sys.stderr)) as progress:
        return engine.rebuild_tokens(progress=progress)
