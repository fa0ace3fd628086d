"""All samples in one library, indexed and searched with the built-in model: photos, notes, sounds and videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.sync import SyncOptions
from mmsearch import Hit, Modality, SearchEngine
from tests.mixed import SCENES

pytest.importorskip("av", reason="sounds and videos need the package av")

DATA = Path(__file__).resolve().parent.parent / "data"
SOUNDS = DATA / "mixed" / "sounds"

# What shows in each scene, in words that stand in no file's name.
WORDS = {
    "colosseum": "ruins of an old round stone building",
    "eiffel-tower": "a tall iron tower",
    "pyramid": "a stone pyramid in the desert",
    "coffee": "a cup of coffee on a table",
    "shepherd": "a dog in a field",
    "horses": "horses on the grass",
    "chickens": "hens",
    "sheep": "a sheep",
    "owl": "an owl on a branch",
    "giraffes": "giraffes among trees",
    "polar-bear": "a white bear",
    "kingfisher": "a small bird on a twig",
    "crab": "a crab on the sand",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    folder = tmp_path_factory.mktemp("library")
    with SearchEngine.open(folder, model="mini", create=True, read_only=False) as engine:
        summary = engine.index([DATA / "samples", DATA / "mixed"], options=SyncOptions(captions=False))
        assert not summary.skipped
        assert {"image", "text", "audio", "video"} <= summary.embedded_by.keys()
        yield engine


def names(hits: list[Hit]) -> list[str]:
    return [hit.path.name for hit in hits if hit.path is not None]


def test_words_find_all_four_kinds_at_once(engine: SearchEngine) -> None:
    found = {hit.modality for hit in engine.search("an owl", k=10)}
    assert found == set(Modality)
    assert {"owl.jpg", "birdwatching.txt"} <= set(names(engine.search("an owl", k=10)))
    assert {"dog.ogg", "shepherd.jpg", "farm.mp4"} <= set(names(engine.search("a dog", k=10)))


@pytest.mark.parametrize("video", sorted(SCENES))
def test_most_scenes_of_a_video_are_found_by_words_to_the_second(engine: SearchEngine, video: str) -> None:
    found = 0
    for scene in SCENES[video]:
        hits = [part for hit in engine.search(WORDS[scene.photo], k=3, modalities=["video"]) for part in hit.unfolded()]
        found += any(
            hit.path is not None
            and hit.path.name == video
            and hit.matched is Modality.VIDEO
            and scene.start_ms <= (hit.start_ms or 0) < scene.end_ms
            for hit in hits[:3]
        )
    assert found >= 0.75 * len(SCENES[video])


@pytest.mark.parametrize(
    ("sound", "photos"),
    [
        ("dog.ogg", {"shepherd.jpg", "spaniels.jpg"}),
        ("owl.ogg", {"owl.jpg", "kingfisher.jpg"}),
        ("horse.ogg", {"horses.jpg"}),
        ("rooster.ogg", {"chickens.jpg"}),
        ("blackcat.ogg", {"cat.jpg", "kitten.jpg"}),
    ],
)
def test_a_sound_finds_photos_of_what_makes_it(engine: SearchEngine, sound: str, photos: set[str]) -> None:
    assert photos & set(names(engine.search(str(SOUNDS / sound), k=5, modalities=["image"])))


@pytest.mark.parametrize(
    ("photo", "sounds"),
    [
        ("shepherd.jpg", {"dog.ogg"}),
        ("owl.jpg", {"owl.ogg", "crow.ogg"}),
        ("cat.jpg", {"blackcat.ogg"}),
    ],
)
def test_a_photo_finds_the_sound_of_what_it_shows(engine: SearchEngine, photo: str, sounds: set[str]) -> None:
    assert sounds & set(names(engine.search(str(DATA / "samples" / photo), k=3, modalities=["audio"])))


@pytest.mark.parametrize(
    ("photo", "note"),
    [("owl.jpg", "birdwatching.txt"), ("giraffes.jpg", "safari-trip.docx"), ("fig.jpg", "fig-tart.txt")],
)
def test_a_photo_finds_the_note_about_it(engine: SearchEngine, photo: str, note: str) -> None:
    assert note in names(engine.search(str(DATA / "samples" / photo), k=3, modalities=["text"]))


def test_a_sound_finds_the_second_in_the_video_where_it_is_heard(engine: SearchEngine) -> None:
    hits = [
        part for hit in engine.search(str(SOUNDS / "rooster.ogg"), k=5, modalities=["video"]) for part in hit.unfolded()
    ]
    heard = next(hit for hit in hits if hit.matched is Modality.AUDIO)
    scene = next(scene for scene in SCENES["farm.mp4"] if scene.sound == "rooster")
    assert heard.path is not None and heard.path.name == "farm.mp4"
    assert (heard.start_ms or 0) < scene.end_ms and (heard.end_ms or 0) > scene.start_ms


def test_a_note_finds_photos_of_what_it_tells(engine: SearchEngine) -> None:
    hits = engine.search(str(DATA / "mixed" / "notes" / "birdwatching.txt"), k=5, modalities=["image"])
    assert {"owl.jpg", "kingfisher.jpg"} & set(names(hits))


def test_a_video_finds_the_photos_that_it_shows(engine: SearchEngine) -> None:
    hits = engine.search(str(DATA / "mixed" / "videos" / "wildlife.mp4"), k=8, modalities=["image"])
    assert len({f"{scene.photo}.jpg" for scene in SCENES["wildlife.mp4"]} & set(names(hits))) >= 3
