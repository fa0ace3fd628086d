"""Shortlists that are read again: order, scores and stages, against an oracle that knows nothing of retrieval."""

from __future__ import annotations

import csv
import dataclasses
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from indexer.sync import SyncOptions
from mmsearch import Query, SearchEngine, Term
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import EncoderError, ModelMissingError, UsageError
from mmsearch.media.image import read_image
from mmsearch.query.calibration import calibration_for
from mmsearch.query.relevance import answer_to, relevance_for
from mmsearch.rerank import own_file
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.types import Hit, Modality
from tests.everything import Everything
from tests.rerank.random_reranker import Measures, bank_of, save_reranker
from tests.retrieval.encoders import FAMILIES

WORDS, OTHERS = "a dog runs on the beach", "two red boats"


@pytest.fixture(autouse=True)
def test_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmsearch import encoders

    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    for id_, family in FAMILIES.items():
        monkeypatch.setitem(encoders._FAMILIES, id_, family)


def make(library: Path, folders: Sequence[Path], reranker: Path | None, *, captions: bool = False) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_TEST_ENCODERS", "1")
        opened = Everything.open(library, model="hashing", create=True, read_only=False, reranker=reranker)
        with opened as engine:
            engine.index(folders, options=SyncOptions(captions=captions))
    return library


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reranker(tmp_path_factory.mktemp("reranker") / "reranker.safetensors")


@pytest.fixture(scope="module")
def photos(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample photographs, made small, with their captions."""
    folder = tmp_path_factory.mktemp("photos").resolve()
    for path in sorted(samples.glob("*.jpg")):
        image = read_image(path, target_side=64).image
        image.thumbnail((96, 96))
        image.save(folder / path.name)
    shutil.copy(samples / "captions.csv", folder)
    return folder


@pytest.fixture(scope="module")
def library(photos: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos alone, with tokens."""
    return make(tmp_path_factory.mktemp("library"), [photos], file)


@pytest.fixture(scope="module")
def captioned(photos: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos and their captions, with tokens."""
    return make(tmp_path_factory.mktemp("captioned"), [photos], file, captions=True)


@pytest.fixture
def engine(library: Path) -> Iterator[SearchEngine]:
    with Everything.open(library) as engine:
        yield engine


@pytest.fixture(scope="module")
def count(photos: Path) -> int:
    return len(list(photos.glob("*.jpg")))


class Oracle:
    """What the photos of a folder are to words and pictures, worked out from the files."""

    def __init__(self, photos: Path, reranker: FusionReranker) -> None:
        self.encoder, self.reranker = HashingEncoder(), reranker
        self.files = sorted(photos.glob("*.jpg"))
        prepared = [self.encoder.prepare_image(read_image(path, target_side=8).image) for path in self.files]
        self.embeddings, patches = self.encoder.encode_images_with_patches(prepared)
        self.tokens = reranker.compress(patches)

    def priors(self, asked: Modality, embedding: NDArray[np.float32], things: NDArray[np.float32]) -> NDArray:
        found = Modality.IMAGE if things is self.embeddings else Modality.TEXT
        calibration = calibration_for("hashing", asked, found)
        similar = things @ embedding
        return calibration.log_odds(similar, calibration.background(similar))

    def known(self, asked: Modality, embedding: NDArray[np.float32], things: NDArray[np.float32], text: str) -> NDArray:
        """Calibrated log-odds of retrieval."""
        pair = "hashing", asked, Modality.IMAGE if things is self.embeddings else Modality.TEXT
        similar = things @ embedding
        background = calibration_for(*pair).background(similar)
        others = similar[similar < 0.999] if asked is pair[2] else similar
        odds = relevance_for(*pair).log_odds(similar, answer_to(*pair, others, background, len(things), text))
        return np.where(similar >= 0.999, 20.0, odds) if asked is pair[2] else odds

    def meaning(self, words: str) -> NDArray:
        """(photos,) calibrated log-odds of the reranker, whose shortlist is all."""
        known = self.known(Modality.TEXT, self.encoder.encode_texts([words])[0], self.embeddings, words)
        odds = self.of_words(words)[1]
        return (odds - odds.mean()) / odds.std() * known.std() + known.mean()

    def of_words(self, words: str, shortlist: int = 1000) -> tuple[NDArray, NDArray]:
        """(photos,) log-odds of retrieval, and of the reranker where retrieval has put so many first, else -inf."""
        prior = self.priors(Modality.TEXT, self.encoder.encode_texts([words])[0], self.embeddings)
        first = np.argsort(-prior, kind="stable")[:shortlist]
        hubs = np.array([self.hub(self.embeddings[photo]) for photo in first])
        odds = np.full(len(prior), -np.inf)
        logits = self.reranker.logits(self.tokens[first], [words])[0]
        odds[first] = 1.5 * logits + 0.25 * prior[first] - 1.0 - 6.0 * (hubs - hubs.mean())
        return prior, odds

    def hub(self, embedding: NDArray[np.float32]) -> float:
        """How near a photo is to the sentences that the library's photos are closest to, four of each."""
        bank = bank_of(Measures()).astype(np.float64)
        bank /= np.linalg.norm(bank, axis=1, keepdims=True)
        near = [at for photo in self.embeddings for at in np.argsort(-(bank @ photo))[:4]]
        return float(np.log(np.mean(np.exp(20 * bank[near] @ embedding))) / 20)

    def names(self, scores: NDArray) -> list[str]:
        return [self.files[at].name for at in np.argsort(-scores, kind="stable")]


@pytest.fixture(scope="module")
def oracle(photos: Path, file: Path) -> Oracle:
    return Oracle(photos, FusionReranker(file))


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.path.name for hit in hits if hit.path is not None]


def sigmoid(odds: NDArray) -> NDArray:
    return 1 / (1 + np.exp(-odds))


# --- one term


def test_the_shortlist_has_the_order_of_the_rerankers_log_odds(
    engine: SearchEngine, oracle: Oracle, count: int
) -> None:
    hits = engine.search(WORDS, k=count)
    prior, odds = oracle.of_words(WORDS)
    assert names(hits) == oracle.names(odds) != oracle.names(prior)
    assert {hit.stage for hit in hits} == {"rerank"} and [hit.rank for hit in hits] == list(range(1, count + 1))
    by_name = dict(zip((path.name for path in oracle.files), odds, strict=True))
    meant = dict(zip(by_name, sigmoid(oracle.meaning(WORDS)), strict=True))
    similar = dict(zip(by_name, oracle.embeddings @ oracle.encoder.encode_texts([WORDS])[0], strict=True))
    for hit, name in zip(hits, names(hits), strict=True):
        assert hit.score == pytest.approx(by_name[name], abs=0.02)  # vectors are stored as halves
        assert hit.relevance == pytest.approx(meant[name], abs=0.01)
        assert hit.retrieval_score == pytest.approx(similar[name], abs=2e-3)


def test_without_reranking_everything_is_as_before(engine: SearchEngine, oracle: Oracle, count: int) -> None:
    hits = engine.search(WORDS, k=count, rerank=False)
    assert names(hits) == oracle.names(oracle.of_words(WORDS)[0])
    assert {(hit.stage, hit.retrieval_score) for hit in hits} == {("vector", None)}
    reranked = {hit.item_id: hit for hit in engine.search(WORDS, k=count)}
    assert all(hit.score == reranked[hit.item_id].retrieval_score for hit in hits)


@pytest.mark.parametrize(("k", "shortlist"), [(3, 10), (10, 3), (10, 10), (1, 1), (29, 5), (4, 1000)])
def test_the_first_of_retrieval_are_read_again_and_the_others_follow(
    engine: SearchEngine, oracle: Oracle, k: int, shortlist: int
) -> None:
    prior, odds = oracle.of_words(WORDS, shortlist)
    before = oracle.names(prior)
    first = oracle.names(odds)[:shortlist]
    hits = engine.search(WORDS, k=k, shortlist=shortlist)
    assert names(hits) == [*first, *before[shortlist:]][:k]
    assert [hit.stage for hit in hits] == ["rerank"] * min(k, shortlist) + ["vector"] * max(0, k - shortlist)
    assert all((hit.retrieval_score is None) is (hit.stage == "vector") for hit in hits)


def test_a_photo_without_tokens_keeps_what_retrieval_knew_of_it(
    library: Path, photos: Path, oracle: Oracle, file: Path, count: int, tmp_path: Path
) -> None:
    shutil.copytree(library, tmp_path / "library")
    Image.new("RGB", (64, 64), "orange").save(tmp_path / "more.png")
    with Everything.open(tmp_path / "library", read_only=False) as engine:
        engine.index([tmp_path / "more.png"], options=SyncOptions(captions=False, tokens=False))
        hits = engine.search(WORDS, k=count + 1)
    assert len(hits) == count + 1
    more = next(hit for hit in hits if hit.path and hit.path.name == "more.png")
    encoder = oracle.encoder
    embedding = encoder.encode_images([encoder.prepare_image(Image.new("RGB", (64, 64), "orange"))])
    similar = np.concatenate([oracle.embeddings, embedding]) @ encoder.encode_texts([WORDS])[0]
    calibration = calibration_for("hashing", Modality.TEXT, Modality.IMAGE)
    prior = calibration.log_odds(similar, calibration.background(similar))[-1]
    assert more.score == pytest.approx(prior, abs=0.02) and more.stage == "rerank"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


# --- several terms


@pytest.mark.parametrize(
    ("weights", "second"), [((1, 1), "picture"), ((2, 1), "picture"), ((1, -1), "picture"), ((1, -2), "words")]
)
def test_terms_are_read_again_one_by_one_and_joined_as_before(
    engine: SearchEngine, oracle: Oracle, count: int, weights: tuple[int, int], second: str
) -> None:
    path = oracle.files[5]
    other = Term(path, weights[1]) if second == "picture" else Term(OTHERS, weights[1])
    hits = engine.search(Query((Term(WORDS, weights[0]), other)), k=count)
    odds = [oracle.meaning(WORDS)]
    if second == "picture":  # photos have no words to read beside it
        odds.append(oracle.known(Modality.IMAGE, oracle.embeddings[5], oracle.embeddings, ""))
    else:
        odds.append(oracle.meaning(OTHERS))
    signs = np.sign(weights)
    counts = (weights[0], weights[1] * (0.5 if second == "picture" and weights[1] > 0 else 1))  # beside words
    scores = sum(
        abs(weight) * np.log(sigmoid(sign * own)) for weight, sign, own in zip(counts, signs, odds, strict=True)
    )
    expected = dict(zip((file.name for file in oracle.files), scores, strict=True))
    assert {hit.stage for hit in hits} == {"rerank"}
    for hit, name in zip(hits, names(hits), strict=True):
        assert hit.score == pytest.approx(expected[name], abs=0.05)
    assert [expected[name] for name in names(hits)] == pytest.approx(sorted(expected.values(), reverse=True), abs=0.05)
    before = engine.search(Query((Term(WORDS, weights[0]), other)), k=count, rerank=False)
    assert {hit.stage for hit in before} == {"fused"} and names(before) != names(hits)
    retrieval = {hit.item_id: hit.score for hit in before}
    assert all(hit.retrieval_score == retrieval[hit.item_id] for hit in hits)


def test_pictures_among_pictures_are_left_to_retrieval(engine: SearchEngine, oracle: Oracle) -> None:
    for query in (str(oracle.files[3]), [str(oracle.files[3]), "+", str(oracle.files[4])]):
        assert engine.search(query, k=10) == engine.search(query, k=10, rerank=False)
        assert engine.search(query, k=10, rerank=True) == engine.search(query, k=10)


# --- pictures that ask, and several collections


def test_a_picture_asks_among_captions(captioned: Path, oracle: Oracle, photos: Path) -> None:
    with (photos / "captions.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if (photos / row["image"]).exists()]
    texts = [row["caption"] for row in rows]
    with Everything.open(captioned) as engine:
        before = engine.search(str(oracle.files[2]), k=100, modalities=["text"], rerank=False)
        hits = engine.search(str(oracle.files[2]), k=100, modalities=["text"])
    assert {hit.stage for hit in hits} == {"rerank"} and {hit.stage for hit in before} == {"vector"}
    assert names(hits) != names(before) and sorted(names(hits)) == sorted(names(before))
    embeddings = oracle.encoder.encode_passages(texts)
    prior = oracle.priors(Modality.IMAGE, oracle.embeddings[2], embeddings)
    others = np.delete(oracle.embeddings, 2, axis=0)
    hubs = np.log(np.mean(np.exp(20.0 * embeddings @ others.T), axis=1)) / 20
    logits = oracle.reranker.logits(oracle.tokens[2:3], texts)[:, 0]
    odds = 2.0 * logits + 0.5 * prior - 0.5 - 4.0 * (hubs - hubs.mean())
    order = np.argsort(-odds, kind="stable")
    assert names(hits) == list(dict.fromkeys(rows[at]["image"] for at in order))
    expected = {rows[at]["image"]: odds[at] for at in order[::-1]}
    for hit, name in zip(hits, names(hits), strict=True):
        assert hit.score == pytest.approx(expected[name], abs=0.05)


def test_a_photo_of_the_library_asks_with_its_stored_tokens_and_any_other_with_new_ones(
    captioned: Path, oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = Path(shutil.copy(oracle.files[2], tmp_path / "outside.jpg"))
    with Everything.open(captioned) as engine:
        expected = engine.search(str(outside), k=5, modalities=["text"])
        in_memory = engine.search(read_image(outside, target_side=8).image, k=5, modalities=["text"])
        piped = engine.search(Query((Term(outside.read_bytes()),)), k=5, modalities=["text"])
        assert names(in_memory) == names(piped) == names(expected)

        def refuse(*_: object) -> None:
            raise EncoderError("a tower ran")

        for method in ("encode_images", "encode_images_with_patches"):
            monkeypatch.setattr(HashingEncoder, method, refuse)
        stored = engine.search(str(oracle.files[2]), k=5, modalities=["text"])
        assert names(stored) == names(expected) and {hit.stage for hit in stored} == {"rerank"}
        assert [hit.score for hit in stored] == pytest.approx([hit.score for hit in expected], abs=0.05)
        with pytest.raises(EncoderError, match="a tower ran"):
            engine.search(str(outside), k=5, modalities=["text"])


def test_lists_of_photos_and_captions_are_joined_once_each_is_read(captioned: Path, oracle: Oracle) -> None:
    with Everything.open(captioned) as engine:
        words, picture = engine.search(WORDS, k=30), engine.search(str(oracle.files[0]), k=30)
        for hits, reread in ((words, Modality.IMAGE), (picture, Modality.TEXT)):
            assert len({hit.item_id for hit in hits}) == len(hits) > 20
            for hit in hits:
                assert (hit.retrieval_score is not None) is (hit.matched is reread)
                assert hit.stage == ("rerank" if hit.matched is reread else "fused")
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            assert all(0 <= hit.relevance <= 1 for hit in hits)
        plain = engine.search(WORDS, k=30, rerank=False)
        assert {hit.stage for hit in plain} == {"fused"} and plain != words


def test_a_picture_asks_among_notes_where_there_are_no_photos(tmp_path: Path, file: Path, oracle: Oracle) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number, text in enumerate(("A dog runs.", "Two red boats at sea.", "Nothing much.")):
        (folder / f"{number}.txt").write_text(text)
    library = make(tmp_path / "library", [folder], file)
    with Everything.open(library) as engine:
        hits = engine.search(str(oracle.files[2]), rerank=True)
        assert len(hits) == 3 and {hit.stage for hit in hits} == {"rerank"}
        assert {hit.stage for hit in engine.search(WORDS)} == {"vector"}


def test_frames_of_videos_are_read_again(tmp_path: Path, file: Path) -> None:
    recordings = pytest.importorskip("tests.media.recordings")
    colours = (recordings.RED, recordings.BLUE, recordings.GREEN)
    folder = tmp_path / "films"
    folder.mkdir()
    for number in range(3):
        shots = recordings.shots(*((colour, 1.0) for colour in (*colours[number:], *colours[:number])))
        recordings.write_video(folder / f"{number}.mp4", shots, gop=5)
    library = make(tmp_path / "library", [folder], file)
    reranker = FusionReranker(file)
    with Everything.open(library) as engine:
        hits = engine.search(WORDS, k=3)
        assert {hit.stage for hit in hits} == {"rerank"} and {hit.matched for hit in hits} == {Modality.VIDEO}
        store = engine._tokens(engine.encoders[0], Modality.VIDEO)
        for place in (place for hit in hits for place in hit.unfolded()):
            _, tokens = store.read([place.segment_id])
            assert place.stage == "rerank" and place.retrieval_score is not None
            # What the reranker adds to a quarter of the prior, which is small among frames of plain colours.
            (logit,) = reranker.logits(tokens, [WORDS])[0]
            priors = [(place.score + 1.0 - 1.5 * logit) / 0.25]
            assert math.isfinite(priors[0]) and -15 < priors[0] < 15
        few = engine.search(WORDS, k=3, shortlist=2)
        assert len(few) == 3 and [hit.stage for hit in few].count("rerank") in (1, 2)


# --- which reranker, and when there is none


def test_asking_for_a_reranker_where_there_is_none_is_told(photos: Path, tmp_path: Path) -> None:
    library = make(tmp_path / "library", [photos], None)
    with Everything.open(library) as engine:
        assert {hit.stage for hit in engine.search(WORDS)} == {"vector"}
        with pytest.raises(UsageError, match="no reranker for the model hashing") as caught:
            engine.search(WORDS, rerank=True)
    assert caught.value.hint == "Train one: mmsearch train reranker --help"


def test_a_library_without_tokens_is_told_how_to_make_them(photos: Path, file: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    with Everything.open(library, model="hashing", create=True, read_only=False, reranker=file) as engine:
        engine.index([photos], options=SyncOptions(captions=False, tokens=False))
    with Everything.open(library, read_only=False) as engine:
        assert {hit.stage for hit in engine.search(WORDS)} == {"vector"}
        with pytest.raises(UsageError, match="no tokens for the reranker") as caught:
            engine.search(WORDS, rerank=True)
        assert caught.value.hint == "Make them: mmsearch rebuild --tokens"
        engine.rebuild_tokens()
        assert {hit.stage for hit in engine.search(WORDS, rerank=True)} == {"rerank"}


def test_tokens_of_another_reranker_are_not_used(library: Path, tmp_path: Path) -> None:
    other = save_reranker(tmp_path / "other.safetensors", seed=1)
    with Everything.open(library, reranker=other) as engine:
        assert engine.search(WORDS) == engine.search(WORDS, rerank=False)
        with pytest.raises(UsageError, match="no tokens") as caught:
            engine.search(WORDS, rerank=True)
    assert caught.value.hint is not None and f"mmsearch index PATH --reranker {other}" in caught.value.hint


def test_a_library_keeps_the_reranker_that_it_was_given(
    library: Path, photos: Path, file: Path, tmp_path: Path
) -> None:
    kept = own_file(library, "hashing")
    assert kept.read_bytes() == file.read_bytes()
    shutil.copytree(library, tmp_path / "moved")
    given = save_reranker(tmp_path / "given.safetensors", seed=2)
    with Everything.open(tmp_path / "moved", read_only=False, reranker=given) as engine:
        engine.index([photos], options=SyncOptions(captions=False))
        engine.rebuild_tokens()
        expected = engine.search(WORDS)
    given.unlink()
    with Everything.open(tmp_path / "moved") as engine:
        assert engine.search(WORDS) == expected and expected[0].stage == "rerank"
        assert engine.status().tokens[0]["lacking"] == 0
    with Everything.open(library) as engine:
        assert engine.search(WORDS) != expected


def test_a_reranker_that_the_library_has_already_can_be_given_again(library: Path, photos: Path) -> None:
    with Everything.open(library, read_only=False, reranker=own_file(library, "hashing")) as engine:
        assert engine.index([photos], options=SyncOptions(captions=False)).unchanged > 20
        assert engine.search(WORDS, rerank=True)[0].stage == "rerank"


def test_a_damaged_reranker_is_told_and_search_goes_on_without(library: Path, tmp_path: Path) -> None:
    shutil.copytree(library, tmp_path / "damaged")
    own_file(tmp_path / "damaged", "hashing").write_bytes(b"damaged")
    with Everything.open(tmp_path / "damaged") as engine:
        with pytest.raises(ModelMissingError, match="cannot be read"):
            engine.search(WORDS)
        assert len(engine.search(WORDS, rerank=False)) == 10


def test_a_named_reranker_is_for_the_one_of_several_models_that_it_reads(
    photos: Path, tmp_path: Path, file: Path
) -> None:
    seeing = save_reranker(tmp_path / "seeing.safetensors", Measures(encoder="seeing"))
    options, library = SyncOptions(captions=False), tmp_path / "two"
    models = ["hashing", "seeing"]
    with Everything.open(library, model=models, create=True, read_only=False, reranker=seeing) as engine:
        engine.index([photos], options=options)
    assert own_file(library, "seeing").is_file() and not own_file(library, "hashing").exists()
    with Everything.open(library, read_only=False, reranker=file) as engine:
        (photos / "again.txt").touch()
        engine.index([photos], options=options)
        engine.rebuild_tokens()
        (photos / "again.txt").unlink()
    assert own_file(library, "seeing").read_bytes() == seeing.read_bytes()
    assert own_file(library, "hashing").read_bytes() == file.read_bytes()
    with Everything.open(library) as engine:
        assert {row["encoder"]: row["lacking"] for row in engine.status().tokens} == {"hashing": 0, "seeing": 0}
        assert {hit.stage for hit in engine.search(WORDS, rerank=True)} == {"rerank"}
    foreign = save_reranker(tmp_path / "foreign.safetensors", Measures(encoder="mini"))
    with Everything.open(library, reranker=foreign) as engine, pytest.raises(UsageError, match="reads what mini"):
        engine.search(WORDS)


def test_numbers_below_one_are_wrong_usage(engine: SearchEngine) -> None:
    with pytest.raises(UsageError, match="shortlist must hold at least 1, not 0"):
        engine.search(WORDS, shortlist=0)


def test_hits_in_json_tell_both_scores(engine: SearchEngine) -> None:
    hit = engine.search(WORDS, k=1)[0]
    row = hit.to_dict()
    assert row["stage"] == "rerank" and row["retrieval_score"] == round(hit.retrieval_score or 0, 6)
    assert dataclasses.replace(hit, retrieval_score=None).to_dict()["retrieval_score"] is None
