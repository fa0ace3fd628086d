from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.indexer.shelf import Shelf, put

NOBODY = 65534


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """An empty library."""
    return Shelf(tmp_path / "library")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An empty folder for photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """An empty folder, and a process to which permissions apply: a superuser becomes nobody for the test."""
    if not hasattr(os, "geteuid"):
        pytest.skip("no permissions here")
    folder = Path(tempfile.mkdtemp()).resolve()
    # What is imported on first use may lie where nobody cannot read.
    put(folder / "warm up" / "a.png", 1)
    Shelf(folder / "warm up" / "library").sync(folder / "warm up")
    shutil.rmtree(folder / "warm up")
    superuser = os.geteuid() == 0
    if superuser:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if superuser:
            os.seteuid(0)
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o700)
        shutil.rmtree(folder)
