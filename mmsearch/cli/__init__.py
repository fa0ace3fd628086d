"""The command line: arguments -> one library call -> results on stdout, progress and problems on stderr."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    from mmsearch.cli.app import app

    app(prog_name="mmsearch")
