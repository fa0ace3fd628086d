"""``mmsearch query``: terms -> hits as a table, as JSON lines or as paths."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Json, Library, Model, Reranker, command_app
from mmsearch.cli.output import note, write, write_bytes, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.types import Hit

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch query "a dog on the beach"
  mmsearch query ./cat.jpg -k 20
  mmsearch query "a dog barking" --type audio,video --open
  mmsearch query ./photo.jpg --type text
  mmsearch query dog + ./pool.jpg - leash
  mmsearch query 2:dog + beach
  mmsearch query - < photo.jpg
  mmsearch query "a man walking a dog" --shortlist 300
  mmsearch query sunset --print0 | xargs -0 cp -t ./sunsets

\b
Exit codes: 0 with hits, 1 without, 2 wrong usage, 130 after Ctrl-C.
"""

# Below this chance that the best hit matches, the table says so.
_DOUBTFUL = 0.1
_MINUS = re.compile(r"-\s+\S.*", re.DOTALL)

app = command_app()


class _TermsCommand(PlainCommand):
    """A command whose terms may begin with a minus and a space, as in ``"- leash"``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_apart(args)))


def _apart(args: Sequence[str]) -> list[str]:
    """Take ``"- leash"`` for ``-`` and ``leash``; after ``--`` everything is a term already."""
    end = args.index("--") if "--" in args else len(args)
    tokens: list[str] = []
    for token in args[:end]:
        tokens += ["-", token[1:].lstrip()] if _MINUS.fullmatch(token) else [token]
    return [*tokens, *args[end:]]


@app.command(cls=_TermsCommand, epilog=_EXAMPLES)
def query(
    terms: Annotated[list[str], typer.Argument(metavar="TERM", show_default=False, hidden=True)],
    k: Annotated[int, typer.Option("-k", metavar="N", help="How many hits.")] = 10,
    library: Library = None,
    types: Annotated[
        str | None,
        typer.Option(
            "--type", metavar="T,...", show_default=False, help="Only these types: text, image, audio, video."
        ),
    ] = None,
    rerank: Annotated[
        bool | None,
        typer.Option("--rerank/--no-rerank", show_default=False, help="Re-read the best hits; by itself if possible."),
    ] = None,
    shortlist: Annotated[
        int, typer.Option("--shortlist", metavar="N", help="How many of the best hits are re-read.")
    ] = 100,
    reranker: Reranker = None,
    segments: Annotated[
        bool, typer.Option("--segments", help="Each place of an item that matches on a line of its own.")
    ] = False,
    open_best: Annotated[
        bool, typer.Option("--open", help="Open the best hit, a sound or video at its second where a player can.")
    ] = False,
    as_json: Json = False,
    paths: Annotated[bool, typer.Option("--paths", help="Paths alone, one a line.")] = False,
    print0: Annotated[bool, typer.Option("--print0", help="Paths alone, each followed by a zero byte.")] = False,
    no_preview: Annotated[bool, typer.Option("--no-preview", help="No pictures in the table.")] = False,
    model: Model = None,
) -> int:
    """Search by words, by files, or by both.

    A TERM is words, an image, sound, video or text file, or - for standard input. Terms are joined with + and -, which
    pushes away; 2:dog counts double. Words that follow one another are one term.
    """
    if as_json + paths + print0 > 1:
        raise UsageError("Only one of --json, --paths and --print0 can be given.", hint="See: mmsearch query --help")
    if shortlist < 1:
        raise UsageError(f"--shortlist must be at least 1, not {shortlist}.", hint="Leave it out for 100.")
    if k < 1:
        raise UsageError(f"-k must be at least 1, not {k}.", hint='For example: mmsearch query "a dog" -k 10')
    if reranker is not None and rerank is False:
        raise UsageError("--no-rerank does without the reranker that --reranker names.", hint="Leave one of them out.")
    if reranker is not None:
        rerank = True  # it was named to be used
    modalities = None if types is None else [name.strip() for name in types.split(",")]

    # One query multiplies small matrices: waking more threads for them costs more than it gains. NumPy reads this when
    # it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from mmsearch.engine import SearchEngine
    from mmsearch.query.language import parse

    wanted = parse(terms, stdin=_standard_input)
    # A query never goes to the network: it says which command fetches the model instead.
    with SearchEngine.open(library, model=model, offline=True, reranker=reranker, notify=note) as engine:
        hits = engine.search(wanted, k, modalities=modalities, rerank=rerank, shortlist=shortlist)
    if not hits:
        note("No match.")
        note("To see what the library holds: mmsearch status")
        return 1
    shown = [place for hit in hits for place in hit.unfolded()] if segments else hits
    if as_json:
        from mmsearch.present.jsonl import json_lines

        write_lines(json_lines(hit.to_dict() for hit in shown))
    elif paths or print0:
        from mmsearch.present.paths import path_bytes

        write_bytes(path_bytes(shown, b"\0" if print0 else b"\n"))
    else:
        from mmsearch.present.table import table
        from mmsearch.present.terminal import describe

        write(table(shown, describe(sys.stdout), previews=not no_preview, base=Path.cwd()))
        if hits[0].relevance < _DOUBTFUL:
            note("There is no good match; these come nearest.")
    if open_best:
        _open(hits[0])
    return 0


def _open(hit: Hit) -> None:
    """Open a hit; its path and time are told first, whatever comes of it."""
    from mmsearch.present.paths import shown_path
    from mmsearch.present.places import clock, place_text
    from mmsearch.present.player import open_hit

    if hit.path is not None:
        note("  ".join(filter(None, (f"Opening {shown_path(hit.path)}", place_text(hit)))))
    player = open_hit(hit)
    if hit.start_ms and not player.jumps:
        note(f"{player.name} starts at the beginning; go to {clock(hit.start_ms)}.")


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        note("Reading the query from the terminal; end it with Ctrl-D.")
    return sys.stdin.buffer.read()
