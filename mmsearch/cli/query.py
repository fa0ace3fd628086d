"""``mmsearch query``: terms and filters -> hits as a table, as JSON lines or as paths, or groups of duplicates."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli import filter_options as options
from mmsearch.cli import result_options as results
from mmsearch.cli.options import Json, Library, Model, Reranker, command_app
from mmsearch.cli.output import note, notes
from mmsearch.cli.parameters import PlainCommand
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.cli.hits import Form
    from mmsearch.filters import Filters
    from mmsearch.query.language import Query

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch query "a dog on the beach"
  mmsearch query ./cat.jpg -k 20
  mmsearch query "a dog barking" --type audio,video --open
  mmsearch query dog + ./pool.jpg - leash
  mmsearch query 2:dog + beach type:image after:2023-06
  mmsearch query '"IMG_2041"'
  mmsearch query --in "Summer 2023" --size ">2MB"
  mmsearch query - < photo.jpg
  mmsearch query "a man walking a dog" --shortlist 300
  mmsearch query sunset --diverse --group-by month
  mmsearch query --dups
  mmsearch query sunset --print0 | xargs -0 cp -t ./sunsets

\b
Exit codes: 0 with hits, 1 without, 2 wrong usage, 130 after Ctrl-C.
"""

K = 10
# What begins with a minus and is no option: a minus to push away, exact words, a filter or a group of them.
_MINUS = re.compile(r"-(?:\s+\S.*|[\"(].*|[A-Za-z]{2,}:.+)", re.DOTALL)
_NUMBER = re.compile(r"\d*\.?\d+")

app = command_app()


class _TermsCommand(PlainCommand):
    """A command whose terms may begin with a minus, as in ``"- leash"`` and ``-type:video``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_apart(args)))


def _apart(args: Sequence[str]) -> list[str]:
    """Tell terms that begin with a minus from options, by a blank before it, and give ``--diverse`` its value.

    After ``--`` everything is a term already.
    """
    end = args.index("--") if "--" in args else len(args)
    tokens: list[str] = []
    for place, token in enumerate(args[:end]):
        tokens.append(f" {token}" if _MINUS.fullmatch(token) else token)
        if token == "--diverse" and not _NUMBER.fullmatch("".join(args[place + 1 : min(end, place + 2)])):
            tokens.append(results.AUTO)
    return [*tokens, *args[end:]]


@app.command(cls=_TermsCommand, epilog=_EXAMPLES)
def query(
    terms: Annotated[list[str] | None, typer.Argument(metavar="TERM", show_default=False, hidden=True)] = None,
    k: Annotated[
        int | None, typer.Option("-k", metavar="N", show_default=False, help="How many hits, else 10.")
    ] = None,
    library: Library = None,
    type_: options.Types = None,
    path: options.Paths = None,
    inside: options.Inside = None,
    after: options.After = None,
    before: options.Before = None,
    date: options.Date = None,
    camera: options.Cameras = None,
    size: options.Size = None,
    width: options.Width = None,
    height: options.Height = None,
    near: options.Near = None,
    has: options.Has = None,
    duration: options.Duration = None,
    meta: options.Meta = None,
    exact: options.Exact = None,
    min_relevance: results.MinRelevance = None,
    show_all: results.All = False,
    offset: results.Offset = None,
    page: results.Page = None,
    diverse: results.Diverse = None,
    group_by: results.GroupBy = None,
    no_fold: results.NoFold = False,
    dups: results.Dups = False,
    no_words: results.NoWords = False,
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
    explain: Annotated[bool, typer.Option("--explain", help="Tell what was done and how long it took.")] = False,
    as_json: Json = False,
    paths: Annotated[bool, typer.Option("--paths", help="Paths alone, one a line.")] = False,
    print0: Annotated[bool, typer.Option("--print0", help="Paths alone, each followed by a zero byte.")] = False,
    no_preview: Annotated[bool, typer.Option("--no-preview", help="No pictures in the table.")] = False,
    model: Model = None,
) -> int:
    """Search by words, by files, or by both.

    A TERM is words, an image, sound, video or text file, or - for standard input. Terms are joined with + and -, which
    pushes away; 2:dog counts double. Words that follow one another are one term. "Words in quotation marks" must stand
    in what is found, and type:image after:2023 limit it, as the options do; -type:video leaves out.
    """
    if as_json + paths + print0 > 1:
        raise UsageError("Only one of --json, --paths and --print0 can be given.", hint="See: mmsearch query --help")
    if shortlist < 1:
        raise UsageError(f"--shortlist must be at least 1, not {shortlist}.", hint="Leave it out for 100.")
    if k is not None and k < 1:
        raise UsageError(f"-k must be at least 1, not {k}.", hint='For example: mmsearch query "a dog" -k 10')
    if reranker is not None and rerank is False:
        raise UsageError("--no-rerank does without the reranker that --reranker names.", hint="Leave one of them out.")
    if reranker is not None:
        rerank = True  # it was named to be used
    passed_over = results.offset_of(offset, page, k or K)
    least = results.least_of(min_relevance, show_all)

    # One query multiplies small matrices: waking more threads for them costs more than it gains. NumPy reads this when
    # it is imported. Comparing a whole library is worth them.
    if not dups:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    limits = options.filters_from(
        {
            "type": type_,
            "path": path,
            "in": inside,
            "after": after,
            "before": before,
            "date": date,
            "camera": camera,
            "size": size,
            "width": width,
            "height": height,
            "near": near,
            "has": has,
            "duration": duration,
            "meta": meta,
            "exact": exact,
        }
    )
    wanted = _wanted(terms or [], limits, everything=dups)
    strength = results.strength_of(diverse)
    form: Form = "json" if as_json else "paths" if paths else "print0" if print0 else "table"

    from mmsearch.engine import SearchEngine
    from mmsearch.query.trace import Trace

    # A query never goes to the network: it says which command fetches the model instead.
    with SearchEngine.open(library, model=model, offline=True, reranker=reranker, notify=note) as engine:
        if dups:
            from mmsearch.cli.hits import write_duplicates

            return write_duplicates(engine.duplicates(wanted)[:k], form)
        assert wanted is not None  # only --dups does without
        trace = Trace() if explain else None
        hits = engine.search(
            wanted,
            k or K,
            rerank=rerank,
            shortlist=shortlist,
            words=not no_words,
            min_relevance=least,
            offset=passed_over,
            diverse=strength,
            group_by=group_by,  # type: ignore[arg-type]  # what it may be is checked there
            duplicates="show" if no_fold else "fold",
            trace=trace,
        )
    if trace is not None:
        notes(trace.lines())
    if not hits:
        note("No match." if not passed_over else "No more matches.")
        if wanted.terms and least != 0 and not passed_over:
            note("To see what comes nearest all the same, add --all.")
        note("To see what the library holds: mmsearch status")
        return 1
    from mmsearch.cli.hits import open_hit, write_hits

    write_hits(hits, form, segments=segments, previews=not no_preview)
    if open_best:
        open_hit(hits[0])
    return 0


def _wanted(terms: list[str], limits: Filters, *, everything: bool) -> Query | None:
    """What is looked for; None for the whole library, where that makes sense."""
    if terms:
        from mmsearch.query.language import Query, parse

        query = parse(terms, stdin=_standard_input)
        if not limits:
            return query
        from mmsearch.query.filter_syntax import together

        return Query(query.terms, together(query.filters, limits))
    if limits:
        from mmsearch.query.language import Query

        return Query(filters=limits)
    if everything:
        return None
    raise UsageError("Missing argument 'TERM'.", hint="For help: mmsearch query --help")


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        note("Reading the query from the terminal; end it with Ctrl-D.")
    return sys.stdin.buffer.read()
