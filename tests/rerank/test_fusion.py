"""A reranker's file, what is wrong with some, and what one says of pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.errors import EncoderError, ModelMissingError, UnknownEncoderError, UsageError
from mmsearch.protocols import Reranker
from mmsearch.rerank import load_reranker, own_file
from mmsearch.rerank.fusion import FusionReranker, FusionSettings, Reading
from mmsearch.rerank.query_bank import QueryBank
from mmsearch.types import Modality, RerankCandidate, TokenFormat
from tests.rerank.pairs import candidate, term
from tests.rerank.random_reranker import (
    Measures,
    all_arrays,
    bank_of,
    random_reranker,
    save_reranker,
    settings_of,
    tokens_of,
    write_safetensors,
)

MEASURES = Measures()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save_reranker(tmp_path / "reranker.safetensors")


def seen(number: int, prior: float = 0.0) -> RerankCandidate:
    return replace(candidate(None, prior=prior), tokens=tokens_of(1, MEASURES, number)[0])


# --- the file


def test_settings_come_back_from_the_metadata_of_a_file() -> None:
    settings = settings_of(replace(MEASURES, encoder="open_clip/ViT-B-32/openai", depths=(0, 2), grid=(7, 9)))
    assert FusionSettings.from_metadata(settings.to_metadata()) == settings
    assert all(isinstance(value, str) for value in settings.to_metadata().values())


def test_a_reranker_tells_what_it_keeps_and_is_named_by_its_weights(file: Path, tmp_path: Path) -> None:
    reranker, other = FusionReranker(file), random_reranker(tmp_path / "other.safetensors", seed=1)
    assert isinstance(reranker, Reranker)
    assert reranker.tokens == TokenFormat(16, 16)
    assert reranker.id.startswith("hashing-reranker@") and len(reranker.id.rpartition("@")[2]) == 8
    assert reranker.id != other.id and reranker.id == FusionReranker(file).id
    turned = dict(reversed(all_arrays(MEASURES).items()))
    metadata = dict(reversed(settings_of(MEASURES).to_metadata().items()))
    again = write_safetensors(tmp_path / "again.safetensors", turned, metadata)
    assert again.read_bytes() != file.read_bytes() and FusionReranker(again).id == reranker.id
    changed = settings_of(MEASURES).to_metadata()
    changed["settings"] = changed["settings"].replace("0.25", "0.5")
    assert FusionReranker(write_safetensors(again, turned, changed)).id != reranker.id


@pytest.mark.parametrize(
    "content", [None, b"", b"no reranker at all", (5).to_bytes(8, "little") + b"{...}", b"\xff" * 64]
)
def test_a_file_that_is_none_is_told_with_what_helps(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "reranker.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelMissingError, match=r"reranker\.safetensors") as caught:
        load_reranker(file, HashingEncoder())
    assert caught.value.hint is not None and "mmsearch train reranker" in caught.value.hint
    with pytest.raises(ModelMissingError):
        FusionReranker(tmp_path)


def test_a_file_that_was_cut_off_is_told(file: Path) -> None:
    content = file.read_bytes()
    for length in (4, 30, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(ModelMissingError):
            FusionReranker(file)


def test_the_weights_of_something_else_are_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match="holds no reranker"):
        FusionReranker(MODELS / "mini_text.safetensors")


def _without(name: str) -> dict[str, Any]:
    values = json.loads(settings_of(MEASURES).to_metadata()["settings"])
    del values[name]
    return values


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "mmsearch-reranker-1"},
        {"format": "mmsearch-reranker-9", "settings": settings_of(MEASURES).to_metadata()["settings"]},
        {"format": "mmsearch-reranker-1", "settings": "{"},
        {"format": "mmsearch-reranker-1", "settings": "[]"},
        *(
            {"format": "mmsearch-reranker-1", "settings": json.dumps(values)}
            for values in (
                _without("heads"),
                _without("text_to_image"),
                _without("text_to_image") | {"text_to_image": {"logit": 1.0}},
                _without("heads") | {"heads": 0},
                _without("heads") | {"heads": "2"},
                _without("heads") | {"heads": 3},
                _without("depths") | {"depths": []},
                _without("depths") | {"depths": [0, 2]},
                _without("layers") | {"layers": 2},
                _without("grid") | {"grid": "four"},
                _without("wanted") | {"wanted": [2, 2]},
                _without("wanted") | {"wanted": 4},
                _without("heads") | {"heads": 2, "more": 1},
            )
        ),
    ],
)
def test_settings_that_do_not_fit_the_weights_or_say_nothing_are_told(tmp_path: Path, metadata: dict[str, str]) -> None:
    file = write_safetensors(tmp_path / "reranker.safetensors", all_arrays(MEASURES), metadata)
    with pytest.raises(ModelMissingError, match="holds no reranker that can be read"):
        FusionReranker(file)


@pytest.mark.parametrize("name", ["adapter.up.weight", "readers.0.fused.bias", "readers.0.places", "bank"])
def test_weights_that_lack_are_told_when_it_is_loaded(tmp_path: Path, name: str) -> None:
    arrays = all_arrays(MEASURES)
    del arrays[name]
    file = write_safetensors(tmp_path / "reranker.safetensors", arrays, settings_of(MEASURES).to_metadata())
    with pytest.raises(ModelMissingError):
        FusionReranker(file)


def test_half_precision_is_read_as_well(file: Path, tmp_path: Path) -> None:
    halves = {
        name: array if name == "bank" else array.astype(np.float16) for name, array in all_arrays(MEASURES).items()
    }
    half = FusionReranker(write_safetensors(tmp_path / "half", halves, settings_of(MEASURES).to_metadata()))
    tokens = tokens_of(4, MEASURES)
    found, expected = half.logits(tokens, ["a red boat"]), FusionReranker(file).logits(tokens, ["a red boat"])
    np.testing.assert_allclose(found, expected, atol=0.05)


# --- which one is taken


def test_a_reranker_for_another_encoder_is_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="reads what hashing finds, not what mini does") as caught:
        load_reranker(file, MiniEncoder())
    assert caught.value.hint == "Train one for it: mmsearch train reranker --help"


def test_a_library_has_its_own_and_an_encoder_without_any_none(file: Path, tmp_path: Path) -> None:
    encoder, library = HashingEncoder(), tmp_path / "library"
    assert load_reranker(None, encoder) is None
    assert load_reranker(None, encoder, library=library) is None
    save_reranker(own_file(library, "hashing"), seed=1)
    own = load_reranker(None, encoder, library=library)
    named = load_reranker(str(file), encoder, library=library)
    assert own is not None and named is not None and own.id != named.id
    assert named.id == FusionReranker(file).id


def test_a_librarys_own_that_is_damaged_is_told_with_the_way_around(tmp_path: Path) -> None:
    own_file(tmp_path, "hashing").parent.mkdir()
    own_file(tmp_path, "hashing").write_bytes(b"damaged")
    with pytest.raises(ModelMissingError) as caught:
        load_reranker(None, HashingEncoder(), library=tmp_path)
    assert caught.value.hint is not None
    assert "--no-rerank" in caught.value.hint and "mmsearch index PATH --reranker FILE" in caught.value.hint


def test_names_of_encoders_are_told_apart_by_their_files(tmp_path: Path) -> None:
    names = ("mini", "open_clip/ViT-B-32/openai", "open_clip/ViT-B-32/laion2b", "open_clip/local-dir:/a/b")
    files = {own_file(tmp_path, name) for name in names}
    assert len(files) == 4 and {path.parent for path in files} == {tmp_path / "rerankers"}


def test_names_of_families_lead_to_the_rerankers_of_others() -> None:
    with pytest.raises(UnknownEncoderError):
        load_reranker("coca/", HashingEncoder())


# --- what it makes and says


def test_patches_of_another_grid_or_width_are_refused(file: Path) -> None:
    reranker = FusionReranker(file)
    assert reranker.compress(np.zeros((2, 16, 3), np.float32)).shape == (2, 16, 16)
    assert reranker.compress(np.zeros((0, 16, 3), np.float32)).shape == (0, 16, 16)
    for shape in ((2, 15, 3), (2, 16, 4), (16, 3)):
        with pytest.raises(EncoderError, match="reads 16 patches of 3 numbers"):
            reranker.compress(np.zeros(shape, np.float32))


def test_fewer_tokens_than_patches_are_their_means(tmp_path: Path) -> None:
    reranker = random_reranker(tmp_path / "r", replace(MEASURES, grid=(8, 6), wanted=(4, 3)))
    square = np.random.default_rng(0).normal(0, 1, (2, 4, 3, 3)).astype(np.float32)
    patches = square.repeat(2, axis=1).repeat(2, axis=2).reshape(2, 48, 3)
    assert (
        np.abs(reranker.compress(patches).astype(int) - reranker.compress_places(square.reshape(2, 12, 3))).max() <= 1
    )


def test_log_odds_are_a_regression_over_logit_and_prior(file: Path) -> None:
    reranker = FusionReranker(file)
    priors, tokens = [-3.0, 0.5, 4.0], np.stack([seen(number).tokens for number in range(3)])
    logits = reranker.logits(tokens, ["two dogs run"])[0]
    found = reranker.log_odds(term("two dogs run"), [seen(at, prior) for at, prior in enumerate(priors)])
    np.testing.assert_allclose(found, 1.5 * logits + 0.25 * np.array(priors) - 1.0, rtol=1e-5)
    assert logits.std() > 0.1


def test_a_picture_asks_among_texts_in_its_own_manner(file: Path) -> None:
    reranker, texts = FusionReranker(file), ["two dogs run", "a boat at sea", "!"]
    asked = replace(term(Path("photo.jpg")), tokens=seen(7).tokens)
    candidates = [candidate(None, Modality.TEXT, text=text, prior=0.5) for text in texts]
    found = reranker.log_odds(asked, candidates)
    logits = reranker.logits(tokens_of(1, MEASURES, 7), texts)[:, 0]
    np.testing.assert_allclose(found, 2.0 * logits + 0.25 - 0.5, rtol=1e-5)


def test_what_cannot_be_read_is_nan_and_a_pair_of_another_kind_none(file: Path) -> None:
    reranker = FusionReranker(file)
    found = reranker.log_odds(term("a dog"), [candidate(None), seen(1), candidate(None)])
    assert found is not None and np.isnan(found).tolist() == [True, False, True]
    found = reranker.log_odds(term("a dog"), [candidate(None)])
    assert found is not None and np.isnan(found).all()
    asked = replace(term(Path("photo.jpg")), tokens=seen(7).tokens)
    texts = [candidate(None, Modality.TEXT, text=text) for text in ("a dog", "", None)]
    found = reranker.log_odds(asked, texts)
    assert found is not None and np.isnan(found).tolist() == [False, True, True]
    assert reranker.log_odds(term(Path("sound.ogg"), Modality.AUDIO), [candidate(None)]) is None
    none = reranker.log_odds(term("a dog"), [])
    assert none is not None and none.shape == (0,)


def test_several_readers_are_asked_for_the_mean_of_what_they_say(tmp_path: Path) -> None:
    both = replace(MEASURES, depths=(0, 2))
    arrays, tokens, sentences = all_arrays(both), tokens_of(3, MEASURES), ["two dogs", "a boat at sea"]
    alone = []
    for at, depth in enumerate(both.depths):
        own = {name: array for name, array in arrays.items() if name.startswith(("adapter.", "bank"))}
        own |= {
            name.replace(f"readers.{at}.", "readers.0."): array
            for name, array in arrays.items()
            if name.startswith(f"readers.{at}.")
        }
        one = replace(MEASURES, depths=(depth,))
        file = write_safetensors(tmp_path / str(at), own, settings_of(one).to_metadata())
        alone.append(FusionReranker(file))
    reranker = random_reranker(tmp_path / "both", both)
    expected = np.mean([reader.logits(tokens, sentences) for reader in alone], axis=0)
    np.testing.assert_allclose(reranker.logits(tokens, sentences), expected, atol=1e-4)
    pieces, looks = reranker.looks(tokens[0], sentences[1])
    assert pieces == ("boat", "at", "sea") and looks.attention.shape == (2, 2, 3, 16)
    expected = np.concatenate([reader.looks(tokens[0], sentences[1])[1].attention for reader in alone])
    np.testing.assert_allclose(looks.attention, expected, atol=1e-4)
    assert looks.weights.sum() == pytest.approx(1, abs=1e-5)


def test_a_reading_is_a_line_with_hubs_taken_beside_the_mean_of_the_shortlist() -> None:
    reading = Reading(2.0, -1.0, 0.5, -3.0)
    logits, priors = np.array([[1, 2]], np.float32), np.array([[3.0, 4.0]])
    found = reading.log_odds(logits, priors)
    assert found.tolist() == [[-0.5, 0.5]] and found.dtype == np.float64
    assert reading.log_odds(logits, priors, np.array([[0.5, 1.5]])).tolist() == [[1.0, -1.0]]
    assert reading.log_odds(logits[0], priors[0], np.array([7.0, 7.0])).tolist() == [-0.5, 0.5]
    assert reading.log_odds(logits[0, :0], priors[0, :0], np.zeros(0)).shape == (0,)


def test_what_is_close_to_everything_comes_later(file: Path) -> None:
    reranker, rng = FusionReranker(file), np.random.default_rng(0)
    pictures = rng.normal(0, 1, (30, 64)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    hubs = QueryBank(bank_of(MEASURES)).fitting(pictures).hubs(pictures[:3])
    hubs -= hubs.mean()
    candidates = [replace(seen(at), embedding=pictures[at]) for at in range(3)]
    plain = reranker.log_odds(term("two dogs"), candidates)
    found = reranker.log_odds(replace(term("two dogs"), pictures=pictures), candidates)
    assert plain is not None and found is not None
    np.testing.assert_allclose(found - plain, -6.0 * hubs, atol=1e-4)
    # What cannot be read has no part in the mean.
    found = reranker.log_odds(replace(term("two dogs"), pictures=pictures), [*candidates, candidate(None)])
    assert found is not None
    np.testing.assert_allclose(found[:3] - plain, -6.0 * hubs, atol=1e-4)
