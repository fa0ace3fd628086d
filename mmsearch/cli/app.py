"""The table of commands, and the one way that each of them starts and ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mmsearch.cli.output import flush, note
from mmsearch.cli.parameters import PlainGroup
from mmsearch.cli.problems import INTERRUPTED, report
from mmsearch.config import debug
from mmsearch.version import __version__

__all__ = ["COMMANDS", "app"]

# Name -> module whose `app` it is, and its line in the help. The modules are imported on use: building the options of
# every command takes a third of the time that `mmsearch --help` may take.
COMMANDS = {
    "index": ("mmsearch.cli.index", "Index photos, texts, sounds and videos."),
    "query": ("mmsearch.cli.query", "Search by words, by files, or by both."),
    "explain": ("mmsearch.cli.explain", "Show where in a picture each word of a query looks."),
    "status": ("mmsearch.cli.status", "Show what a library holds."),
    "models": ("mmsearch.cli.models", "List, fetch, find and remove models."),
    "eval": ("mmsearch.cli.evaluate", "Measure a model on captions or class folders."),
    "train": ("mmsearch.cli.train", "Train or fine-tune a model on captioned pictures."),
    "rebuild": ("mmsearch.cli.rebuild", "Make the vector indexes of a library, or its tokens, anew."),
}

_EXAMPLES = """\b
Examples:
  mmsearch index ~/Media ~/Notes
  mmsearch query "a dog on the beach"
  mmsearch query ./cat.jpg -k 20
  mmsearch query "a dog barking" --type audio,video
  mmsearch query dog + ./pool.jpg - leash --json
"""


class _Commands(PlainGroup):
    """The commands of `COMMANDS`, with errors told in one way."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            from importlib import import_module

            command = typer.main.get_command(import_module(COMMANDS[cmd_name][0]).app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"There is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            note(ctx.get_help())
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would end without a word
            return report(INTERRUPTED)

    def main(self, args: Sequence[str] | None = None, *arguments: Any, **options: Any) -> Any:
        """Run a command and exit with its code; every problem becomes a sentence on stderr."""
        options["standalone_mode"] = False
        if not debug():
            import warnings

            warnings.simplefilter("ignore")  # they speak to programmers
        try:
            code = super().main(args, *arguments, **options)
            flush()
        except typer.Exit as end:
            code = end.exit_code
        except (Exception, KeyboardInterrupt) as error:
            code = report(error)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="mmsearch",
    cls=_Commands,
    rich_markup_mode=None,  # rich would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback(epilog=_EXAMPLES)
def mmsearch(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Search your photos, videos, sounds and notes by meaning, on your own machine."""
