"""Relevance: what scores mean beside the whole answer."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmsearch.query.calibration import Background, calibration_for
from mmsearch.query.relevance import (
    Answer,
    Relevance,
    Weights,
    answer_to,
    probability,
    relevance_for,
    reread_for,
    specificity,
)
from mmsearch.types import Modality

MODELS = ["mini", "hashing", "open_clip/ViT-B-32/anything"]
PAIRS = list(product(MODELS, Modality, Modality))
SCORES = arrays(np.float32, st.integers(0, 40), elements=st.floats(-1, 1, width=32))
TEXTS = st.sampled_from(["dog", "a dog on the beach", "a brown dog runs along the beach with a red ball in its mouth"])


def relevance_of(
    model: str, asked: Modality, found: Modality, scores: np.ndarray, text: str = "a dog", searched: int | None = None
) -> np.ndarray:
    """Relevance of all that a small library holds."""
    background = calibration_for(model, asked, found).background(scores)
    answer = answer_to(model, asked, found, scores, background, searched or scores.size, text)
    return probability(relevance_for(model, asked, found).log_odds(scores, answer))


@pytest.mark.parametrize(("model", "asked", "found"), PAIRS)
@settings(max_examples=15)
@given(scores=SCORES, text=TEXTS)
def test_relevance_is_a_probability_in_libraries_of_any_size(
    model: str, asked: Modality, found: Modality, scores: np.ndarray, text: str
) -> None:
    relevance = relevance_of(model, asked, found, scores, text)
    assert relevance.shape == scores.shape
    assert np.all((relevance >= 0) & (relevance <= 1))


@pytest.mark.parametrize(("model", "asked", "found"), PAIRS)
@settings(max_examples=15)
@given(scores=SCORES, text=TEXTS)
def test_relevance_has_the_order_of_the_scores(
    model: str, asked: Modality, found: Modality, scores: np.ndarray, text: str
) -> None:
    relevance = relevance_of(model, asked, found, np.sort(scores), text)
    assert np.all(np.diff(relevance) >= -1e-12)


@given(
    scores=arrays(np.float64, 60, elements=st.floats(-0.5, 0.5), unique=True),
    shift=st.floats(-1, 1),
    scale=st.floats(0.5, 2),
)
def test_of_an_unknown_encoder_only_the_shape_of_the_scores_counts(
    scores: np.ndarray, shift: float, scale: float
) -> None:
    pair = "unknown", Modality.TEXT, Modality.IMAGE
    background = Background(float(np.mean(scores)), float(np.std(scores)) + 0.01)
    moved = Background(background.mean * scale + shift, background.deviation * scale)
    one = relevance_for(*pair).log_odds(scores, answer_to(*pair, scores, background, 60, "a dog"))
    other_scores = scores * scale + shift
    other = relevance_for(*pair).log_odds(other_scores, answer_to(*pair, other_scores, moved, 60, "a dog"))
    np.testing.assert_allclose(one, other, atol=1e-6)


@given(shift=st.floats(-0.2, 0.1))
def test_of_a_fitted_encoder_scores_that_are_all_higher_mean_the_same(shift: float) -> None:
    pair = "mini", Modality.TEXT, Modality.IMAGE
    scores = np.random.default_rng(0).normal(0, 0.1, 200)
    answers = [answer_to(*pair, scores + by, Background(by, 0.1), 200, "a dog") for by in (0.0, shift)]
    one, other = (relevance_for(*pair).log_odds(scores + by, a) for by, a in zip((0.0, shift), answers, strict=True))
    np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize(("model", "asked"), list(product(MODELS, [Modality.TEXT, Modality.IMAGE])))
def test_the_best_of_many_random_scores_is_no_match(model: str, asked: Modality) -> None:
    best = []
    for seed in range(20):
        scores = np.random.default_rng(seed).normal(0.1, 0.05, 2000).astype(np.float32)
        best.append(relevance_of(model, asked, Modality.IMAGE, scores, "a dog on the beach").max())
    assert np.mean(best) < 0.25


@pytest.mark.parametrize("model", MODELS)
def test_what_stands_far_out_is_likely_a_match(model: str) -> None:
    scores = np.random.default_rng(0).normal(0.0, 0.07, 500).astype(np.float32)
    scores[7] = 0.75
    relevance = relevance_of(model, Modality.TEXT, Modality.IMAGE, scores, "a dog on the beach")
    assert relevance[7] > 0.5 and relevance[np.arange(500) != 7].max() < 0.2


def test_relevance_falls_with_the_number_of_things_that_were_searched() -> None:
    scores = np.array([0.5, 0.3, 0.2, 0.1, 0.0, -0.1], np.float32)
    text = "a brown dog runs along the beach with a ball in its mouth"
    pair = "mini", Modality.TEXT, Modality.IMAGE
    best = [relevance_of(*pair, scores, text, searched)[0] for searched in (10, 1000, 100_000, 10_000_000)]
    assert best[0] > best[1] > best[2]
    assert best[3] == best[2]  # in a large library more of it matches


def test_a_word_is_true_of_more_things_than_a_sentence() -> None:
    scores = np.random.default_rng(0).normal(0.0, 0.1, 1000).astype(np.float32)
    scores[:10] = 0.5
    pair = "mini", Modality.TEXT, Modality.IMAGE
    word, sentence = (relevance_of(*pair, scores, text)[0] for text in ("dog", "a dog that runs along the wide beach"))
    assert word > sentence


@pytest.mark.parametrize(
    ("text", "least", "most"), [("", 0, 0), ("dog", 0, 0), ("a dog runs", 0.3, 0.6), ("word " * 40, 1, 1)]
)
def test_texts_say_more_the_more_words_they_have(text: str, least: float, most: float) -> None:
    assert least <= specificity(text) <= most


def test_what_is_about_nothing_here_is_relevant_nowhere() -> None:
    relevance = Relevance(Weights(2, 0, 0, 0, 0, 0), Weights(2, 0, 0, 0, 0, 0))
    scores = np.array([-3.0, 0.0, 3.0])
    answer = Answer(3.0, 0.0, 0.0, Background(0.0, 1.0), 0.0, 10)
    certain = probability(relevance.log_odds(scores, answer))
    half = probability(relevance.log_odds(scores, Answer(3.0, 0.0, 0.0, Background(0.0, 1.0), 0.0, 10, about=0.5)))
    np.testing.assert_allclose(half, certain / 2)


def test_every_library_of_one_thing_has_an_answer() -> None:
    for model, asked, found in PAIRS:
        (relevance,) = relevance_of(model, asked, found, np.array([0.3], np.float32))
        assert 0 <= relevance < 0.9


def test_only_the_shipped_reranker_was_fitted() -> None:
    assert reread_for("another", Modality.TEXT, Modality.IMAGE) is None
    assert reread_for("mini-reranker@032a2fa2", Modality.TEXT, Modality.VIDEO) is not None


@pytest.mark.parametrize("kind", [Modality.IMAGE, Modality.TEXT])
def test_frames_of_videos_are_judged_as_pictures(kind: Modality) -> None:
    assert relevance_for("mini", kind, Modality.VIDEO) == relevance_for("mini", kind, Modality.IMAGE)


def test_the_table_is_that_of_the_reranker_that_ships() -> None:
    from mmsearch import load_encoder
    from mmsearch.rerank import load_reranker

    reranker = load_reranker(None, load_encoder("mini"))
    assert reranker is not None
    assert reread_for(reranker.id, Modality.TEXT, Modality.IMAGE) is not None
    assert reread_for(reranker.id, Modality.IMAGE, Modality.TEXT) is not None


def test_relevance_is_about_as_often_right_as_it_says(shared_data: Path) -> None:
    """A hundred and fifty photos and their captions of Flickr8k's dev set."""
    from mmsearch import load_encoder
    from mmsearch.media.image import read_image

    encoder = load_encoder("mini")
    dev = shared_data / "flickr8k" / "dev"
    with (dev / "captions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["image"] for row in rows})[:150]
    prepared = [
        encoder.prepare_image(read_image(dev / "images" / name, target_side=encoder.image_size).image) for name in names
    ]
    photos = encoder.encode_images(prepared)
    asked = [row for row in rows if row["image"] in set(names)][::2]
    texts = encoder.encode_texts([row["caption"] for row in asked])
    said, true = [], []
    for row, text in zip(asked, texts, strict=True):
        scores = photos @ text
        first = np.argsort(-scores)[:10]
        said.append(relevance_of("mini", Modality.TEXT, Modality.IMAGE, scores, row["caption"])[first])
        true.append([names[at] == row["image"] for at in first])
    relevance, match = np.concatenate(said), np.concatenate(true)
    place = np.minimum((relevance * 15).astype(int), 14)
    error = sum(abs(relevance[place == b].mean() - match[place == b].mean()) * np.mean(place == b) for b in set(place))
    assert error < 0.06
    nonsense = encoder.encode_texts(["xq zvw plkk", "asdfjkl", "interest rates will remain unchanged", "qwrt pdfg"])
    texts_of = ["xq zvw plkk", "asdfjkl", "interest rates will remain unchanged", "qwrt pdfg"]
    best = [
        relevance_of("mini", Modality.TEXT, Modality.IMAGE, photos @ row, text).max()
        for row, text in zip(nonsense, texts_of, strict=True)
    ]
    assert max(best) < np.median(relevance.reshape(-1, 10).max(axis=1))


def test_a_library_that_is_all_of_what_is_asked_for_is_relevant() -> None:
    flowers = np.random.default_rng(0).normal(0.35, 0.12, 500).astype(np.float32)
    relevance = np.sort(relevance_of("mini", Modality.TEXT, Modality.IMAGE, flowers, "tulips"))
    assert relevance[-10:].mean() > 0.4
