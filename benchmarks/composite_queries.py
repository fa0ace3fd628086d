"""A photo and words together: calibrated fusion beside adding embeddings.

    python benchmarks/composite_queries.py --data ../shared/data

"Like photo A, with B": A is a photo of Flickr8k's dev set of which at least two captions name a subject (a dog, a boy,
a man ...), B another word that no caption of A holds. What is sought are photos of which two captions name the subject,
and one the word B. Half of the words B choose the weight for adding embeddings, the others measure; then the other way
round. A itself is left out of the list. Recall is of ten at most, intervals are by bootstrap over the words B.

    fused             log-odds calibrated for each term, as `mmsearch.query.fusion` joins them: the photo counts half
    fused, reranked   the same, the words' log-odds by the reranker for the best 100
    sum 1:1           the sum of both embeddings
    sum, tuned        the weighted sum that does best on the other half
    words, image      one term alone

Then terms to avoid: "a dog, not grass": how many of the first ten photos show it, and how many the wanted subject,
before and after.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import record
from relevance_data import SEED, WORDS, Data
from relevance_fit import Rereading

from mmsearch import load_encoder
from mmsearch.query.calibration import calibration_for
from mmsearch.query.fusion import balanced, fuse
from mmsearch.query.relevance import answer_to, relevance_for, reread_for
from mmsearch.rerank import load_reranker
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.rerank.query_bank import spread
from mmsearch.types import Modality

SUBJECTS = ["dog", "boy", "girl", "man", "woman", "child", "player", "baby", "crowd", "bird", "horse"]
QUERIES = 1000
SHORTLIST = 100
WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
AVOIDED = ["grass", "water", "snow", "beach", "ball", "street", "man", "woman", "child", "football"]


class Pictures:
    """The dev photos, what their captions name, and what each way of asking makes of them."""

    def __init__(self, data: Data, reranker: FusionReranker | None) -> None:
        self.data = data
        self._reranker = reranker
        self._rereading = None if reranker is None else Rereading(data, reranker)
        count = len(data.photos)
        self.named = np.zeros((len(WORDS), count), np.int64)
        for at in range(len(WORDS)):
            np.add.at(self.named[at], data.owners, data.caption_has[at].astype(np.int64))

    def words(self, word: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(photos,) log-odds and evidence that photos match a word."""
        return self._judged(self.data.words.embeddings[word], Modality.TEXT, WORDS[word])

    def image(self, photo: int) -> NDArray[np.float64]:
        """(photos,) log-odds that photos are like one of them."""
        return self._judged(self.data.photos[photo], Modality.IMAGE, "")[0]

    def reread(self, word: int, first: NDArray[np.int64], evidence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of the reranker for a shortlist."""
        assert self._reranker is not None and self._rereading is not None
        photos = self.data.photos
        logits = self._rereading._logits["words"][word, first]
        hubs = self._reranker._bank.fitting(photos[spread(len(photos), 2048)]).hubs(photos[first])
        read = self._reranker.settings.text_to_image.log_odds(logits, evidence[first], hubs)
        relevance = reread_for(self._reranker.id, Modality.TEXT, Modality.IMAGE)
        assert relevance is not None, "the reranker was not fitted"
        return relevance.log_odds(read, self._answer(self.data.words.embeddings[word], Modality.TEXT, WORDS[word])
                                  .reread(read))  # fmt: skip

    def _answer(self, embedding: NDArray[np.float32], asked: Modality, text: str) -> Any:
        scores = self.data.photos @ embedding
        pair = self.data.encoder.id, asked, Modality.IMAGE
        others = scores[scores < 0.999] if asked is Modality.IMAGE else scores
        return answer_to(*pair, others, calibration_for(*pair).background(scores), len(scores), text)

    def _judged(
        self, embedding: NDArray[np.float32], asked: Modality, text: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scores = self.data.photos @ embedding
        pair = self.data.encoder.id, asked, Modality.IMAGE
        answer = self._answer(embedding, asked, text)
        evidence = calibration_for(*pair).log_odds(scores, answer.background)
        return relevance_for(*pair).log_odds(scores, answer), evidence


def queries(named: NDArray[np.int64], rng: np.random.Generator) -> list[tuple[int, int, NDArray[np.bool_]]]:
    """Photo, word, and what is sought (photos,), each pair once."""
    found: list[tuple[int, int, NDArray[np.bool_]]] = []
    seen: set[tuple[int, int]] = set()
    subjects = [WORDS.index(word) for word in SUBJECTS]
    while len(found) < QUERIES:
        subject, word = int(rng.choice(subjects)), int(rng.integers(len(WORDS)))
        if WORDS[word] in SUBJECTS:
            continue
        photos = np.flatnonzero((named[subject] >= 2) & (named[word] == 0))
        wanted = (named[subject] >= 2) & (named[word] >= 1)
        if len(photos) == 0 or not 1 <= wanted.sum() <= 50:
            continue
        photo = int(rng.choice(photos))
        if (photo, word) not in seen:
            seen.add((photo, word))
            found.append((photo, word, wanted))
    return found


def figures(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Recall of the first ten (of ten at most), reciprocal rank of the first, precision of ten."""
    order = np.argsort(-scores, kind="stable")
    hits = wanted[order]
    return hits[:10].sum() / min(10, hits.sum()), 1 / (1 + int(np.argmax(hits))), float(hits[:10].mean())


def interval(values: NDArray[np.float64], groups: NDArray[np.int64], rng: np.random.Generator) -> list[float]:
    """95 % interval of the mean by bootstrap over groups."""
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    there = np.flatnonzero(counts)
    drawn = there[rng.integers(len(there), size=(2000, len(there)))]
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [round(float(value), 3) for value in np.percentile(means, (2.5, 97.5))]


def compare(pictures: Pictures, *, reranked: bool) -> dict[str, Any]:
    """Measure all ways of asking with the same queries."""
    rng = np.random.default_rng(SEED)
    asked = queries(pictures.named, rng)
    photos, texts = pictures.data.photos, pictures.data.words.embeddings
    groups = np.array([word for _, word, _ in asked])
    ways: dict[str, list[tuple[float, float, float]]] = {}

    def measure(way: str, scores: NDArray[np.float64], photo: int, wanted: NDArray[np.bool_]) -> None:
        scores = scores.copy()
        scores[photo] = -np.inf
        ways.setdefault(way, []).append(figures(scores, wanted))

    for photo, word, wanted in asked:
        by_image, (by_words, evidence) = pictures.image(photo), pictures.words(word)
        weights = balanced([1, 1], [False, True])
        fused, _ = fuse(np.stack([by_image, by_words]), weights)
        measure("fused, both count the same", fuse(np.stack([by_image, by_words]), [1, 1])[0], photo, wanted)
        measure("fused", fused, photo, wanted)
        measure("words", by_words, photo, wanted)
        measure("image", by_image, photo, wanted)
        for weight in WEIGHTS:
            added = photos @ (photos[photo] + weight * texts[word])
            measure(f"sum {weight:g}", added.astype(np.float64), photo, wanted)
        if reranked:
            first = np.argsort(-fused, kind="stable")[:SHORTLIST]
            again, _ = fuse(np.stack([by_image[first], pictures.reread(word, first, evidence)]), weights)
            scores = fused - fused.max() + again.min() - 1
            scores[first] = again
            measure("fused, reranked", scores, photo, wanted)
    table = {way: np.array(rows) for way, rows in ways.items()}
    tuned = np.empty_like(table["fused"])
    chosen = []
    for half in (0, 1):
        other = groups % 2 != half
        best = max(WEIGHTS, key=lambda weight: float(table[f"sum {weight:g}"][other, 0].mean()))
        chosen.append(best)
        tuned[~other] = table[f"sum {best:g}"][~other]
    table["sum, tuned"] = tuned
    shown = [
        "fused",
        "fused, both count the same",
        *(["fused, reranked"] if reranked else []),
        "sum 1",
        "sum, tuned",
        "words",
        "image",
    ]
    result: dict[str, Any] = {"queries": len(asked), "tuned_weights_of_words": chosen}
    for way in shown:
        result[way] = {
            name: [round(float(table[way][:, at].mean()), 3), interval(table[way][:, at], groups, rng)]
            for at, name in enumerate(("recall@10", "mrr", "precision@10"))
        }
    for way in shown[: 3 if reranked else 1 : 2]:
        for rival in ("sum 1", "sum, tuned"):
            gained = table[way] - table[rival]
            result[f"{way} over {rival}"] = {
                name: [round(float(gained[:, at].mean()), 3), interval(gained[:, at], groups, rng)]
                for at, name in enumerate(("recall@10", "mrr"))
            }
    return result


def avoid(pictures: Pictures) -> dict[str, dict[str, float]]:
    """How a term to avoid changes the first ten, over pairs of a subject and what it is often seen with."""
    before, fused, subtracted = [], [], []
    photos, texts = pictures.data.photos, pictures.data.words.embeddings
    example: dict[str, Any] = {}

    def page(scores: NDArray[np.float64], subject: int, word: int) -> tuple[float, float]:
        first = np.argsort(-scores, kind="stable")[:10]
        return float((pictures.named[subject][first] > 0).mean()), float((pictures.named[word][first] > 0).mean())

    pairs = 0
    for subject in (WORDS.index(name) for name in SUBJECTS):
        for word in (WORDS.index(name) for name in AVOIDED):
            both = (pictures.named[subject] > 0) & (pictures.named[word] > 0)
            if subject == word or both.sum() < 5 or (pictures.named[subject] > 0).sum() < 30:
                continue
            pairs += 1
            wanted, unwanted = pictures.words(subject)[0], pictures.words(word)[0]
            rows = (
                page(wanted, subject, word),
                page(fuse(np.stack([wanted, unwanted]), [1, -1])[0], subject, word),
                page(photos @ (texts[subject] - texts[word]), subject, word),
            )
            for kept, row in zip((before, fused, subtracted), rows, strict=True):
                kept.append(row)
            if (WORDS[subject], WORDS[word]) == ("dog", "grass"):
                example = dict(zip(("before", "fused", "difference of embeddings"), rows, strict=True))
    mean: Callable[[list[tuple[float, float]]], dict[str, float]] = lambda rows: dict(  # noqa: E731
        zip(("wanted", "avoided"), np.round(np.mean(rows, axis=0), 3).tolist(), strict=True)
    )
    return {
        "pairs": pairs,  # type: ignore[dict-item]
        "before": mean(before),
        "fused": mean(fused),
        "difference of embeddings": mean(subtracted),
        "dog - grass": example,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    reranker = load_reranker(None, encoder)
    known = reranker if isinstance(reranker, FusionReranker) else None
    pictures = Pictures(Data(encoder, arguments.data), known)
    found = compare(pictures, reranked=known is not None)
    for way, row in found.items():
        print(f"{way:24s}", re.sub(r"[{}']", "", str(row)))
    avoided = avoid(pictures)
    for way, row in avoided.items():
        print(f"{way:24s}", row)
    record("composite_queries", {"model": encoder.id, **found, "avoided": avoided}, keep=not arguments.dry)


if __name__ == "__main__":
    main()
