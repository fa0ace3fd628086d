"""The command line: arguments -> one library call -> results on stdout, progress and problems on stderr."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command that the process was started with, and exit with its code."""
    import gc
    import os
    import sys

    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by the caller, as by 2>&-
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as the process lives
    # Importing makes many objects and hardly any garbage: collecting as often as usual takes a tenth of a cold query.
    gc.set_threshold(50_000)
    from mmsearch.cli.app import app

    app(prog_name="mmsearch")
