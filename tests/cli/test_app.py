"""What holds for every command."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from mmsearch.cli.app import COMMANDS, app
from mmsearch.version import __version__
from tests.cli.conftest import Invoke

HEAVY = (
    "numpy",
    "torch",
    "faiss",
    "sqlalchemy",
    "PIL",
    "onnxruntime",
    "open_clip",
    "rich",
    "pydantic",
    "mmsearch.types",
)
REFERENCE = Path(__file__).parents[2] / "docs" / "command-line.md"


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, those of groups as well."""
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="mmsearch")
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        command = root.get_command(context, name)  # type: ignore[attr-defined]
        yield name, command
        for below, child in getattr(command, "commands", {}).items():
            yield f"{name} {below}", child


NAMES = [name for name, _ in commands()]


def loaded_by(*arguments: str) -> set[str]:
    probe = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n"
        f"sys.argv = ['mmsearch', *{arguments!r}]\n"
        "from mmsearch.cli import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, timeout=60)
    return set(done.stderr.splitlines()[-1].split())


def test_there_are_the_commands_that_the_design_names() -> None:
    assert NAMES[:5] == ["index", "query", "explain", "status", "models"]
    assert set(NAMES) >= {"eval", "rebuild", "models list", "models pull", "models path", "models remove"}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example_of_itself(invoke: Invoke, name: str) -> None:
    result = invoke(*name.split(), "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert re.search(rf"Examples?:\n\s+mmsearch {name}", result.stdout)
    assert max(map(len, result.stdout.splitlines())) <= 100
    assert invoke(*name.split(), "-h").stdout == result.stdout


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=NAMES)
def test_every_option_is_explained_and_stands_in_the_reference(name: str, command: Any) -> None:
    reference = REFERENCE.read_text("utf-8")
    assert f"mmsearch {name}" in reference
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.opts}"
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert f"`{option}" in reference or f" {option}" in reference, f"{name} {option}"


def test_the_lines_of_the_general_help_are_those_of_the_commands(invoke: Invoke) -> None:
    text = invoke("--help").stdout
    for name, (module, short) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(short)}$", text, re.MULTILINE)
        application = import_module(module).app
        (registered,) = (
            application.registered_commands[:1]
            if name not in ("models", "train")
            else [application.registered_callback]
        )
        assert inspect.getdoc(registered.callback).splitlines()[0] == short


def test_the_version_is_told(invoke: Invoke) -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"mmsearch {__version__}\n")


def test_without_a_command_the_help_goes_to_stderr(invoke: Invoke) -> None:
    result = invoke()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: mmsearch")


@pytest.mark.parametrize(
    ("arguments", "sentence", "hint"),
    [
        (["serch"], "There is no command 'serch'.", "mmsearch --help"),
        (["qury"], "There is no command 'qury'. Did you mean 'query'?", "mmsearch --help"),
        (["query"], "Missing argument 'TERM'.", "mmsearch query --help"),
        (["query", "dog", "--zzz"], "No such option: --zzz", "mmsearch query --help"),
        (["query", "dog", "-leash"], "No such option: -l", "put a space after the minus"),
        (["query", "dog", "-k", "many"], "Invalid value for '-k': 'many' is not a", "query --help"),
        (["query", "dog", "-k"], "Option '-k' requires an argument.", "mmsearch query --help"),
        (["models"], "Missing command.", "mmsearch models --help"),
        (["status", "extra"], "Got unexpected extra argument(s) (extra)", "mmsearch status --help"),
    ],
)
def test_wrong_usage_is_one_sentence_and_a_hint(invoke: Invoke, arguments: list[str], sentence: str, hint: str) -> None:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"mmsearch: {sentence}")
    assert hint in second


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("query", "--help"), ("index", "-h")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not loaded_by(*arguments) & set(HEAVY)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_shown(process: Any, shell: str) -> None:
    done = process(
        "--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0
    assert b"_MMSEARCH_COMPLETE" in done.stdout


def test_commands_and_options_are_completed(process: Any) -> None:
    def complete(words: str, at: int) -> list[str]:
        done = process(env={"_MMSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)})
        assert done.returncode == 0
        return done.stdout.decode().split()

    assert complete("mmsearch ", 1) == list(COMMANDS)
    assert complete("mmsearch query --pr", 2) == ["--print0"]
    assert complete("mmsearch models pu", 2) == ["pull"]
