"""Where words look: maps and weights of the words as they were typed, and the verdict."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch import SearchEngine, Term
from mmsearch.encoders import load_encoder
from mmsearch.encoders.image_transform import ImageTransform
from mmsearch.encoders.mini import MiniEncoder
from mmsearch.encoders.open_clip import OpenClipEncoder
from mmsearch.errors import QueryError, UsageError
from mmsearch.query.calibration import calibration_for
from mmsearch.query.language import Query, parse
from mmsearch.query.relevance import answer_to, relevance_for
from mmsearch.rerank import load_reranker
from mmsearch.rerank.explaining import _typed, _view, explain, sentence_of
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.rerank.words import WordReader
from mmsearch.types import Explanation, Modality
from tests.rerank.random_reranker import Measures, bank_of, save_reranker, settings_of

SENTENCE = "Two paragliding (ginger) cats, and the cat's bee-hive"
MEASURES = Measures("mini", 328, (9, 9), (5, 5), layers=2, depths=(0, 2), embedding=256)
READ = ("Two", "paragliding", "ginger", "cats", "cat's", "bee-hive")


@pytest.fixture(scope="module")
def encoder() -> MiniEncoder:
    found = load_encoder("mini")
    assert isinstance(found, MiniEncoder)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reranker(tmp_path_factory.mktemp("reranker") / "tiny.safetensors", MEASURES)


@pytest.fixture(scope="module")
def reranker(file: Path, encoder: MiniEncoder) -> FusionReranker:
    found = load_reranker(file, encoder)
    assert isinstance(found, FusionReranker)
    return found


@pytest.fixture(scope="module")
def found(encoder: MiniEncoder, reranker: FusionReranker, samples: Path) -> Explanation:
    return explain(SENTENCE, samples / "cat.jpg", encoder, reranker)


def tokens_of(picture: Path, encoder: MiniEncoder, reranker: FusionReranker) -> Any:
    _, patches = encoder.encode_images_with_patches([encoder.prepare_image(Image.open(picture).convert("RGB"))])
    return reranker.compress(patches)[0]


def test_words_are_told_as_they_were_typed_and_articles_and_marks_are_not_words(found: Explanation) -> None:
    assert found.words == READ
    assert found.query == SENTENCE
    assert (found.encoder, found.view) == ("mini", (0.0, 0.0, 1.0, 1.0))


def test_maps_are_shares_of_attention_and_weights_shares_of_the_sentence(found: Explanation) -> None:
    assert found.maps.shape == (len(READ), *MEASURES.wanted)
    np.testing.assert_allclose(found.maps.sum(axis=(1, 2)), 1, atol=1e-5)
    assert (found.maps >= 0).all()
    assert sum(found.weights) == pytest.approx(1, abs=1e-5) and min(found.weights) > 0
    assert all(1 < peak <= 25 for peak in found.peaks)


def test_a_word_read_in_pieces_counts_as_they_do_together_and_has_their_weighted_mean(
    found: Explanation, encoder: MiniEncoder, reranker: FusionReranker, samples: Path
) -> None:
    pieces, looks = reranker.looks(tokens_of(samples / "cat.jpg", encoder, reranker), SENTENCE)
    maps = looks.attention.mean(axis=(0, 1))
    first = pieces.index("para")
    own = [first, *(at for at in range(first + 1, first + 4) if pieces[at].startswith("##"))]
    assert len(own) > 1
    assert found.weights[1] == pytest.approx(float(looks.weights[own].sum()), abs=1e-5)
    np.testing.assert_allclose(
        found.maps[1].ravel(), np.average(maps[own], axis=0, weights=looks.weights[own]), atol=1e-5
    )
    np.testing.assert_allclose(found.maps[0].ravel(), maps[0], atol=1e-6)


def test_the_verdict_is_that_of_the_reranker_and_of_the_dual_encoder(
    found: Explanation, encoder: MiniEncoder, reranker: FusionReranker, samples: Path
) -> None:
    picture = encoder.prepare_image(Image.open(samples / "cat.jpg").convert("RGB"))
    similarity = float((encoder.encode_images([picture]) @ encoder.encode_texts([SENTENCE]).T)[0, 0])
    assert found.similarity == pytest.approx(similarity, abs=1e-4)
    calibration = calibration_for("mini", Modality.TEXT, Modality.IMAGE)
    background = calibration.background(np.zeros(0, np.float32))
    prior = calibration.log_odds(np.array([similarity]), background)
    answer = answer_to("mini", Modality.TEXT, Modality.IMAGE, np.array([similarity]), background, 0, SENTENCE)
    known = relevance_for("mini", Modality.TEXT, Modality.IMAGE).log_odds(np.array([similarity]), answer)[0]
    assert found.retrieval_relevance == pytest.approx(1 / (1 + np.exp(-known)), abs=1e-4)
    logit = reranker.logits(tokens_of(samples / "cat.jpg", encoder, reranker)[None], [SENTENCE])[0]
    odds = reranker.settings.text_to_image.log_odds(logit, prior)[0]
    assert found.relevance == pytest.approx(1 / (1 + np.exp(prior[0] - odds - known)), abs=1e-4)


def test_a_similarity_is_judged_by_those_of_other_pictures(
    found: Explanation, encoder: MiniEncoder, reranker: FusionReranker, samples: Path
) -> None:
    alike = np.repeat(encoder.encode_texts([SENTENCE]), 200, axis=0)  # pictures that all match better
    judged = explain(SENTENCE, samples / "cat.jpg", encoder, reranker, alike)
    assert judged.similarity == pytest.approx(found.similarity)
    assert judged.retrieval_relevance < found.retrieval_relevance
    assert judged.relevance < found.relevance


def test_a_picture_is_looked_at_upright(
    found: Explanation, encoder: MiniEncoder, reranker: FusionReranker, samples: Path, tmp_path: Path
) -> None:
    upright = Image.open(samples / "cat.jpg").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    turned = explain(SENTENCE, tmp_path / "turned.png", encoder, reranker)
    in_memory = explain(SENTENCE, upright, encoder, reranker)
    np.testing.assert_allclose(turned.maps, in_memory.maps, atol=1e-5)
    np.testing.assert_allclose(turned.maps, found.maps, atol=1e-2)


def test_an_explanation_is_plain_json(found: Explanation) -> None:
    told = found.to_dict()
    assert told["words"] == list(READ) and len(told["weights"]) == len(READ)
    np.testing.assert_allclose(told["maps"], found.maps, atol=1e-6)
    assert list(told["verdict"]) == ["relevance", "retrieval_relevance", "similarity"]


@pytest.mark.parametrize("sentence", ["", "  ", "the", "a, an... of it!"])
def test_a_sentence_without_words_to_look_for_is_refused(
    sentence: str, encoder: MiniEncoder, reranker: FusionReranker, samples: Path
) -> None:
    with pytest.raises(QueryError) as error:
        explain(sentence, samples / "cat.jpg", encoder, reranker)
    assert "mmsearch explain" in str(error.value.hint)


@pytest.mark.parametrize(
    ("name", "reason"), [("nothing.jpg", "There is no file"), ("captions.csv", "not an image"), (".", "Cannot look at")]
)
def test_what_is_no_picture_is_refused(
    name: str, reason: str, encoder: MiniEncoder, reranker: FusionReranker, samples: Path
) -> None:
    with pytest.raises(QueryError, match=reason):
        explain("a dog", samples / name, encoder, reranker)


def test_rerankers_that_cannot_tell_are_refused(encoder: MiniEncoder, samples: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no reranker for the model mini"):
        explain("a dog", samples / "cat.jpg", encoder, None)
    foreign = load_reranker("coca/coca_ViT-B-32/laion2b_s13b_b90k", encoder)
    with pytest.raises(UsageError, match=r"coca/.* does not tell where its words look"):
        explain("a dog", samples / "cat.jpg", encoder, foreign)
    blind = load_reranker(save_reranker(tmp_path / "blind.safetensors", replace(MEASURES, layers=0)), encoder)
    with pytest.raises(UsageError, match="without cross-attention"):
        explain("a dog", samples / "cat.jpg", encoder, blind)


def test_words_alone_can_be_explained(tmp_path: Path) -> None:
    assert sentence_of(parse(["a dog", "on", "the beach"])) == "a dog on the beach"
    for query in (parse(["dog", "+", "beach"]), Query((Term(tmp_path / "dog.jpg"),)), Query((Term(b"..."),))):
        with pytest.raises(QueryError, match="Only words"):
            sentence_of(query)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.text("ab'-.,çß 漢ΣI# ", max_size=60) | st.just("pneumono" * 60))
def test_every_piece_belongs_to_a_typed_word(sentence: str) -> None:
    sentence = " ".join(sentence.split())
    pieces = READER.read([sentence]).pieces
    words, owners = _typed(sentence, pieces)
    if pieces == ("[CLS]",):
        assert words == ()
        return
    assert len(owners) == len(pieces) and set(owners.tolist()) == set(range(len(words)))
    assert owners.tolist() == sorted(owners.tolist())
    typed = iter(sentence.split())
    assert all(any(word in other for other in typed) for word in words)


READER = WordReader()


class Cropping(OpenClipEncoder):
    """An encoder of which only the description is asked."""

    def __init__(self, mode: str) -> None:
        values = {"size": [20, 20], "mean": [0, 0, 0], "std": [1, 1, 1], "resize_mode": mode}
        self._described: Any = SimpleNamespace(transform=values)

    def describe(self) -> Any:
        return self._described


@pytest.mark.parametrize(("width", "height"), [(90, 40), (40, 90), (40, 40)])
def test_maps_cover_what_the_model_sees_of_a_picture(width: int, height: int) -> None:
    left, top, right, bottom = _view(Cropping("shortest"), (width, height))
    side = 40
    assert (right - left) * width == pytest.approx(side) and (bottom - top) * height == pytest.approx(side)
    picture = Image.new("RGB", (width, height))
    picture.paste("white", (round(left * width), round(top * height), round(right * width), round(bottom * height)))
    seen = ImageTransform.from_config(Cropping("shortest").describe().transform)(picture)
    assert (seen[2:-2, 2:-2] == 255).all()
    left, top, right, bottom = _view(Cropping("longest"), (width, height))
    side = max(width, height)
    assert (right - left) * width == pytest.approx(side) and (bottom - top) * height == pytest.approx(side)
    assert (left + right, top + bottom) == (1, 1)
    assert _view(Cropping("squash"), (width, height)) == (0, 0, 1, 1)


def test_the_engine_tells_what_a_search_found(file: Path, samples: Path, tmp_path: Path) -> None:
    names = ("cat.jpg", "kitten.jpg", "owl.jpg", "crab.jpg")
    pictures = [Path(shutil.copy(samples / name, tmp_path / name)) for name in names]  # without their captions
    with SearchEngine.open(tmp_path / "lib", create=True, read_only=False, reranker=file) as engine:
        engine.index(pictures)
        plain = {hit.path: hit for hit in engine.search("a sleeping cat", rerank=False, min_relevance=0, words=False)}
        for picture in pictures:
            told = engine.explain("a sleeping cat", picture)
            assert told.words == ("sleeping", "cat")
            assert 0 <= told.relevance <= 1  # of a shortlist that is not read for an explanation
            assert told.retrieval_relevance == pytest.approx(plain[picture].relevance, abs=0.002)
            assert told.similarity == pytest.approx(plain[picture].score, abs=0.001)
        with pytest.raises(QueryError, match="Only words"):
            engine.explain(["cat", "-", "dog"], pictures[0])


def test_a_library_that_holds_nothing_yet_can_explain(file: Path, samples: Path, tmp_path: Path) -> None:
    with SearchEngine.open(tmp_path / "lib", create=True, read_only=False, reranker=file) as engine:
        assert engine.explain("a cat", str(samples / "cat.jpg")).words == ("cat",)


def test_the_engine_refuses_where_there_is_no_reranker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    with (
        SearchEngine.open(tmp_path / "lib", model="hashing", create=True, read_only=False) as engine,
        pytest.raises(UsageError, match=re.escape("There is no reranker for the model hashing.")) as error,
    ):
        engine.explain("a dog", Image.new("RGB", (8, 8)))
    assert "mmsearch train reranker --help" in str(error.value.hint)


@pytest.mark.full
def test_a_network_that_torch_made_is_read_too(encoder: MiniEncoder, samples: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from mmsearch.training.fusion_network import FusionNetwork, FusionShape
    from mmsearch.training.reranker import save_reranker as save_network

    torch.manual_seed(0)
    m = MEASURES
    shape = FusionShape(m.width, count=m.count, dim=m.dim, layers=2, matched=m.matched, hidden=m.hidden, readers=2)
    network = FusionNetwork(shape, torch.zeros(m.width), torch.ones(m.width))
    save_network(network, settings_of(m), bank_of(m), tmp_path / "torch.safetensors")
    found = explain("a cat", samples / "cat.jpg", encoder, load_reranker(tmp_path / "torch.safetensors", encoder))
    assert found.words == ("cat",) and found.maps.shape == (1, *m.wanted)
