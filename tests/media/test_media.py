from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.media import IMAGE_SUFFIXES, modality_of
from mmsearch.types import Modality


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_picture_is_known_by_its_suffix_in_either_case(suffix: str) -> None:
    assert modality_of(f"photo{suffix}") is Modality.IMAGE
    assert modality_of(Path(f"a/b.c/PHOTO{suffix.upper()}")) is Modality.IMAGE


@pytest.mark.parametrize("name", ["notes.txt", "jpg", ".jpg", "photo.jpg.part", "folder.jpg/file", ""])
def test_other_names_are_not_supported(name: str) -> None:
    assert modality_of(name) is None
