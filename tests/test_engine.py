"""The engine composes catalog, index, encoder and query layer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import Modality, Query, SearchEngine, Term
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import (
    EncoderMismatchError,
    LibraryLockedError,
    LibraryNotFoundError,
    ModelMissingError,
    QueryError,
    UnknownEncoderError,
    UsageError,
)
from mmsearch.storage.lock import WriterLock
from tests.everything import Everything


@pytest.fixture(autouse=True)
def hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty pictures of noise, each near nothing but itself, and one near-copy of the first."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number:02}.png")
    Image.open(folder / "00.png").save(folder / "near.jpg", quality=90)
    return folder


@pytest.fixture
def engine(tmp_path: Path, photos: Path) -> Iterator[SearchEngine]:
    with Everything.open(tmp_path / "library", model="hashing", create=True, read_only=False) as engine:
        engine.index([photos])
        yield engine


def names(hits: list) -> list[str]:
    return [hit.path.name for hit in hits]


def test_a_picture_finds_itself_first_and_its_near_copy_next(engine: SearchEngine, photos: Path) -> None:
    hits = engine.search(Image.open(photos / "00.png"), k=3)
    assert names(hits)[:2] == ["00.png", "near.jpg"]
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert hits[0].relevance > hits[2].relevance
    assert {hit.stage for hit in hits} == {"vector"} and {hit.modality for hit in hits} == {Modality.IMAGE}


def test_the_scores_are_those_of_an_exhaustive_comparison(engine: SearchEngine) -> None:
    encoder = HashingEncoder()
    query = encoder.encode_texts(["a dog on the beach"])
    ids, vectors = engine.catalog.vectors("hashing", range(1, 100))
    expected = np.sort((query @ vectors.T)[0])[::-1][:10]
    hits = engine.search("a dog on the beach", k=10)
    np.testing.assert_allclose([hit.score for hit in hits], expected, atol=2e-3)
    assert len(ids) == 41


def test_a_path_of_an_indexed_picture_is_answered_from_its_stored_embedding(
    engine: SearchEngine, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(images: object) -> None:
        raise AssertionError("the image tower ran")

    monkeypatch.setattr(type(engine.encoders[0]), "encode_images", refuse)
    assert names(engine.search(str(photos / "07.png"), k=1)) == ["07.png"]


def test_a_picture_from_outside_the_library_is_embedded(engine: SearchEngine, photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    Image.open(photos / "11.png").save(outside)
    assert names(engine.search(str(outside), k=1)) == ["11.png"]
    assert names(engine.search(Query((Term(outside.read_bytes()),)), k=1)) == ["11.png"]


def test_a_composite_query_finds_what_is_near_all_its_terms(engine: SearchEngine, photos: Path) -> None:
    both = engine.search([str(photos / "03.png"), "+", str(photos / "05.png")], k=2)
    assert set(names(both)) == {"03.png", "05.png"} and {hit.stage for hit in both} == {"fused"}


def test_a_term_to_avoid_pushes_its_picture_away_and_keeps_the_list_full(engine: SearchEngine, photos: Path) -> None:
    hits = engine.search([str(photos / "00.png"), "-", str(photos / "near.jpg")], k=41)
    assert len(hits) == 41
    plain = engine.search(str(photos / "00.png"), k=41)
    assert names(hits).index("near.jpg") > names(plain).index("near.jpg")


def test_more_hits_than_items_gives_all_items_once(engine: SearchEngine) -> None:
    hits = engine.search("anything", k=1000)
    assert len(hits) == 41 == len({hit.item_id for hit in hits})


def test_a_type_that_the_library_does_not_hold_gives_no_hits(engine: SearchEngine) -> None:
    assert engine.search("anything", modalities=["audio"]) == []
    assert len(engine.search("anything", k=3, modalities=["image"])) == 3


def test_removed_pictures_never_come_back_even_from_a_stale_index(engine: SearchEngine, photos: Path) -> None:
    doomed = engine.search(str(photos / "00.png"), k=5)
    engine.catalog.write(removed=[hit.item_id for hit in doomed])  # the index files know nothing of it
    hits = engine.search(Image.open(photos / "00.png"), k=36)
    assert len(hits) == 36 and not {hit.item_id for hit in hits} & {hit.item_id for hit in doomed}


def test_what_another_process_adds_is_found_without_reopening(engine: SearchEngine, tmp_path: Path) -> None:
    extra = tmp_path / "more"
    extra.mkdir()
    Image.new("RGB", (64, 64), "red").save(extra / "red.png")
    engine.search("warm the caches")
    with Everything.open(engine.library, read_only=False) as other:
        other.index([extra])
    assert names(engine.search(Image.new("RGB", (64, 64), "red"), k=1)) == ["red.png"]


def test_relevance_is_a_probability(engine: SearchEngine) -> None:
    for query in ("a dog", ["a dog", "-", "a cat"]):
        assert all(0.0 <= hit.relevance <= 1.0 for hit in engine.search(query, k=41))


@pytest.mark.parametrize(
    ("query", "options", "error"),
    [
        ("dog", {"k": 0}, UsageError),
        ("dog", {"k": -3}, UsageError),
        ("", {}, QueryError),
        (42, {}, QueryError),
        ("dog", {"modalities": ["smell"]}, UsageError),
        ("dog", {"rerank": True}, UsageError),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    engine: SearchEngine, query: object, options: dict, error: type
) -> None:
    with pytest.raises(error):
        engine.search(query, **options)


def test_a_file_that_is_no_picture_cannot_be_searched_by(engine: SearchEngine, tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("not a picture")
    with pytest.raises(QueryError, match=r"notes\.jpg"):
        engine.search(str(text))


def test_an_empty_library_has_no_hits(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with Everything.open(tmp_path / "library", model="hashing", create=True, read_only=False) as engine:
        engine.index([empty])
        assert engine.search("a dog") == []
        assert engine.search(["a dog", "-", "a cat"]) == []


def test_a_library_remembers_its_encoder(engine: SearchEngine) -> None:
    with Everything.open(engine.library) as again:
        assert [encoder.id for encoder in again.encoders] == ["hashing"]
    with pytest.raises(EncoderMismatchError, match=r"hashing.*mini"):
        Everything.open(engine.library, model="mini")


def test_opening_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFoundError, match="mmsearch index"):
        Everything.open(tmp_path / "nowhere")
    with pytest.raises(UnknownEncoderError):
        Everything.open(tmp_path / "nowhere", model="no such model", create=True, read_only=False)
    assert not (tmp_path / "nowhere").exists()


def test_a_model_that_does_not_load_does_not_claim_the_library(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"

    def fail(self: HashingEncoder, images: object) -> None:
        raise ModelMissingError("The weights are not there.")

    with monkeypatch.context() as broken:
        broken.setattr(HashingEncoder, "encode_images", fail)
        with (
            Everything.open(library, model="hashing", create=True, read_only=False) as engine,
            pytest.raises(ModelMissingError),
        ):
            engine.index([photos])
    with Everything.open(library, model="mini", read_only=False) as engine:
        assert engine.catalog.encoders() == ()


def test_a_second_writer_is_told_who_holds_the_library(engine: SearchEngine, photos: Path) -> None:
    with (
        WriterLock(engine.library, "mmsearch index"),
        Everything.open(engine.library, read_only=False) as other,
        pytest.raises(LibraryLockedError, match="mmsearch index"),
    ):
        other.index([photos])


def test_index_files_of_a_library_that_was_made_anew_are_not_believed(
    engine: SearchEngine, photos: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    others.mkdir()
    for number in range(41):  # as many as before, so that the counts agree
        Image.new("RGB", (16, 16), (number * 6, 255 - number * 6, number)).save(others / f"{number:02}.png")
    for file in engine.library.glob("catalog.sqlite3*"):
        file.unlink()
    with Everything.open(engine.library, model="hashing", create=True, read_only=False) as anew:
        anew.index([others])
        assert names(anew.search(str(others / "07.png"), k=1)) == ["07.png"]
        assert anew.search(Image.open(photos / "00.png"), k=1)[0].score < 0.99


def test_a_rebuild_changes_no_answer(engine: SearchEngine) -> None:
    before = engine.search("a dog", k=41)
    assert [index["vectors"] for index in engine.rebuild()] == [41]
    assert engine.search("a dog", k=41) == before


def test_status_counts_what_is_there(engine: SearchEngine, photos: Path) -> None:
    status = engine.status()
    assert status.items == {"image": 41} and status.segments == 41
    assert status.indexes[0]["vectors"] == 41 and status.indexes[0]["pending"] == 0
    assert [root["path"] for root in status.roots] in ([str(photos)], [photos])
