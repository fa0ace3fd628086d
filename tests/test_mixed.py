"""The sample notes, sounds and videos: all documented, small and readable, and what they are said to be."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.media import modality_of
from mmsearch.media.audio import loudness, read_audio
from mmsearch.media.stretch import read_stretch
from mmsearch.media.text import read_passages
from mmsearch.media.video import read_video, read_video_info
from mmsearch.types import Modality
from tests.mixed import SCENES, Scene

pytest.importorskip("av", reason="sounds and videos need the package av")

MIXED = Path(__file__).resolve().parent.parent / "data" / "mixed"
# Those that may be combined with what is under the GPL.
COMBINABLE = ("CC0 1.0", "public domain")


def files(kind: str) -> list[Path]:
    return [path for path in sorted((MIXED / kind).iterdir()) if path.name != "LICENSE"]


def documented() -> dict[str, tuple[str, ...]]:
    """The rows of the tables in data/README.md: file -> what it is, and last its licence."""
    rows = [line.strip("|").split("|") for line in readme().splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`"): tuple(cell.strip() for cell in row[1:]) for row in rows}


def readme() -> str:
    return (MIXED.parent / "README.md").read_text(encoding="utf-8")


def videos() -> list[tuple[str, int, Scene]]:
    return [(name, number, scene) for name, scenes in SCENES.items() for number, scene in enumerate(scenes)]


def test_every_file_is_documented_with_its_licence() -> None:
    table = documented()
    for kind in ("notes", "sounds", "videos"):
        for path in files(kind):
            *said, licence = table[f"{kind}/{path.name}"]
            assert all(said), path
            assert licence.startswith(("GPL-2", "CC0 1.0", "Apache-2.0")), path
    assert {name for name in table if "/" in name} == {
        f"{kind}/{path.name}" for kind in ("notes", "sounds", "videos") for path in files(kind)
    }


def test_the_sounds_and_what_is_made_of_them_are_under_the_gpl_with_its_text_beside_them() -> None:
    table = documented()
    assert all(table[f"sounds/{path.name}"][-1] == "GPL-2" for path in files("sounds"))
    assert table["videos/farm.mp4"][-1] == "GPL-2"
    text = (MIXED / "sounds" / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text and "Version 2, June 1991" in text
    assert "Bill Kendrick" in readme() and "tuxpaint-stamps" in readme()


@pytest.mark.parametrize("photo", sorted({scene.photo for _, _, scene in videos()}))
def test_videos_are_made_of_photographs_that_may_be_combined_with_anything(photo: str) -> None:
    assert documented()[f"{photo}.jpg"][-1].startswith(COMBINABLE)


def test_all_together_stay_below_three_megabytes() -> None:
    assert sum(path.stat().st_size for path in MIXED.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.parametrize(
    ("kind", "modality", "least"),
    [("notes", Modality.TEXT, 6), ("sounds", Modality.AUDIO, 10), ("videos", Modality.VIDEO, 3)],
)
def test_a_folder_holds_files_of_its_kind(kind: str, modality: Modality, least: int) -> None:
    found = [modality_of(path) for path in files(kind)]
    assert found.count(modality) >= least
    assert set(found) <= {modality, Modality.TEXT}  # subtitles beside videos


@pytest.mark.parametrize("path", files("notes"), ids=lambda path: path.name)
def test_every_note_is_read_as_several_passages_of_words(path: Path) -> None:
    passages = list(read_passages(path))
    assert 3 <= len(passages) <= 20
    assert all(len(passage.text.split()) >= 5 for passage in passages)
    assert not any("<" in passage.text or "this is no content" in passage.text for passage in passages)


def test_the_notes_are_of_many_formats_and_one_has_pages() -> None:
    assert {path.suffix for path in files("notes")} == {".md", ".txt", ".html", ".docx", ".pdf"}
    assert [passage.page for passage in read_passages(MIXED / "notes" / "garden.pdf")] == [1, 2, 3]


@pytest.mark.parametrize("path", files("sounds"), ids=lambda path: path.name)
def test_every_sound_is_short_and_can_be_heard(path: Path) -> None:
    (window,) = read_audio(path)
    assert 500 <= window.end_ms <= 5_000
    assert loudness(window.samples, 16_000) > 0.02


@pytest.mark.parametrize("name", SCENES)
def test_the_shots_of_a_video_are_its_scenes(name: str) -> None:
    frames = list(read_video(MIXED / "videos" / name, target_side=64))
    found = dict.fromkeys((frame.shot_start_ms, frame.shot_end_ms) for frame in frames)
    assert list(found) == [(scene.start_ms, scene.end_ms) for scene in SCENES[name]]
    assert all(frame.shot_start_ms <= frame.time_ms < frame.shot_end_ms for frame in frames)
    info = read_video_info(MIXED / "videos" / name)
    assert (info.width, info.height, info.duration_ms) == (320, 240, pytest.approx(SCENES[name][-1].end_ms, abs=50))


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_shows_its_photograph_more_than_any_other(name: str, samples: Path) -> None:
    photos = sorted({scene.photo for scenes in SCENES.values() for scene in scenes})

    def colours(image: Image.Image) -> np.ndarray:
        histogram = np.histogramdd(np.asarray(image.convert("RGB")).reshape(-1, 3), bins=6, range=[(0, 256)] * 3)[0]
        return np.sqrt(histogram / histogram.sum()).ravel()

    known = {}
    for photo in photos:
        with Image.open(samples / f"{photo}.jpg") as image:
            known[photo] = colours(image)
    for frame in read_video(MIXED / "videos" / name, target_side=120):
        seen = colours(frame.image)
        assert max(photos, key=lambda photo: float(seen @ known[photo])) == SCENES[name][frame.shot].photo


def test_the_sound_of_a_scene_is_heard_from_its_beginning_and_not_before() -> None:
    path = MIXED / "videos" / "farm.mp4"
    for scene in SCENES["farm.mp4"]:
        assert scene.sound is not None and (MIXED / "sounds" / f"{scene.sound}.ogg").exists()
        assert loudness(read_stretch(path, scene.start_ms + 50, scene.start_ms + 230), 16_000) < 0.01
        assert loudness(read_stretch(path, scene.start_ms + 250, scene.start_ms + 1_350), 16_000) > 0.05


def test_the_subtitles_beside_a_video_lie_within_its_scenes() -> None:
    lines = (MIXED / "videos" / "cities.srt").read_text(encoding="utf-8")
    times = re.findall(r"00:00:(\d\d),(\d{3}) --> 00:00:(\d\d),(\d{3})", lines)
    spans = [(int(a) * 1000 + int(b), int(c) * 1000 + int(d)) for a, b, c, d in times]
    assert len(spans) == len(SCENES["cities.mp4"])
    for (start, end), scene in zip(spans, SCENES["cities.mp4"], strict=True):
        assert scene.start_ms <= start < end <= scene.end_ms
