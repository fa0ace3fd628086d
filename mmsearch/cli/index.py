"""``mmsearch index``: files and folders -> a library that is up to date, and a summary on stderr."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import Device, Library, Models, Offline, Precision, command_app
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.cli.parameters import PlainCommand
from mmsearch.errors import UsageError

__all__ = ["app"]

_EXAMPLES = """\b
Examples:
  mmsearch index ./photos
  mmsearch index ~/Media ~/Notes
  mmsearch index ~/Pictures /mnt/camera --ignore "*.tmp.jpg"
  mmsearch index ./photos --library ./photos/.mmsearch
  mmsearch index ./photos --model open_clip/ViT-B-32/laion2b_s34b_b79k --library ./clip
  mmsearch index ~/Media --model open_clip/... --model clap/... --library ./both
  mmsearch index ~/Pictures --no-tokens

\b
Exit codes: 0 also when files were skipped (they are listed), 1 when it failed,
2 wrong usage, 130 after Ctrl-C with everything so far saved.
"""

app = command_app()


@app.command(cls=PlainCommand, epilog=_EXAMPLES)
def index(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", show_default=False, hidden=True)],
    library: Library = None,
    model: Models = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="GLOB", show_default=False, help="Pass over such names; can be repeated."),
    ] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Include hidden files and folders.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Forget the files of a folder even if it is missing or empty.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try files again that could not be read before.")
    ] = False,
    captions: Annotated[
        bool,
        typer.Option(
            "--captions/--no-captions",
            help="Read what is written about photos, sounds and videos, in them and beside them.",
        ),
    ] = True,
    tokens: Annotated[
        bool,
        typer.Option(
            "--tokens/--no-tokens",
            help="Keep what a reranker reads of each photo and frame, up to 16 KB of it.",
        ),
    ] = True,
    reranker: Annotated[
        Path | None,
        typer.Option(
            "--reranker",
            metavar="FILE",
            show_default=False,
            help="A reranker made by mmsearch train reranker; the library keeps it.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", show_default=False, help="Segments that go through a model at once."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", show_default=False, help="Threads that read files.")
    ] = None,
    device: Device = None,
    precision: Precision = None,
    offline: Offline = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object on stdout.")] = False,
) -> int:
    """Index photos, texts, sounds and videos.

    PATH is a file or a folder. An index that is there is brought up to date: only what is new or changed is embedded,
    what was moved or copied is recognised, and what was deleted is removed. Ctrl-C saves everything so far.
    """
    for name, value in (("--batch-size", batch_size), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}.", hint="Leave it out for a value that suits.")

    # The threads that embed and make tokens have pictures of their own: threads of NumPy's below them would only wait
    # for each other, and take the cores from those that decode. NumPy reads this when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from indexer.sync import SyncOptions
    from mmsearch.engine import SearchEngine
    from mmsearch.present.progress import progress_display
    from mmsearch.present.terminal import describe

    options = SyncOptions(
        ignore=ignore or (),
        include_hidden=hidden,
        prune=prune,
        batch_size=batch_size,
        threads=threads,
        retry_failed=retry_failed,
        captions=captions,
        tokens=tokens,
    )
    _check_paths(paths, library)
    with (
        SearchEngine.open(
            library,
            model=_models(model),
            create=True,
            read_only=False,
            offline=offline,
            device=device,
            precision=precision,
            reranker=reranker,
            notify=note,
        ) as engine,
        progress_display(sys.stderr, describe(sys.stderr)) as progress,
    ):
        summary = engine.index(paths, options=options, progress=progress)

    from mmsearch.present.report import summary_dict, summary_lines

    notes(summary_lines(summary))
    if as_json:
        from mmsearch.present.jsonl import json_line

        write_lines([json_line(summary_dict(summary))])
    return 130 if summary.interrupted else 0


def _models(named: list[str] | None) -> tuple[str, ...] | None:
    """Each model once, in the order given: they may be repeated, or several of them joined by commas."""
    if named is None:
        return None
    models = tuple(dict.fromkeys(name.strip() for names in named for name in names.split(",")))
    if "" in models:
        raise UsageError("--model needs a name.", hint="To see which models there are: mmsearch models list")
    return models or None


def _check_paths(paths: list[Path], library: Path | None) -> None:
    """A path that is not there must not leave an empty library behind; in a library that exists, it may be a root."""
    from indexer.targets import plan_targets
    from mmsearch.config import find_library

    if not find_library(library).exists():
        plan_targets(paths)
