"""``mmsearch status``: a library -> what it holds."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli.options import Json, Library, command_app
from mmsearch.cli.output import write_lines
from mmsearch.cli.parameters import PlainCommand

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch status
  mmsearch status --failures
  mmsearch status --json | jq .items
"""

app = command_app()


@app.command(cls=PlainCommand, epilog=_EXAMPLES)
def status(
    library: Library = None,
    failures: Annotated[bool, typer.Option("--failures", help="The files that could not be read, and why.")] = False,
    as_json: Json = False,
) -> int:
    """Show what a library holds."""
    from mmsearch.engine import SearchEngine
    from mmsearch.present.jsonl import json_line
    from mmsearch.present.report import failure_lines, status_dict, status_lines

    with SearchEngine.open(library, offline=True) as engine:
        state = engine.status()
        failed = engine.catalog.failures() if failures else None
    if as_json:
        write_lines([json_line(status_dict(state, failed))])
    elif failed is not None:
        write_lines(failure_lines(failed))
    else:
        write_lines(status_lines(state))
    return 0
