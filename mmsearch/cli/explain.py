"""``mmsearch explain``: words and a picture -> where each word looks in it, as a figure or as JSON."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Json, Library, Model, Reranker, command_app
from mmsearch.cli.output import note, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.config import DEFAULT_MODEL, find_library
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.query.language import Query
    from mmsearch.types import Explanation

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch explain "a dog on the beach" photo.jpg -o why.png
  mmsearch explain "a dog on the beach" photo.jpg -o why.png --library ./photos/.mmsearch
  mmsearch explain "a red car" photo.jpg --json | jq .verdict
  mmsearch explain "a red car" photo.jpg --reranker ./my-reranker.safetensors -o why.png

\b
In the figure, each word has the picture in grey with colour where the word looks
more than evenly, on a scale that is the same for all words and all figures.
"""

app = command_app()


class _WordsAndPictureCommand(PlainCommand):
    """A command whose last argument is a picture, and whose other ones are words, in quotation marks or not."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", "QUERY", "IMAGE"]


@app.command(cls=_WordsAndPictureCommand, epilog=_EXAMPLES)
def explain(
    terms: Annotated[list[str], typer.Argument(metavar="QUERY IMAGE", show_default=False, hidden=True)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", show_default=False, help="The figure to draw: .png, .jpg or .webp."
        ),
    ] = None,
    library: Library = None,
    model: Model = None,
    reranker: Reranker = None,
    as_json: Json = False,
) -> int:
    """Show where in a picture each word of a query looks.

    QUERY is words, IMAGE the file of a picture, which need not be in a library. Where there is a library, its model and
    reranker are asked, and its pictures are what the match is judged by; otherwise the built-in ones.
    """
    *words, name = terms
    picture = Path(name).expanduser()
    # Small matrices, as in a query; NumPy reads this when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from mmsearch.query.language import parse

    _check_order(words, name)
    wanted = parse(words, stdin=sys.stdin.buffer.read)
    if output is not None:
        _check_output(output, picture)
    elif not as_json:
        raise UsageError(
            "It was not said where the figure is to be written.",
            hint=f"For example: mmsearch explain {shlex.join(terms)} -o why.png",
        )
    found = _explained(wanted, picture, library, model, reranker)
    if as_json:
        from mmsearch.present.jsonl import json_line

        write_lines([json_line({"image": picture.absolute(), **found.to_dict()})])
    else:
        write_lines(_lines(found))
    if output is not None:
        from mmsearch.present.explanation import PICTURE_SIDE, draw_explanation
        from mmsearch.present.paths import shown_path
        from mmsearch.rerank.explaining import picture_of

        draw_explanation(found, picture_of(picture, PICTURE_SIDE), output)
        note(f"The figure is in {shown_path(output)}")
    return 0


def _check_order(words: list[str], name: str) -> None:
    """See that there are words and then a picture."""
    if not words:
        raise UsageError(
            "Give both the words and a picture.", hint='For example: mmsearch explain "a dog" photo.jpg -o why.png'
        )
    if os.path.isfile(words[0]) and not os.path.exists(name):
        order = shlex.join([" ".join([*words[1:], name]), words[0]])
        raise UsageError("The words come first, then the picture.", hint=f"Try: mmsearch explain {order} -o why.png")


def _check_output(output: Path, picture: Path) -> None:
    """Find out what would be in the way of the figure before the work."""
    from mmsearch.evaluation.files import check_place
    from mmsearch.present.explanation import SUFFIXES

    check_place(output, SUFFIXES)
    if output.exists() and picture.exists() and output.samefile(picture):
        raise UsageError(f"The figure would take the place of the picture {output}.", hint="Give it another name.")


def _explained(
    query: Query, picture: Path, library: Path | None, model: str | None, reranker: str | None
) -> Explanation:
    """Ask the library's model where there is a library, else the built-in one or the one that is named."""
    named = library is not None or bool(os.environ.get("MMSEARCH_LIBRARY"))
    if named or (find_library() / "catalog.sqlite3").exists():
        from mmsearch.engine import SearchEngine

        with SearchEngine.open(library, model=model, offline=True, reranker=reranker, notify=note) as engine:
            return engine.explain(query, picture)
    from mmsearch.encoders import load_encoder
    from mmsearch.rerank import load_reranker
    from mmsearch.rerank.explaining import explain, sentence_of

    encoder = load_encoder(model or DEFAULT_MODEL, offline=True, notify=note)
    return explain(sentence_of(query), picture, encoder, load_reranker(reranker, encoder))


def _lines(found: Explanation) -> Iterator[str]:
    """The verdict, and the words, for those who read."""
    from mmsearch.present.paths import printable
    from mmsearch.present.report import columns

    yield (
        f"{_percent(found.relevance)} likely to match, {_percent(found.retrieval_relevance)} by the dual encoder alone"
        f" (similarity {found.similarity:.3f})"
    )
    rows = [("word", "counts", "peak")]
    rows += [
        (printable(word), _percent(weight), f"{peak:.1f}x an even share")
        for word, weight, peak in zip(found.words, found.weights, found.peaks, strict=True)
    ]
    yield from columns(rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
