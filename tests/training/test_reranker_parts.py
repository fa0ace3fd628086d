"""What a reranker learns from, what shall become small, and how its logits are read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from mmsearch.encoders.hashing import HashingEncoder  # noqa: E402
from mmsearch.query.calibration import calibration_for  # noqa: E402
from mmsearch.rerank.adapter import pooled  # noqa: E402
from mmsearch.rerank.fusion import Reading  # noqa: E402
from mmsearch.rerank.words import WordReader  # noqa: E402
from mmsearch.training.captions import CaptionedImages  # noqa: E402
from mmsearch.training.datasets import read_photo  # noqa: E402
from mmsearch.training.reranker_batches import RerankBatch, RerankBatches, neighbours  # noqa: E402
from mmsearch.training.reranker_figures import Shortlists, fit_reading, log_odds_of  # noqa: E402
from mmsearch.training.reranker_inputs import (  # noqa: E402
    SeenPhotos,
    SentenceStates,
    read_sentences,
    see_photos,
    typed,
    wrong,
)
from mmsearch.training.reranker_objective import RerankObjective  # noqa: E402
from mmsearch.types import Modality, Progress  # noqa: E402
from tests.training.halves import halves  # noqa: E402

pytestmark = pytest.mark.full


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


# --- what shall become small


@dataclass
class Fixed:
    """A network whose readers say what they are told to: right captions first, then distorted ones."""

    logits: list[NDArray[np.float64]]
    wrongs: list[NDArray[np.float64]]

    def tokens(self, patches: Any) -> Any:
        return patches

    def readings(self, tokens: Any, sentences: Any) -> list[Any]:
        told = self.logits if sentences.count == len(self.logits[0]) else self.wrongs
        return [torch.from_numpy(part) for part in told]


def batch_of(count: int, wrong_photos: list[int] = [], ignored: list[tuple[int, int]] = []) -> RerankBatch:  # noqa: B006
    mask = torch.zeros((count, count), dtype=torch.bool)
    for pair in ignored:
        mask[pair] = True
    nothing = torch.zeros((0, 4))
    photos = torch.tensor(wrong_photos, dtype=torch.int64)
    return RerankBatch(torch.zeros((count, 1, 1)), nothing, photos[:0], mask, nothing, photos[:0], photos)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def by_hand(logits: NDArray, wrongs: list[float], photos: list[int], ignored: list[tuple[int, int]]) -> float:
    """The loss as the objective describes it, pair by pair; matching 0.1, distorted 0.5."""
    count = len(logits)
    allowed = [[(c, p) not in ignored for p in range(count)] for c in range(count)]

    def listwise(right: float, all_: list[float]) -> float:
        return -math.log(math.exp(right) / sum(math.exp(value) for value in all_))

    there = [listwise(logits[c, c], [logits[c, p] for p in range(count) if allowed[c][p]]) for c in range(count)]
    back = [listwise(logits[p, p], [logits[c, p] for c in range(count) if allowed[c][p]]) for p in range(count)]
    loss = (np.mean(there) + np.mean(back)) / 2
    worst = [max(logits[c, p] for p in range(count) if p != c and allowed[c][p]) for c in range(count)]
    worst += [max(logits[c, p] for c in range(count) if p != c and allowed[c][p]) for p in range(count)]
    right = np.mean([softplus(-logits[at, at]) for at in range(count)])
    loss += 0.1 * (right + np.mean([softplus(value) for value in worst])) / 2
    if photos:
        differences = [softplus(value - logits[at, at]) for value, at in zip(wrongs, photos, strict=True)]
        loss += 0.5 * float(np.mean(differences))
    return float(loss)


def test_the_loss_is_that_of_its_description() -> None:
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 2, (5, 5)) for _ in range(2)]
    wrongs = [rng.normal(0, 2, (3, 3)) for _ in range(2)]
    ignored, photos = [(0, 3), (3, 0), (2, 4)], [4, 0, 2]
    batch = batch_of(5, photos, ignored)
    expected = [by_hand(own, list(np.diagonal(bad)), photos, ignored) for own, bad in zip(logits, wrongs, strict=True)]
    assert float(RerankObjective()(Fixed(logits[:1], wrongs[:1]), batch)) == pytest.approx(expected[0])
    assert float(RerankObjective()(Fixed(logits, wrongs), batch)) == pytest.approx(np.mean(expected))
    without = by_hand(logits[0], [], [], [])
    assert float(RerankObjective()(Fixed(logits[:1], []), batch_of(5))) == pytest.approx(without)
    assert float(RerankObjective(distorted=0.0)(Fixed(logits[:1], []), batch_of(5, photos))) == pytest.approx(without)


def test_what_is_ignored_is_neither_right_nor_wrong() -> None:
    logits = np.random.default_rng(1).normal(0, 1, (4, 4))
    wild = logits.copy()
    wild[0, 2] = wild[2, 0] = 50.0
    batch = batch_of(4, ignored=[(0, 2), (2, 0)])
    assert float(RerankObjective()(Fixed([wild], []), batch)) == pytest.approx(
        float(RerankObjective()(Fixed([logits], []), batch))
    )


def test_a_batch_of_one_has_nothing_to_tell_apart() -> None:
    assert float(RerankObjective()(Fixed([np.array([[3.0]])], []), batch_of(1))) == 0.0


def test_likelier_right_answers_cost_less() -> None:
    logits = np.random.default_rng(2).normal(0, 1, (6, 6))
    costs = [float(RerankObjective()(Fixed([logits + at * np.eye(6)], []), batch_of(6))) for at in range(5)]
    assert costs == sorted(costs, reverse=True) and costs[4] < costs[0] / 2


# --- neighbours and batches


@pytest.mark.parametrize("count", [1, 5, 39, 40, 1000])
def test_neighbours_are_those_of_an_exhaustive_comparison(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmsearch.training.reranker_batches._AT_ONCE", 16)
    rng = np.random.default_rng(0)
    images, captions = unit(rng.normal(0, 1, (41, 8))), unit(rng.normal(0, 1, (41, 8)))
    captions[7] = 0  # one without captions
    both = unit(images + captions)
    expected = np.argsort(-np.where(np.eye(41, dtype=np.bool_), -np.inf, both @ both.T), axis=1).tolist()
    found = neighbours(images.copy(), captions, count)
    assert found.tolist() == [row[: min(count, 40)] for row in expected]


def test_one_photo_has_no_neighbours() -> None:
    one = unit(np.ones((1, 4)))
    assert neighbours(one, one, 39).shape == (1, 0)


PHOTOS, PLACES, WIDTH, STATES = 60, 4, 3, 6


def states_of(count: int, seed: int) -> SentenceStates:
    """Sentences of one to four words whose states tell which sentence, and which view, they are of."""
    lengths = 1 + np.arange(count) % 4
    states = np.repeat(np.arange(count), lengths)[:, None] + np.full((1, STATES), 1000.0 * seed)
    return SentenceStates(states.astype(np.float16), np.cumsum([0, *lengths]))


@pytest.fixture
def captioned() -> CaptionedImages:
    """Two captions each, but for two photos without; some of different photos say the same in other capitals."""
    owners = np.array([at for at in range(PHOTOS) if at not in (5, 30) for _ in range(2)])
    texts = [f"caption {number % 100}" for number in range(len(owners))]
    texts[0], texts[50] = "The Same", "the same"
    return CaptionedImages(tuple(Path(f"{at}.jpg") for at in range(PHOTOS)), tuple(texts), owners)


def batches_of(data: CaptionedImages, **options: Any) -> RerankBatches:
    rows = np.arange(PHOTOS, dtype=np.float16)[:, None, None] + np.zeros((1, PLACES, WIDTH), np.float16)
    photos = SeenPhotos((rows, rows + np.float16(100)), np.zeros((PHOTOS, 8), np.float32))
    near = np.array([[(at + step) % PHOTOS for step in range(1, 6)] for at in range(PHOTOS)])
    wrong_of = np.arange(0, len(data.captions), 3)
    chosen = {"batch": 16, "hard": 0.5, "share": 0.3, "distorted": 4, "seed": 3, "near": near} | options
    sentences = [states_of(len(data.captions), view) for view in range(2)]
    return RerankBatches(data, photos, sentences, states_of(len(wrong_of), 5), wrong_of, chosen.pop("near"), **chosen)


def told(batch: RerankBatch) -> tuple[list[int], list[int]]:
    """The photos and the captions of a batch, by what stands in its numbers."""
    photos = [int(value) % 100 for value in batch.patches[:, 0, 0].tolist()]
    captions = [int(batch.states[batch.owners == at][0, 0]) % 1000 for at in range(len(photos))]
    return photos, captions


def test_batches_follow_from_seed_epoch_and_step_alone(captioned: CaptionedImages) -> None:
    def same(one: RerankBatch, two: RerankBatch) -> bool:
        return all(torch.equal(getattr(one, field.name), getattr(two, field.name)) for field in fields(RerankBatch))

    batches = batches_of(captioned)
    assert batches.per_epoch == 58 // 16
    first = list(batches.epoch(2))
    again = list(batches_of(captioned).epoch(2))
    assert len(first) == 3 and all(map(same, first, again))
    assert all(map(same, first[1:], batches_of(captioned).epoch(2, start=1)))
    assert not any(map(same, first, batches.epoch(3)))
    assert not any(map(same, first, batches_of(captioned, seed=4).epoch(2)))
    assert list(batches.epoch(0, start=3)) == []


@pytest.mark.parametrize("hard", [0.0, 0.5, 0.9, 1.0])
def test_no_photo_stands_in_a_batch_twice_and_all_have_captions_of_their_own(
    captioned: CaptionedImages, hard: float
) -> None:
    for epoch in range(4):
        for batch in batches_of(captioned, hard=hard).epoch(epoch):
            photos, captions = told(batch)
            assert len(set(photos)) == len(photos) == 16 and not {5, 30} & set(photos)
            assert [captioned.owners[caption] for caption in captions] == photos
            owners = batch.owners.tolist()
            assert owners == sorted(owners) and set(owners) == set(range(16))
            assert batch.patches.dtype == batch.states.dtype == torch.float32


def test_the_hard_part_of_a_batch_are_neighbours_of_the_others(captioned: CaptionedImages) -> None:
    for batch in batches_of(captioned).epoch(0):
        photos, _ = told(batch)
        for photo in photos[8:]:
            assert any((photo - seed) % PHOTOS in range(1, 6) for seed in photos[:8])
    shown = [photo for batch in batches_of(captioned, hard=0.0).epoch(0) for photo in told(batch)[0]]
    assert len(set(shown)) == len(shown) == 48  # each at most once in an epoch
    nobody = batches_of(captioned, near=np.zeros((PHOTOS, 0), np.int64))
    assert all(len(set(told(batch)[0])) == 16 for batch in nobody.epoch(0))


def test_photos_that_share_a_caption_are_not_wrong_for_it(captioned: CaptionedImages) -> None:
    texts = [text.casefold() for text in captioned.captions]
    own = {photo: {texts[at] for at in np.flatnonzero(captioned.owners == photo)} for photo in range(PHOTOS)}
    masked = 0
    for epoch in range(6):
        for batch in batches_of(captioned).epoch(epoch):
            photos, captions = told(batch)
            expected = [
                [at != place and texts[caption] in own[photo] for place, photo in enumerate(photos)]
                for at, caption in enumerate(captions)
            ]
            assert batch.ignored.tolist() == expected
            masked += int(batch.ignored.sum())
    assert masked > 0


def test_distorted_captions_are_of_captions_in_the_batch(captioned: CaptionedImages) -> None:
    for batch in batches_of(captioned).epoch(1):
        _, captions = told(batch)
        distorted = [int(batch.wrong_states[batch.wrong_owners == at][0, 0]) - 5000 for at in range(4)]
        assert len(batch.wrong_photos) == 4 == len(set(batch.wrong_photos.tolist()))
        # Halves hold whole numbers up to 2,048 alone; of larger ones every fourth.
        for number, place in zip(distorted, batch.wrong_photos.tolist(), strict=True):
            assert abs(number - captions[place] // 3) <= 4 and captions[place] % 3 == 0
    none = next(iter(batches_of(captioned, distorted=0).epoch(0)))
    assert len(none.wrong_photos) == len(none.wrong_states) == 0


def test_views_are_drawn_in_their_share(captioned: CaptionedImages) -> None:
    views, others = [], []
    for epoch in range(20):
        for batch in batches_of(captioned, share=0.3).epoch(epoch):
            views += [value >= 100 for value in batch.patches[:, 0, 0].tolist()]
            firsts = [float(batch.states[batch.owners == at][0, 0]) for at in range(16)]
            others += [value >= 1000 for value in firsts]
    assert 0.4 < np.mean(views) < 0.6 and 0.09 < np.mean(others) < 0.21  # half of the share are the first view again
    plain = [batch for epoch in range(3) for batch in batches_of(captioned, share=0.0).epoch(epoch)]
    assert all((batch.states[:, 0] < 1000).all() for batch in plain)


def test_fewer_photos_than_a_batch_make_one_of_all(captioned: CaptionedImages) -> None:
    batches = batches_of(captioned, batch=500)
    (batch,) = batches.epoch(0)
    assert batches.per_epoch == 1 and len(batch.patches) == 58


# --- shortlists


def lists_of(queries: int, things: int, seed: int = 0) -> tuple[Shortlists, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    relevant = np.zeros((queries, things), np.bool_)
    relevant[np.arange(queries), np.arange(queries) % things] = True
    priors = rng.normal(-4, 2, (queries, things)) + 3 * relevant
    hubs = rng.normal(0, 0.3, (1, things))
    return Shortlists(priors, relevant, hubs), (rng.normal(0, 1, (queries, things)) + relevant).astype(np.float32)


@pytest.mark.parametrize("size", [1, 4, 12, 50])
def test_a_shortlist_is_put_in_the_rerankers_order_before_all_others(size: int) -> None:
    lists, logits = lists_of(9, 12)
    reading = Reading(1.3, 0.4, -2.0, -1.5)
    scores = lists.scores(logits, reading, size)
    assert lists.hubs is not None
    for query in range(9):
        order = np.argsort(-lists.priors[query], kind="stable")
        first, rest = order[:size], order[size:]
        hubs = lists.hubs[0, first]
        odds = 1.3 * logits[query, first] + 0.4 * lists.priors[query, first] - 1.5 * (hubs - hubs.mean())
        expected = [*first[np.argsort(-odds, kind="stable")], *rest]
        assert np.argsort(-scores[query], kind="stable").tolist() == expected
    figures = lists.figures(logits, reading, size)
    ranks = [1 + np.sum(scores[at] > scores[at, at % 12]) for at in range(9)]
    assert figures["recall@1"] == pytest.approx(np.mean(np.array(ranks) == 1))
    assert figures["mrr"] == pytest.approx(np.mean(1 / np.array(ranks)))
    assert lists.figures(None, None, 0) == lists.figures(logits, Reading(0.0, 1.0, 0.0), 12)


def test_each_half_of_the_queries_is_read_as_was_fitted_on_the_other() -> None:
    lists, logits = lists_of(40, 12)
    scores = np.empty((40, 12))
    for part in (0, 1):
        own, other = np.arange(40) % 2 == part, np.arange(40) % 2 != part
        reading = fit_reading(lists.select(other), logits[other], 8)
        scores[own] = lists.select(own).scores(logits[own], reading, 8)
    ranks = np.array([1 + np.sum(scores[at] > scores[at, at % 12]) for at in range(40)])
    found = lists.crossed(logits, 8)
    assert found["mrr"] == pytest.approx(np.mean(1 / ranks))
    alone = lists.crossed(logits, 8, alone=True)
    assert alone["mrr"] == lists.figures(logits, Reading(1.0, 0.0, 0.0), 8)["mrr"]
    assert lists.without_hubs().crossed(logits, 8)["mrr"] != found["mrr"]


def test_the_reading_that_made_the_answers_is_found_again() -> None:
    rng = np.random.default_rng(0)
    queries, things = 3000, 12
    priors, logits = rng.normal(-3, 2, (queries, things)), rng.normal(0, 1.5, (queries, things))
    hubs = rng.normal(0, 0.5, (queries, things))
    true = Reading(0.8, 0.5, 0.0, -1.2)
    odds = true.log_odds(logits, priors, hubs)
    chances = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    chosen = (chances.cumsum(axis=1) > rng.random((queries, 1))).argmax(axis=1)
    relevant = np.arange(things) == chosen[:, None]
    found = fit_reading(Shortlists(priors, relevant, hubs), logits.astype(np.float32))
    assert found.prior / found.logit == pytest.approx(0.5 / 0.8, abs=0.08)
    assert found.hub / found.logit == pytest.approx(-1.2 / 0.8, abs=0.25)
    told = found.log_odds(logits, priors, hubs)  # on the scale of the priors
    assert (told.mean(), told.std()) == pytest.approx((priors.mean(), priors.std()), rel=1e-4)
    assert told[relevant].mean() > told[~relevant].mean() + 1


def test_a_reading_of_nothing_or_of_perfect_answers_is_a_number() -> None:
    lists, logits = lists_of(6, 6)
    none = Shortlists(lists.priors, np.zeros((6, 6), np.bool_))
    assert fit_reading(none, logits) == Reading(0.0, 1.0, 0.0)
    for sharp in (1.0, 100.0):
        found = fit_reading(lists, (sharp * lists.relevant).astype(np.float32))
        assert np.isfinite([found.logit, found.prior, found.constant, found.hub]).all() and found.logit > 0
    one = lists.select(np.array([0]))
    pair = Shortlists(one.priors[:, :1], one.relevant[:, :1])
    assert np.isfinite(fit_reading(pair, logits[:1, :1]).logit) and fit_reading(pair, logits[:1, :1]).logit > 0
    assert 0 <= one.crossed(logits[:1], 5)["mrr"] <= 1


def test_priors_have_the_things_as_their_background() -> None:
    similar = np.random.default_rng(0).normal(0, 0.1, (4, 30)).astype(np.float32)
    calibration = calibration_for("mini", Modality.TEXT, Modality.IMAGE)
    expected = [calibration.log_odds(row, calibration.background(row)) for row in similar]
    np.testing.assert_array_equal(log_odds_of("mini", similar, Modality.TEXT, Modality.IMAGE), expected)
    assert log_odds_of("mini", similar[:0], Modality.TEXT, Modality.IMAGE).shape == (0, 30)


# --- what is kept of photos and captions


def test_photos_are_looked_at_once_and_their_views_differ(tmp_path: Path) -> None:
    found, encoder, stages = halves(tmp_path / "photos", 40), HashingEncoder(), []
    seen = see_photos(encoder, found.images, 3, (2, 2), tmp_path / "work", seed=1, progress=stages.append)
    assert [len(view) for view in seen.patches] == [40] * 3 and seen.patches[0].shape == (40, 4, 3)
    prepared = [encoder.prepare_image(read_photo(path, encoder.image_size)) for path in found.images]
    embeddings, patches = encoder.encode_images_with_patches(prepared)
    np.testing.assert_array_equal(seen.embeddings, embeddings)
    np.testing.assert_allclose(seen.patches[0], pooled(patches, (4, 4), (2, 2)), atol=1e-3)
    assert np.abs(np.float32(seen.patches[1]) - seen.patches[0]).max() > 0.05
    assert np.abs(np.float32(seen.patches[1]) - seen.patches[2]).max() > 0.05
    rows = seen.rows(np.array([3, 3, 0]), np.array([0, 2, 1]))
    expected = [seen.patches[view][photo] for view, photo in ((0, 3), (2, 3), (1, 0))]
    np.testing.assert_array_equal(rows, np.float32(expected))
    assert (stages[-1].done, stages[-1].total) == (120, 120)
    count = len(stages)
    again = see_photos(encoder, found.images, 3, (2, 2), tmp_path / "work", seed=1, progress=stages.append)
    assert len(stages) == count and np.array_equal(again.patches[2], seen.patches[2])
    more = see_photos(encoder, found.images, 4, (2, 2), tmp_path / "work", seed=1, progress=stages.append)
    assert len(stages) == count + 2 and len(more.patches) == 4  # two batches of the new view alone
    other = see_photos(encoder, found.images, 3, (2, 2), tmp_path / "work", seed=2)
    assert not np.array_equal(other.patches[2], seen.patches[2])
    square = np.float32(seen.patches[0]).reshape(40, 2, 2, 3)
    mirrored = np.float32(other.patches[1]).reshape(40, 2, 2, 3)
    np.testing.assert_allclose(mirrored, square[:, :, ::-1], atol=0.02)


def test_sentences_are_read_once_and_come_back_in_their_order(tmp_path: Path) -> None:
    sentences = ["two dogs on a very long and winding road", "a boat", "", "men", "a boat", "a red car at night"]
    reader, stages = WordReader((0, 2)), list[Progress]()
    found = read_sentences(reader, sentences, "mini-0-2", tmp_path, stages.append)
    assert found.states.dtype == np.float16 and len(stages) == 1
    expected = reader.read(sentences)
    states, owners = found.rows(np.arange(6))
    np.testing.assert_allclose(states, expected.states, atol=2e-3)
    assert owners.tolist() == expected.owners.tolist()
    states, owners = found.rows(np.array([3, 0]))
    np.testing.assert_allclose(
        states, np.concatenate([expected.states[expected.owners == at] for at in (3, 0)]), atol=2e-3
    )
    assert owners.tolist() == [0] + [1] * 7
    again = read_sentences(reader, sentences, "mini-0-2", tmp_path, stages.append)
    assert len(stages) == 1 and np.array_equal(again.states, found.states)
    shallow = read_sentences(WordReader((2,)), sentences, "mini-2", tmp_path, stages.append)
    assert len(stages) == 2 and shallow.states.shape[1] == found.states.shape[1] // 2


def test_no_sentences_are_no_trouble(tmp_path: Path) -> None:
    for _ in range(2):
        assert read_sentences(WordReader(), [], "mini-0", tmp_path).starts.tolist() == [0]


def test_captions_are_typed_and_distorted_by_their_seed() -> None:
    captions = ("A man walks a dog .", "It is there .", "Two red boats beside a blue car !")
    assert typed(captions, 0, 1) == list(captions)
    assert typed(captions, 1, 1) == typed(captions, 1, 1)
    many = captions * 30
    assert len(set(typed(many, 1, 1))) > 3 and typed(many, 1, 1) != typed(many, 1, 2)
    found, owners = wrong(many, 0)
    assert wrong(many, 0)[0] == found and owners.tolist() == [at for at in range(90) if at % 3 != 1]
    assert len(found) == 60 and all(sentence not in many for sentence in found)
    assert wrong(("It is there .",), 0)[0] == [] and wrong((), 0)[1].shape == (0,)
