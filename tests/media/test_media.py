from __future__ import annotations

from pathlib import Path

import pytest

from mmsearch.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, TEXT_SUFFIXES, VIDEO_SUFFIXES, modality_of
from mmsearch.types import Modality


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_a_picture_is_known_by_its_suffix_in_either_case(suffix: str) -> None:
    assert modality_of(f"photo{suffix}") is Modality.IMAGE
    assert modality_of(Path(f"a/b.c/PHOTO{suffix.upper()}")) is Modality.IMAGE


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("notes.md", Modality.TEXT),
        ("REPORT.PDF", Modality.TEXT),
        ("song.mp3", Modality.AUDIO),
        ("talk.opus", Modality.AUDIO),
        ("film.mp4", Modality.VIDEO),
        ("CLIP.MOV", Modality.VIDEO),
    ],
)
def test_texts_sounds_and_videos_are_known_by_their_suffixes_too(name: str, modality: Modality) -> None:
    assert modality_of(name) is modality


def test_no_suffix_is_of_two_kinds() -> None:
    kinds = (IMAGE_SUFFIXES, TEXT_SUFFIXES, AUDIO_SUFFIXES, VIDEO_SUFFIXES)
    assert len(frozenset().union(*kinds)) == sum(map(len, kinds))


@pytest.mark.parametrize("name", ["notes.xyz", "code.ts", "jpg", ".jpg", "photo.jpg.part", "folder.jpg/file", ""])
def test_other_names_are_not_supported(name: str) -> None:
    assert modality_of(name) is None
