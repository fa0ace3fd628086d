"""Fixtures that many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def samples() -> Path:
    """The sample photographs that the project ships."""
    return REPOSITORY / "data" / "samples"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The research data that lies beside a checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("MMSEARCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "flickr8k").is_dir():
        pytest.skip(f"no research data in {folder} (set MMSEARCH_TEST_DATA)")
    return folder
