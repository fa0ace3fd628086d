"""Fit the weights of relevance on questions whose answers are known, and print them as the product's tables have them.

    python benchmarks/relevance_fit.py --data ../shared/data

Logistic regression (Platt 1999) of the match on the features of `mmsearch.query.relevance`, by Newton's method. The
hundred best of each question count, the first ten more, as that is what people look at.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import work_folder
from relevance_data import Asked, Data, image_image, image_text, noise, sounds, text_image, text_text

from mmsearch import load_encoder
from mmsearch.media.image import read_image
from mmsearch.query.calibration import Calibration, calibration_for
from mmsearch.query.relevance import Answer, Relevance, Weights, highest_level
from mmsearch.rerank import load_reranker
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.rerank.query_bank import pictures_as_queries, spread
from mmsearch.types import Modality

SHOWN = 100
SEED = 0
SAMPLE = 2048
_ONE = Weights(0, 0, 0, 0, 0, 0)
# A weight of one, all others nothing: what each feature is.
_BASIS = tuple(Weights(*row) for row in np.eye(6))


@dataclass(frozen=True)
class Shown:
    """What searches show of a set of questions: the best of each, best first.

    Attributes:
        asked: The set.
        scores, match: (q, k).
        answers: What each search knew of its whole answer.
    """

    asked: Asked
    scores: NDArray[np.floating]
    match: NDArray[np.bool_]
    answers: Sequence[Answer]


def shown(asked: Asked, calibration: Calibration, most: int = SHOWN, *, highest: float = math.inf) -> Shown:
    """What the embeddings alone show; `highest` as `Answer.of` takes it."""
    order = np.argsort(-asked.scores, axis=1, kind="stable")[:, :most]
    n = asked.scores.shape[1]
    sample = np.random.default_rng(SEED).permutation(n)[:SAMPLE]
    answers = [
        Answer.of(row, calibration.background(row[sample]), n, specific, highest)
        for row, specific in zip(asked.scores, asked.specificity.tolist(), strict=True)
    ]
    return Shown(asked, np.take_along_axis(asked.scores, order, 1), np.take_along_axis(asked.match, order, 1), answers)


def features(scores: NDArray[np.floating], own: Sequence[Answer], *, raw: bool, texts: bool) -> NDArray[np.float64]:
    """(q, k) scores -> (q, k, features), each what the product makes of one weight alone."""
    kinds: list[Relevance] = [Relevance(_ONE, row, raw=raw) for row in _BASIS]
    if texts:
        kinds += [Relevance(row, _ONE, raw=raw) for row in _BASIS] + [Relevance(_ONE, _ONE, 1.0, raw)]
    rows = [[kind.log_odds(row, answer) for kind in kinds] for row, answer in zip(scores, own, strict=True)]
    return np.moveaxis(np.array(rows), 1, 2)


def logistic(
    x: NDArray[np.float64], y: NDArray[np.bool_], weight: NDArray[np.float64], ridge: float = 1e-3
) -> NDArray[np.float64]:
    """Weighted logistic regression of y (n,) on x (n, features), with a little ridge."""
    beta = np.zeros(x.shape[1])
    for _ in range(200):
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
        gradient = x.T @ (weight * (y - p)) - ridge * beta
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta += step * min(1.0, 4.0 / np.abs(step).max())
        if np.abs(step).max() < 1e-9:
            break
    return beta


def position_weights(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """(q, k): the first page counts more than what follows; all questions of a set together count 100."""
    weights = np.where(np.arange(shape[1]) < 10, 1.0, 0.3)
    return np.broadcast_to(weights * 100 / shape[0], shape)


def fit(
    sets: Iterable[Shown],
    *,
    raw: bool = True,
    texts: bool = True,
    free: Sequence[int] = (),
    ridge: float = 1e-3,
) -> Relevance:
    """Fit one kind of relevance on all sets together, of the weights only those at `free` where it names any."""
    xs, ys, weights = [], [], []
    for one in sets:
        if one.asked.nonsense:
            continue  # see fit_about
        x = features(one.scores, one.answers, raw=raw, texts=texts)
        xs.append(x.reshape(-1, x.shape[-1]))
        ys.append(one.match.ravel())
        weights.append(position_weights(one.match.shape).ravel() * one.asked.weight)
    x = np.concatenate(xs)
    chosen = list(free or range(x.shape[1]))
    beta = np.zeros(x.shape[1])
    beta[chosen] = logistic(x[:, chosen], np.concatenate(ys), np.concatenate(weights), ridge)
    return relevance_of(beta, raw=raw)


def fit_about(sets: Iterable[Shown], *, raw: bool = True) -> Relevance:
    """Fit the chance that a text is about anything in the library, from answers to texts that are and to nonsense."""
    xs, ys, weights = [], [], []
    for one in sets:
        if one.asked.name.startswith("absent"):
            continue  # much else may fit
        xs.append(features(one.scores[:, :1], one.answers, raw=raw, texts=True)[:, 0])
        ys.append(np.full(len(one.scores), not one.asked.nonsense))
        weights.append(np.full(len(one.scores), 1 / len(one.scores)))
    x, y, weight = np.concatenate(xs), np.concatenate(ys), np.concatenate(weights)
    weight = np.where(y, weight / weight[y].sum(), weight / weight[~y].sum()) * 1000
    free = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]  # the best score stands for itself
    beta = np.zeros(x.shape[1])
    beta[free] = logistic(x[:, free], y, weight, 0.1)
    return relevance_of(beta, raw=raw)


def relevance_of(beta: NDArray[np.float64], *, raw: bool) -> Relevance:
    """What was fitted, rounded as it is printed."""
    values = [round(float(value), 3) for value in beta]
    sentence = Weights(*values[:6])
    if len(values) == 6:
        return Relevance(sentence, sentence, 0.0, raw)
    return Relevance(Weights(*values[6:12]), sentence, values[12], raw)


def line(key: str, found: Relevance) -> str:
    """As the table of the product has it."""

    def weights(own: Weights) -> str:
        return f"Weights({own.slope}, {own.best}, {own.lead}, {own.standing}, {own.size}, {own.constant})"

    if found.word == found.sentence:
        return f"    {key}: _same({weights(found.word)}, raw={found.raw}),"
    return (
        f"    {key}: Relevance(\n        {weights(found.word)}, {weights(found.sentence)}, {found.bend}, {found.raw}),"
    )


SETS = {
    ("text", "image"): text_image,
    ("image", "text"): image_text,
    ("image", "image"): image_image,
    ("text", "text"): text_text,
}


def sets_of(data: Data, pair: tuple[str, str], halves: Sequence[int] = (0, 1)) -> list[Asked]:
    """The fitting sets of one pair of modalities."""
    return [asked for half in halves for asked in SETS[pair](data, half, np.random.default_rng(SEED + half))]


class Rereading:
    """What a reranker makes of the questions to Flickr8k's photos and captions.

    The logits of all pairs are read once and kept: some ten minutes of one core.
    """

    def __init__(self, data: Data, reranker: FusionReranker) -> None:
        self._data = data
        self._reranker = reranker
        questions = {"captions": data.sentences, "words": data.words, **data.nonsense}
        questions |= {f"{count} words": data.combined[count][0] for count in (2, 3)}
        self._logits = {name: self._read(name, own.texts) for name, own in questions.items()}

    def _read(self, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, photos) logits."""

        def read() -> NDArray[np.float32]:
            tokens = self._data.kept("tokens", self._tokens)
            found = np.empty((len(texts), len(tokens)), np.float32)
            for start in range(0, len(tokens), 100):
                for first in range(0, len(texts), 50):
                    some = list(texts[first : first + 50])
                    found[first : first + 50, start : start + 100] = self._reranker.logits(
                        tokens[start : start + 100], some
                    )
            return found

        return self._data.kept(f"logits-{self._reranker.id.split('@')[1]}-{name.replace(' ', '-')}", read)

    def _tokens(self) -> NDArray[np.int8]:
        encoder, files = self._data.encoder, self._data.files
        rows = []
        for start in range(0, len(files), 64):
            batch = [read_image(path, target_side=encoder.image_size).image for path in files[start : start + 64]]
            _, patches = encoder.encode_images_with_patches([encoder.prepare_image(image) for image in batch])
            rows.append(self._reranker.compress(patches))
        return np.concatenate(rows)

    def _name(self, asked: Asked) -> str:
        name = asked.name.removeprefix("absent ").split(" in ")[0]
        return "captions" if name.startswith("in ") or name == "absent" else name

    def reads(self, asked: Asked, pair: tuple[str, str]) -> bool:
        """Whether these are questions to Flickr8k alone."""
        if pair[0] == "image":
            return not asked.name.startswith("names")
        return self._name(asked) in self._logits and int(asked.columns.max()) < len(self._data.photos)

    def shown(self, asked: Asked, pair: tuple[str, str], most: int = SHOWN) -> Shown:
        """The shortlist of each question in the reranker's order."""
        kinds = Modality(pair[0]), Modality(pair[1])
        known = calibration_for(self._data.encoder.id, *kinds)
        before = shown(asked, known, most, highest=highest_of(self._data.encoder.id, pair))
        order = np.argsort(-asked.scores, axis=1, kind="stable")[:, :most]
        rows = zip(before.scores, before.answers, strict=True)
        priors = np.stack([known.log_odds(row, answer.background) for row, answer in rows])
        settings = self._reranker.settings
        photos = self._data.photos
        if pair[0] == "text":
            logits = self._logits[self._name(asked)][np.ix_(asked.rows, asked.columns)]
            things, reading = photos[asked.columns], settings.text_to_image
            queries = self._reranker._bank.fitting(things[spread(len(things), SAMPLE)])
            hubs = np.broadcast_to(queries.hubs(things), logits.shape)
        else:
            logits = self._logits["captions"].T[np.ix_(asked.rows, asked.columns)]
            things, reading = self._data.sentences.embeddings[asked.columns], settings.image_to_text
            own = photos[np.unique(self._data.owners[asked.columns])]
            hubs = np.stack([pictures_as_queries(own, photos[row]).hubs(things) for row in asked.rows.tolist()])
        read = reading.log_odds(np.take_along_axis(logits, order, 1), priors, np.take_along_axis(hubs, order, 1))
        again = np.argsort(-read, axis=1, kind="stable")
        scores = np.take_along_axis(read, again, 1)
        answers = [answer.reread(row) for answer, row in zip(before.answers, scores, strict=True)]
        return Shown(asked, scores, np.take_along_axis(before.match, again, 1), answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--sounds", type=Path, default=work_folder() / "sound_quality", help="what sound_quality left")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    data = Data(encoder, arguments.data)
    for raw in (True, False):
        print("# fitted" if raw else "# of any encoder")
        for pair in SETS:
            # What is learnt of z alone has to do for encoders of which nothing is known.
            known = calibration_for(arguments.model if raw else "", Modality(pair[0]), Modality(pair[1]))
            highest = highest_of(encoder.id, pair)
            sets = [shown(asked, known, highest=highest) for asked in sets_of(data, pair)]
            nothing = [] if raw else list(noise(np.random.default_rng(SEED)))
            if pair[0] != "text":
                # What "about" does for texts has to be done here.
                sets += [shown(replace(asked, name="absent", weight=2.0), known) for asked in nothing]
            # Several words that a caption has all are a poor measure of what a text of that length is about.
            free = range(12) if pair == ("text", "text") else ()
            tell(arguments.model, pair, fit(sets, raw=raw, texts=pair[0] == "text", free=free))
            if pair[0] == "text":
                sets += [shown(asked, known) for asked in nothing]
                tell(arguments.model, pair, fit_about(sets, raw=raw), "about")
    # Few classes of sounds are known: the best of the answer is left out.
    heard = sounds(data, sorted(arguments.sounds.glob("fold-*/heard.npz")), np.random.default_rng(SEED))
    for pair, own in heard.items():
        known = calibration_for(arguments.model, Modality(pair[0]), Modality(pair[1]))
        sets = [shown(asked, known) for asked in own]
        tell(arguments.model, pair, fit(sets, texts=False, free=(0, 4, 5), ridge=0.3))
    reranker = load_reranker(None, encoder)
    if isinstance(reranker, FusionReranker):
        print("# reranked")
        rereading = Rereading(data, reranker)
        for pair in (("text", "image"), ("image", "text")):
            sets = [rereading.shown(asked, pair) for asked in sets_of(data, pair) if rereading.reads(asked, pair)]
            tell(reranker.id, pair, fit(sets, texts=pair[0] == "text"))


def highest_of(encoder_id: str, pair: tuple[str, str]) -> float:
    """See `mmsearch.query.relevance.highest_level`."""
    return highest_level(encoder_id, Modality(pair[1])) if pair[0] == "text" else math.inf


def tell(model: str, pair: tuple[str, str], found: Relevance, what: str = "") -> None:
    """Print what was fitted."""
    print(what, line(f'("{model}", _{pair[0].upper()}, _{pair[1].upper()})', found).strip(), flush=True)


if __name__ == "__main__":
    main()
