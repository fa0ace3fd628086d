"""What the documentation of the Python API shows is so: every example is run, every public name has one."""

from __future__ import annotations

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mmsearch
import mmsearch.recommend
from tests.api.pages import BLOCK, REPOSITORY, beside_the_data, run

PAGES = [REPOSITORY / "docs" / name for name in ("python.md", "recommenders.md")]
MODULES = [
    "mmsearch.item_data",
    "mmsearch.recommend",
    "mmsearch.retrieval.many_hits",
    "mmsearch.recommendation.histories",
]
MODULES += ["mmsearch.recommendation.features"]
SCRIPT = Path(__file__).with_name("user_script.py")
NEEDED = {"recommenders.md": ("implicit", "langchain_core", "scipy")}


@pytest.mark.full
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore::Warning:implicit", "ignore:OpenBLAS", "ignore::RuntimeWarning:implicit")
def test_a_page_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    for package in NEEDED.get(page.name, ()):
        pytest.importorskip(package)
    with beside_the_data(tmp_path):
        for block, printed in run(page):
            assert printed == (block["output"] or ""), block["code"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_are_right(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def examples() -> str:
    pages = "".join(block["code"] for page in PAGES for block in BLOCK.finditer(page.read_text("utf-8")))
    parser = doctest.DocTestFinder()
    docstrings = "".join(
        example.source
        for name in MODULES
        for test in parser.find(importlib.import_module(name))
        for example in test.examples
    )
    return pages + docstrings


@pytest.mark.parametrize("name", [*mmsearch.__all__, *mmsearch.recommend.__all__])
def test_every_public_name_is_in_an_example_that_is_run(name: str) -> None:
    assert re.search(rf"\b{name}\b", examples())


METHODS = [name for name in dir(mmsearch.SearchEngine) if not name.startswith("_")]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_an_engine_is_documented(name: str) -> None:
    assert getattr(mmsearch.SearchEngine, name).__doc__


def test_a_users_script_is_right_for_mypy_in_strict_mode() -> None:
    pytest.importorskip("mypy")
    options = [
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(REPOSITORY / ".mypy_cache"),
        "--follow-imports",
        "silent",
    ]
    command = [sys.executable, "-m", "mypy", *options, "--config-file", "/dev/null", str(SCRIPT)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout == "" and done.returncode == 0, done.stderr


@pytest.mark.full
def test_the_users_script_runs(samples: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(samples), str(tmp_path / "library")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nobody" in done.stdout and done.stdout.endswith("50\n")
