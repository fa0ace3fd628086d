"""One table turns every exception into words and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch import errors
from mmsearch.cli.problems import INTERRUPTED, problem_of, report


def raised() -> list[errors.MmsearchError]:
    """One exception of every class of the tree, without a hint of its own."""
    special = {
        "ExtraMissingError": errors.ExtraMissingError("The model x", "hf"),
        "MediaError": errors.MediaError(Path("/a.jpg"), "truncated JPEG"),
    }
    return [special.get(name) or getattr(errors, name)(f"{name} happened.") for name in errors.__all__]


@pytest.mark.parametrize("error", raised(), ids=lambda error: type(error).__name__)
def test_every_error_of_the_tree_has_words_and_a_code(error: errors.MmsearchError) -> None:
    problem = problem_of(error)
    assert problem.sentence == error.message
    assert problem.exit_code == (2 if isinstance(error, errors.UsageError) else 1)


@pytest.mark.parametrize(
    "kind", [errors.LibraryNotFoundError, errors.LibraryLockedError, errors.ModelMissingError, errors.QueryError]
)
def test_an_error_without_a_hint_gets_the_one_of_its_kind(kind: type[errors.MmsearchError]) -> None:
    assert problem_of(kind("It happened.")).hint
    assert problem_of(kind("It happened.", hint="Do this.")).hint == "Do this."


def test_an_interruption_is_code_130() -> None:
    assert problem_of(INTERRUPTED).exit_code == 130
    assert problem_of(KeyboardInterrupt()).sentence == "Interrupted."


def test_an_unexpected_error_says_its_type_and_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero")) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "mmsearch: Unexpected ZeroDivisionError: division by zero",
        "To see where it happened, run the command again with MMSEARCH_DEBUG=1 in the environment.",
    ]


def test_a_traceback_is_shown_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report(_raised_error())
    assert "_raised_error" not in capsys.readouterr().err
    monkeypatch.setenv("MMSEARCH_DEBUG", "1")
    report(_raised_error())
    assert "in _raised_error" in capsys.readouterr().err


def _raised_error() -> Exception:
    try:
        raise errors.StorageError("The disk is full.")
    except errors.StorageError as error:
        return error


def test_odd_names_in_a_message_stay_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.UsageError("There is no file a\nb\x1b[31m\udcff."))
    assert capsys.readouterr().err.splitlines()[0] == "mmsearch: There is no file a\\nb\\x1b[31m\\xff."
