"""Queries of every kind over a library of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import Query, SearchEngine, Term, encoders
from mmsearch.errors import EncoderError, EncoderMismatchError, QueryError
from mmsearch.types import Hit, Modality
from tests.everything import Everything
from tests.retrieval.encoders import FAMILIES

recordings = pytest.importorskip("tests.media.recordings")
RED, GREEN, BLUE = recordings.RED, recordings.GREEN, recordings.BLUE
RATE = 16_000
LOW, HIGH = 300.0, 3300.0


@pytest.fixture(autouse=True)
def families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    for id_, family in FAMILIES.items():
        monkeypatch.setitem(encoders._FAMILIES, id_, family)


def _plain(colour: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(recordings.picture(colour))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos with captions, notes, a low and a high sound, and a film: red with a low sound, then blue, with words."""
    folder = tmp_path_factory.mktemp("media").resolve()
    for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        _plain(colour).save(folder / f"{name}.png")
    (folder / "green.txt").write_text("A meadow in spring.")
    (folder / "note.txt").write_text("The dog barks at the postman every morning.")
    (folder / "diary.md").write_text("\n\n".join(f"# Day {n}\n\nWe walked to the meadow number {n}." for n in range(5)))
    recordings.write_sound(folder / "low.wav", recordings.tone(3.0, rate=RATE, hertz=LOW), rate=RATE)
    recordings.write_sound(folder / "high.wav", recordings.tone(3.0, rate=RATE, hertz=HIGH), rate=RATE)
    images = recordings.shots((RED, 2.0), (BLUE, 2.0))
    sound = (0.0, recordings.tone(4.0, rate=RATE, hertz=LOW))
    recordings.write_video(folder / "film.mp4", images, gop=5, sound=sound)
    (folder / "film.srt").write_text("1\n00:00:01,000 --> 00:00:03,000\nThe dog barks loudly.\n")
    return folder


@pytest.fixture(scope="module")
def library(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_TEST_ENCODERS", "1")
        with Everything.open(library, model="hashing", create=True, read_only=False) as engine:
            assert engine.index([media]).new == 8
    return library


@pytest.fixture
def engine(library: Path) -> Iterator[SearchEngine]:
    with Everything.open(library) as engine:
        yield engine


def names(hits: list[Hit]) -> list[str]:
    return [hit.path.name for hit in hits if hit.path is not None]


def test_words_find_notes_captions_and_subtitles(engine: SearchEngine) -> None:
    hits = engine.search("the dog barks", k=3, modalities=["text"])
    assert set(names(hits)[:2]) == {"film.mp4", "note.txt"}
    film = hits[names(hits).index("film.mp4")]
    assert (film.text, film.start_ms, film.matched) == ("The dog barks loudly.", 1000, Modality.TEXT)
    assert film.modality is Modality.VIDEO
    meadow = engine.search("a meadow in spring", k=1, modalities=["text"])[0]
    assert (meadow.path and meadow.path.name, meadow.modality) == ("green.png", Modality.IMAGE)
    assert (meadow.matched, meadow.text) == (Modality.TEXT, "A meadow in spring.")


def test_a_photo_finds_the_frame_of_a_video(tmp_path: Path) -> None:
    film = recordings.write_video(tmp_path / "film.mp4", recordings.shots((RED, 2.0), (BLUE, 2.0)), gop=5)
    with Everything.open(tmp_path / "library", model="hashing", create=True, read_only=False) as engine:
        engine.index([film])
        (hit,) = engine.search(_plain(BLUE), k=3)
    assert hit.path == film and hit.matched is Modality.VIDEO and hit.stage == "vector"
    assert hit.start_ms is not None and 2000 <= hit.start_ms < 4000


def test_a_photo_finds_photos_and_frames_alike(engine: SearchEngine, media: Path) -> None:
    hits = engine.search(str(media / "red.png"), k=2)
    assert set(names(hits)) == {"red.png", "film.mp4"} and {hit.stage for hit in hits} == {"fused"}


def test_a_sound_finds_sounds_and_the_sound_of_a_video(engine: SearchEngine, media: Path) -> None:
    hits = engine.search(str(media / "low.wav"), k=3, modalities=["audio"])
    assert set(names(hits)[:2]) == {"low.wav", "film.mp4"} and names(hits)[2] == "high.wav"
    film = hits[names(hits).index("film.mp4")]
    assert film.matched is Modality.AUDIO and film.start_ms is not None and film.end_ms is not None


def test_a_text_file_finds_what_is_written_like_it(engine: SearchEngine, tmp_path: Path) -> None:
    query = tmp_path / "query.md"
    query.write_text("# A meadow\n\nA meadow in spring.")
    assert names(engine.search(str(query), k=1, modalities=["text"])) == ["green.png"]


def test_a_video_asks_by_its_frames(engine: SearchEngine, media: Path, tmp_path: Path) -> None:
    film = recordings.write_video(tmp_path / "green.mp4", recordings.shots((GREEN, 1.0)))
    assert names(engine.search(str(film), k=1, modalities=["image"])) == ["green.png"]


def test_a_video_without_a_picture_asks_by_its_sound(engine: SearchEngine, tmp_path: Path) -> None:
    path = recordings.write_sound(tmp_path / "a.mkv", recordings.tone(2.0, rate=48_000, hertz=HIGH), rate=48_000)
    assert names(engine.search(str(path), k=1, modalities=["audio"])) == ["high.wav"]


@pytest.mark.parametrize("name", ["red.png", "low.wav", "film.mp4", "high.wav"])
def test_standard_input_may_hold_any_of_them(engine: SearchEngine, media: Path, name: str) -> None:
    query = Query((Term((media / name).read_bytes()),))
    hits = engine.search(query, k=2, modalities=["audio" if name.endswith("wav") else "image", "video"])
    assert name in names(hits)


def test_standard_input_that_is_nothing_of_the_kind_is_told(engine: SearchEngine) -> None:
    with pytest.raises(QueryError, match="Standard input holds neither"):
        engine.search(Query((Term(b"\0\1\2\3" * 100),)))


@pytest.mark.parametrize("name", ["red.png", "note.txt", "diary.md", "low.wav", "film.mp4"])
def test_a_file_of_the_library_is_not_embedded_again(
    engine: SearchEngine, media: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise EncoderError("a tower ran")

    for method in ("encode_images", "encode_texts", "encode_sounds"):
        monkeypatch.setattr(type(engine.encoders[0]), method, refuse)
    kind = "image" if name.endswith("png") else "audio" if name.endswith("wav") else "text"
    assert name in names(engine.search(str(media / name), k=3, modalities=[kind, "video"]))


@pytest.mark.parametrize("name", ["bad.jpg", "bad.mp3", "bad.mp4", "bad.docx", "empty.txt"])
def test_a_query_file_that_cannot_be_read_is_named(engine: SearchEngine, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"" if name.startswith("empty") else b"nothing of the kind")
    with pytest.raises(QueryError, match=name):
        engine.search(str(path))


def test_the_other_places_of_an_item_are_folded_under_its_best(engine: SearchEngine) -> None:
    diary = next(hit for hit in engine.search("we walked to the meadow", k=8) if hit.path and hit.path.suffix == ".md")
    found = [hit.segment_id for hit in diary.unfolded()]
    assert len(found) == len(set(found)) == 5
    assert {hit.item_id for hit in diary.unfolded()} == {diary.item_id}


def test_types_are_those_of_the_item_or_of_the_part_that_matches(engine: SearchEngine) -> None:
    def found(*kinds: str) -> set[str]:
        return set(names(engine.search("dog meadow", k=100, modalities=kinds)))

    assert found("image") == {"red.png", "green.png", "blue.png"}
    assert found("video") == {"film.mp4"}
    assert found("audio") == {"low.wav", "high.wav", "film.mp4"}
    assert found("text") == {"note.txt", "diary.md", "film.mp4", "green.png"}
    assert found("image", "audio") == found("image") | found("audio")
    captions = engine.search("meadow", k=100, modalities=["image"])
    assert next(hit for hit in captions if hit.path and hit.path.name == "green.png").text in (
        None,
        "A meadow in spring.",
    )


def test_all_items_come_once_when_more_are_asked_for(engine: SearchEngine) -> None:
    for query in ("a dog", ["a dog", "+", "a meadow"], ["a dog", "-", "a meadow"]):
        hits = engine.search(query, k=1000)
        assert len(hits) == len({hit.item_id for hit in hits}) == 8
        assert [hit.rank for hit in hits] == list(range(1, 9))
        assert engine.search(query, k=1000) == hits
        assert [hit.item_id for hit in engine.search(query, k=3)] == [hit.item_id for hit in hits[:3]]


def test_an_item_of_thousands_of_passages_leaves_room_for_k_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "all.srt").write_text(
        "".join(f"{n // 60:02}:{n % 60:02}:00,000 --> {n // 60:02}:{n % 60:02}:01,000\na dog\n\n" for n in range(3000))
    )
    for number in range(15):
        (folder / f"{number}.txt").write_text(f"A cat, number {number}.")
    with Everything.open(tmp_path / "library", model="hashing", create=True, read_only=False) as engine:
        assert engine.index([folder]).embedded == 3015
        reads: list[int] = []
        read = engine.catalog.segments
        monkeypatch.setattr(engine.catalog, "segments", lambda ids: (reads.append(len(ids)), read(ids))[1])
        for query in ("a dog", ["a dog", "+", "dog"]):
            hits = engine.search(query, k=10)
            assert len(hits) == 10 and names(hits)[0] == "all.srt"
            assert len(engine.search(query, k=16)) == 16
        # No more of it is read than it takes to see that there must be others.
        assert max(reads) <= 1000


def test_what_is_far_from_everything_is_no_trouble(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(2100):
        (folder / f"{number}.txt").write_text("The same words.")
    (folder / "other.txt").write_text("Something else entirely, and in many more words than that.")
    with Everything.open(tmp_path / "library", model="hashing", create=True, read_only=False) as engine:
        engine.index([folder])
        hits = engine.search("the same words", k=3000)
        assert len(hits) == 2101 and names(hits)[-1] == "other.txt"
        assert all(0 <= hit.relevance <= 1 for hit in hits)


# --- several encoders


@pytest.fixture
def several(tmp_path: Path, media: Path) -> Iterator[SearchEngine]:
    with Everything.open(tmp_path / "several", model=["seeing", "hearing"], create=True, read_only=False) as engine:
        assert engine.index([media]).new == 8
        yield engine


def test_each_encoder_holds_what_it_can_take(several: SearchEngine) -> None:
    found = {(record.encoder_id, str(record.modality), record.dim) for record in several.catalog.collections()}
    assert found == {
        ("seeing", "image", 64),
        ("seeing", "text", 64),
        ("seeing", "video", 64),
        ("hearing", "audio", 24),
    }
    windows = [s for s in several.catalog.segments_of(_item(several, "low.wav")) if s.modality is Modality.AUDIO]
    assert [(s.start_ms, s.end_ms) for s in windows] == [(0, 2000), (1000, 3000)]


def _item(engine: SearchEngine, name: str) -> int:
    return next(hit.item_id for hit in engine.search(_path(engine, name), k=8) if hit.path and hit.path.name == name)


def _path(engine: SearchEngine, name: str) -> str:
    return str(engine.catalog.roots()[0].path / name)


def test_a_query_goes_to_every_encoder_that_takes_it(several: SearchEngine, media: Path, tmp_path: Path) -> None:
    assert names(several.search("the dog barks loudly", k=1)) == ["film.mp4"]
    assert set(names(several.search(str(media / "low.wav"), k=3))) == {"low.wav", "high.wav", "film.mp4"}
    film = tmp_path / "film.mp4"
    film.write_bytes((media / "film.mp4").read_bytes())
    assert {"red.png", "low.wav"} <= set(names(several.search(str(film), k=8)))


def test_what_one_of_them_cannot_take_does_not_keep_the_other_from_answering(
    several: SearchEngine, media: Path, tmp_path: Path
) -> None:
    talk = recordings.write_sound(tmp_path / "a.mkv", recordings.tone(2.0, rate=48_000, hertz=HIGH), rate=48_000)
    assert names(several.search(str(talk), k=1)) == ["high.wav"]
    assert names(several.search(Query((Term((media / "high.wav").read_bytes()),)), k=1)) == ["high.wav"]
    mute = recordings.write_video(tmp_path / "mute.mp4", recordings.shots((GREEN, 1.0)))
    assert "green.png" in names(several.search(str(mute), k=2))
    bad = tmp_path / "bad.mp4"
    bad.write_text("neither")
    with pytest.raises(QueryError, match=r"bad\.mp4"):
        several.search(str(bad))


def test_a_video_of_the_library_is_not_embedded_again_by_any(
    several: SearchEngine, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise EncoderError("a tower ran")

    for encoder in several.encoders:
        for method in ("encode_images", "encode_texts", "encode_sounds"):
            monkeypatch.setattr(type(encoder), method, refuse)
    found = names(several.search(str(media / "film.mp4"), k=8))
    assert {"film.mp4", "red.png", "low.wav"} <= set(found)


def test_one_of_several_models_can_be_asked_alone(several: SearchEngine, media: Path) -> None:
    with Everything.open(several.library, model="hearing") as alone:
        assert [encoder.id for encoder in alone.encoders] == ["hearing"]
        assert set(names(alone.search(str(media / "low.wav")))) == {"low.wav", "high.wav", "film.mp4"}
        with pytest.raises(QueryError, match=r"hearing.*cannot take"):
            alone.search("a dog")
        with pytest.raises(QueryError, match="cannot take"):
            alone.search(str(media / "red.png"))
        assert [index["encoder"] for index in alone.status().indexes] == ["hearing"]
    with Everything.open(several.library) as both:
        assert [encoder.id for encoder in both.encoders] == ["seeing", "hearing"]


def test_a_library_of_several_is_not_added_to_with_one_of_them(several: SearchEngine, media: Path) -> None:
    with (
        Everything.open(several.library, model="hearing", read_only=False) as alone,
        pytest.raises(EncoderMismatchError, match="seeing and hearing"),
    ):
        alone.index([media])
    for names_ in ("hashing", ["seeing", "hashing"], ["seeing", "hearing", "describing"]):
        with pytest.raises(EncoderMismatchError, match="seeing and hearing"):
            Everything.open(several.library, model=names_)
    with Everything.open(several.library, model=["hearing", "seeing"], read_only=False) as turned:
        assert turned.index([media]).unchanged == 8


def test_a_passage_that_two_models_find_is_shown_once(tmp_path: Path, media: Path) -> None:
    models = ["seeing", "describing"]
    with Everything.open(tmp_path / "two", model=models, create=True, read_only=False) as engine:
        engine.index([media])
        for hit in engine.search("the dog barks", k=8):
            found = [part.segment_id for part in hit.unfolded()]
            assert len(found) == len(set(found))
        avoided = engine.search(["the dog barks", "-", str(media / "red.png")], k=8)
        assert avoided and len({hit.item_id for hit in avoided}) == len(avoided)


def test_relevance_of_every_collection_is_a_probability(several: SearchEngine) -> None:
    hits = several.search("a dog", k=8)
    assert all(np.isfinite(hit.score) and 0 <= hit.relevance <= 1 for hit in hits)
