"""A catalog with an encoder and a root."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.storage.catalog import Catalog
from mmsearch.types import Root
from tests.storage.making import RECORD


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "library", create=True) as opened:
        opened.register_encoders([RECORD])
        yield opened


@pytest.fixture
def root(catalog: Catalog, photos: Path) -> Root:
    return catalog.add_root(photos)
