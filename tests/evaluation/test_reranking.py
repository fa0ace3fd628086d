"""What reranking gains, against a computation by hand for every query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.errors import EncoderError
from mmsearch.evaluation import CaptionSet, evaluate_captions
from mmsearch.protocols import Reranker
from mmsearch.query.calibration import calibration_for
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.rerank.query_bank import QueryBank
from mmsearch.types import Modality, Progress, RerankCandidate, RerankTerm, TokenFormat
from tests.rerank.random_reranker import Measures, bank_of, random_reranker

WORDS = ["dog", "boat", "man", "red", "snow", "beach", "two", "runs", "old", "tree"]


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> CaptionSet:
    """Twelve pictures of noise with two captions each, and a third for some, not in order."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(5)
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    owners = np.array([*range(12), *range(11, -1, -1), 3, 3, 7])
    texts = tuple(" ".join(rng.choice(WORDS, 4)) + f" {number}" for number in range(len(owners)))
    return CaptionSet(tuple(folder / f"{number}.png" for number in range(12)), texts, owners)


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> FusionReranker:
    return random_reranker(tmp_path_factory.mktemp("reranker") / "r.safetensors")


def first_ranks(captions: CaptionSet, reranker: FusionReranker, shortlist: int, back: bool) -> list[int]:
    """Rank of the first right answer of each query, worked out one query at a time."""
    encoder = HashingEncoder()
    prepared = [encoder.prepare_image(Image.open(path).convert("RGB")) for path in captions.images]
    images, patches = encoder.encode_images_with_patches(prepared)
    texts, tokens = encoder.encode_texts(captions.captions), reranker.compress(patches)
    asking, asked, things, found = (
        (images, Modality.IMAGE, texts, Modality.TEXT) if back else (texts, Modality.TEXT, images, Modality.IMAGE)
    )
    reading = reranker.settings.image_to_text if back else reranker.settings.text_to_image
    calibration = calibration_for("hashing", asked, found)
    fitting = QueryBank(bank_of(Measures())).fitting(images)
    ranks = []
    for query, embedding in enumerate(asking):
        similar = things @ embedding
        prior = calibration.log_odds(similar, calibration.background(similar))
        order = np.argsort(-similar, kind="stable").tolist()
        first = order[:shortlist]
        if back:
            logits = [reranker.logits(tokens[query : query + 1], [captions.captions[at]])[0, 0] for at in first]
            others = np.delete(images, query, axis=0)
            hubs = np.log(np.mean(np.exp(20 * things[first] @ others.T), axis=1)) / 20
        else:
            logits = [reranker.logits(tokens[at : at + 1], [captions.captions[query]])[0, 0] for at in first]
            hubs = fitting.hubs(things[first])
        odds = reading.logit * np.array(logits) + reading.prior * prior[first] + reading.constant
        odds += reading.hub * (hubs - hubs.mean())
        final = [first[at] for at in np.argsort(-odds, kind="stable")] + order[shortlist:]
        right = np.flatnonzero(captions.owners == query) if back else [captions.owners[query]]
        ranks.append(1 + min(final.index(at) for at in right))
    return ranks


@pytest.mark.parametrize("shortlist", [1, 5, 100])
def test_the_figures_are_those_of_every_list_read_by_hand(
    captions: CaptionSet, reranker: FusionReranker, shortlist: int
) -> None:
    report = evaluate_captions(HashingEncoder(), captions, reranker=reranker, shortlist=shortlist)
    plain = evaluate_captions(HashingEncoder(), captions)
    assert report.text_to_image == plain.text_to_image and report.image_to_text == plain.image_to_text
    assert plain.reranked is None and report.reranked is not None
    assert (report.reranked.reranker, report.reranked.shortlist) == (reranker.id, shortlist)
    for back, found in ((False, report.reranked.text_to_image), (True, report.reranked.image_to_text)):
        ranks = np.array(first_ranks(captions, reranker, shortlist, back))
        assert found.mrr == pytest.approx(np.mean(1 / ranks))
        assert found.median_rank == np.median(ranks)
        shares = (found.recall_at_1, found.recall_at_5, found.recall_at_10)
        assert shares == pytest.approx(tuple(np.mean(ranks <= k) for k in (1, 5, 10)))
        assert set(found.ci) == {"recall@1", "recall@5", "recall@10", "median_rank", "mrr", "ndcg@10"}
    if shortlist == 1:
        assert report.reranked.text_to_image == report.text_to_image
    else:
        assert report.reranked.text_to_image.mrr != report.text_to_image.mrr


def test_the_report_has_both_in_the_form_that_scripts_rely_on(captions: CaptionSet, reranker: FusionReranker) -> None:
    row = evaluate_captions(HashingEncoder(), captions, reranker=reranker, shortlist=5).to_dict()
    assert list(row) == ["model", "images", "captions", "text_to_image", "image_to_text", "reranked"]
    assert list(row["reranked"]) == ["reranker", "shortlist", "text_to_image", "image_to_text"]
    assert list(row["reranked"]["text_to_image"]) == list(row["text_to_image"])


class Telling:
    """A reranker that reads files itself and says what it is told to."""

    id = "telling@0"
    tokens: TokenFormat | None = None

    def __init__(self, odds: Any) -> None:
        self.odds = odds
        self.seen: list[tuple[RerankTerm, Sequence[RerankCandidate]]] = []

    def compress(self, patches: np.ndarray) -> np.ndarray:
        raise EncoderError("It keeps no tokens.")

    def log_odds(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> np.ndarray | None:
        self.seen.append((term, candidates))
        return self.odds(term, candidates)


def test_a_reranker_that_reads_files_is_given_them_with_what_they_are_held_against(captions: CaptionSet) -> None:
    own = {caption: captions.images[owner] for caption, owner in zip(captions.captions, captions.owners, strict=True)}

    def odds(term: RerankTerm, candidates: Sequence[RerankCandidate]) -> np.ndarray:
        if term.asked is Modality.TEXT:
            return np.array([5.0 if own[term.content] == c.record.item.path else -5.0 for c in candidates])
        return np.array([5.0 if own[c.record.segment.text] == term.content else -5.0 for c in candidates])

    reranker = Telling(odds)
    assert isinstance(reranker, Reranker)
    report = evaluate_captions(HashingEncoder(), captions, reranker=reranker, shortlist=100)
    assert report.reranked is not None
    assert report.reranked.text_to_image.recall_at_1 == report.reranked.image_to_text.recall_at_1 == 1.0
    assert report.reranked.image_to_text.ndcg_at_10 == 1.0
    assert len(reranker.seen) == len(captions.captions) + len(captions.images)
    term, candidates = reranker.seen[0]
    assert term.tokens is None and all(c.tokens is None for c in candidates) and len(candidates) == 12


def test_what_it_cannot_read_keeps_its_prior(captions: CaptionSet) -> None:
    reranker = Telling(lambda term, candidates: np.full(len(candidates), np.nan))
    report = evaluate_captions(HashingEncoder(), captions, reranker=reranker, shortlist=7)
    assert report.reranked is not None
    assert report.reranked.text_to_image == report.text_to_image
    assert report.reranked.image_to_text == report.image_to_text


def test_a_reranker_that_does_not_read_such_pairs_is_told(captions: CaptionSet) -> None:
    with pytest.raises(EncoderError, match="does not read images for texts"):
        evaluate_captions(HashingEncoder(), captions, reranker=Telling(lambda term, candidates: None))


def test_pictures_that_cannot_be_read_are_left_out_with_their_tokens(
    captions: CaptionSet, reranker: FusionReranker, tmp_path: Path
) -> None:
    images = list(captions.images)
    images[4] = tmp_path / "broken.png"
    images[4].write_bytes(b"no picture")
    report = evaluate_captions(
        HashingEncoder(), CaptionSet(tuple(images), captions.captions, captions.owners), reranker=reranker, shortlist=5
    )
    assert report.embedded.tokens is not None and len(report.embedded.tokens) == report.images == 11
    kept = captions.select(np.delete(np.arange(12), 4))
    expected = evaluate_captions(HashingEncoder(), kept, reranker=reranker, shortlist=5)
    assert report.reranked == expected.reranked


def test_progress_tells_of_every_query(captions: CaptionSet, reranker: FusionReranker) -> None:
    seen: list[Progress] = []
    evaluate_captions(HashingEncoder(), captions, reranker=reranker, progress=seen.append)
    read = [progress for progress in seen if progress.stage == "read"]
    assert [progress.done for progress in read] == list(range(1, len(captions.captions) + 12 + 1))
    assert {progress.total for progress in read} == {len(captions.captions) + 12}
