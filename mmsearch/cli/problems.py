"""The one table of problems: an exception -> a sentence, the command that helps, and an exit code."""

from __future__ import annotations

from dataclasses import dataclass

from mmsearch import errors
from mmsearch.cli.output import note
from mmsearch.config import debug
from mmsearch.present.paths import printable

__all__ = ["INTERRUPTED", "Problem", "problem_of", "report"]

# Exit code and the hint of an error that brings none of its own, most special first.
_TABLE: tuple[tuple[type[BaseException], int, str | None], ...] = (
    (errors.UnknownEncoderError, 2, "To see which models there are: mmsearch models list"),
    (errors.QueryError, 2, "For help: mmsearch query --help"),
    (errors.UsageError, 2, "For help: mmsearch --help"),
    (errors.LibraryNotFoundError, 1, "To make a library: mmsearch index ./photos"),
    (errors.LibraryLockedError, 1, "Wait until it is done, then run the command again."),
    (errors.LibraryTooNewError, 1, "To update: pip install --upgrade mmsearch"),
    (errors.LibraryDamagedError, 1, "To make a new one: mmsearch index ./photos --library ./new"),
    (errors.EncoderMismatchError, 1, "Leave --model out, or choose another --library."),
    (errors.ModelMissingError, 1, "To fetch a model: mmsearch models pull ID"),
    (errors.StorageError, 1, "To see where the library lies: mmsearch status"),
    (errors.MmsearchError, 1, None),
    (KeyboardInterrupt, 130, None),
    (MemoryError, 1, "Try a smaller --batch-size."),
)
_TRACEBACK = "To see where it happened, run the command again with MMSEARCH_DEBUG=1 in the environment."


@dataclass(frozen=True, slots=True)
class Problem:
    """What is said of an error, and how the process ends."""

    sentence: str
    hint: str | None
    exit_code: int


INTERRUPTED = KeyboardInterrupt()


def problem_of(error: BaseException) -> Problem:
    """Find the words and the exit code for an error."""
    for kind, exit_code, hint in _TABLE:
        if isinstance(error, kind):
            if isinstance(error, errors.MmsearchError):
                return Problem(error.message, error.hint or hint, exit_code)
            return Problem(_own_words(error), hint, exit_code)
    if (wording := getattr(error, "format_message", None)) is not None:  # what typer says of the arguments
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mmsearch"
        hint = "To push something away, put a space after the minus: dog - leash. " if _is_minus(error) else ""
        return Problem(str(wording()), f"{hint}For help: {command} --help", int(getattr(error, "exit_code", 2)))
    text = str(error).strip()
    return Problem(f"Unexpected {type(error).__name__}{': ' if text else ''}{text}", _TRACEBACK, 1)


def report(error: BaseException) -> int:
    """Tell the user of an error; returns the exit code."""
    if debug():
        import traceback

        traceback.print_exception(error)
    problem = problem_of(error)
    note(f"mmsearch: {printable(problem.sentence)}")
    if isinstance(error, errors.QueryError):
        for line in error.pointer or ():
            note(printable(line))
    if problem.hint:
        note(printable(problem.hint))
    return problem.exit_code


def _own_words(error: BaseException) -> str:
    return "Interrupted." if isinstance(error, KeyboardInterrupt) else "There is not enough memory."


def _is_minus(error: BaseException) -> bool:
    """Whether an unknown option such as ``-leash`` was meant to push something away."""
    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    return context is not None and context.command.name == "query" and option is not None and option[:2] != "--"
