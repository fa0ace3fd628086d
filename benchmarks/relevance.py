"""How true relevance is: calibration, whether anything matches at all, and where lists are cut off.

    python benchmarks/relevance.py --data ../shared/data
    python benchmarks/relevance.py --data ../shared/data --diagram docs/relevance.png

All is measured crosswise on Flickr8k's dev set, which the built-in model was not trained on: the weights are fitted on
one half of the photos (with their captions, and on one half of the words, classes and nonsense) and measured on the
questions of the other half, put to all 1,000 photos; then the other way round. ECE is the expected calibration error
in 15 bins of equal width (Guo et al. 2017) over the pairs that a search shows: the first 10, or 100, hits of each
question. A caption matches its own photo alone, though others may fit it.

The weights that ship were fitted on both halves together. The reranker's logits of all pairs are read once and kept in
the work folder, which takes some ten minutes; everything else takes two.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import record
from relevance_data import WORDS, Asked, Data, Questions, noise, part
from relevance_fit import SEED, SHOWN, Rereading, Shown, fit, fit_about, highest_of, sets_of, shown

from mmsearch import load_encoder
from mmsearch.query.calibration import calibration_for
from mmsearch.query.cutoff import keep
from mmsearch.query.relevance import Relevance, probability
from mmsearch.rerank import load_reranker
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.types import Modality

BINS = 15


@dataclass(frozen=True)
class Judged:
    """Relevance and matches (q, k) of what was shown."""

    name: str
    relevance: NDArray[np.float64]
    match: NDArray[np.bool_]
    about: NDArray[np.float64]

    def first(self, k: int) -> Judged:
        """The first k of each question."""
        return replace(self, relevance=self.relevance[:, :k], match=self.match[:, :k])


def bins(judged: Judged) -> list[tuple[float, float, int]]:
    """Mean relevance, share of matches and number of pairs of each bin that holds any."""
    p, y = judged.relevance.ravel(), judged.match.ravel()
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    return [
        (float(p[place == b].mean()), float(y[place == b].mean()), int((place == b).sum())) for b in np.unique(place)
    ]


def ece(judged: Judged) -> float:
    """Expected calibration error."""
    found = bins(judged)
    total = sum(count for *_, count in found)
    return sum(count * abs(said - true) for said, true, count in found) / total


def area(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Area under ROC: the chance that a positive is above a negative, ties counting half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / (2 * len(negative)))


def judge(one: Shown, relevance: Relevance) -> Judged:
    """What the product says of what was shown."""
    rows = zip(one.scores, one.answers, strict=True)
    found = np.stack([probability(relevance.log_odds(scores, answer)) for scores, answer in rows])
    return Judged(one.asked.name, found, one.match, np.array([answer.about for answer in one.answers]))


def with_about(one: Shown, about: Relevance | None) -> Shown:
    """The same, each answer knowing the chance that its question is about anything."""
    if about is None:
        return one
    return replace(one, answers=[replace(answer, about=about.about(answer)) for answer in one.answers])


class Crosswise:
    """Fits on one half, judges questions of the other."""

    def __init__(self, data: Data, reranker: FusionReranker | None) -> None:
        self.data = data
        self._rereading = None if reranker is None else Rereading(data, reranker)
        self._fitted: dict[tuple[Any, ...], tuple[Relevance, Relevance | None, Relevance | None]] = {}

    def fitted(
        self, pair: tuple[str, str], half: int, raw: bool
    ) -> tuple[Relevance, Relevance | None, Relevance | None]:
        """Relevance, the chance to be about anything, and the reranker's relevance, from one half."""
        if (pair, half, raw) not in self._fitted:
            known = self._known(pair, raw)
            asked = sets_of(self.data, pair, (half,))
            texts = pair[0] == "text"
            highest = highest_of(self.data.encoder.id, pair)
            sets = [shown(one, known, highest=highest) for one in asked]
            nothing = [] if raw else list(noise(np.random.default_rng(SEED)))
            about = fit_about([*sets, *(shown(one, known) for one in nothing)], raw=raw) if texts else None
            if not texts:
                sets += [shown(replace(one, name="absent", weight=2.0), known) for one in nothing]
            reread = None
            if raw and self._rereading is not None:
                read = [self._rereading.shown(one, pair) for one in asked if self._rereading.reads(one, pair)]
                reread = fit(read, texts=texts)
            self._fitted[pair, half, raw] = fit(sets, raw=raw, texts=texts), about, reread
        return self._fitted[pair, half, raw]

    def judged(self, asked: Asked, pair: tuple[str, str], *, raw: bool = True, reranked: bool = False) -> Judged:
        """Relevance of the shortlists of questions, by what was fitted on the half that each is not of."""
        known = self._known(pair, raw)
        halves = self._half(asked, pair)
        found: list[tuple[NDArray[Any], Judged]] = []
        for half in (0, 1):
            own = np.flatnonzero(halves == half)
            if not own.size:
                continue
            some = replace(
                asked,
                scores=asked.scores[own],
                match=asked.match[own],
                specificity=asked.specificity[own],
                rows=asked.rows[own],
            )
            relevance, about, reread = self.fitted(pair, 1 - half, raw)
            one = with_about(shown(some, known, highest=highest_of(self.data.encoder.id, pair)), about)
            if reranked:
                assert self._rereading is not None and reread is not None
                chances = [answer.about for answer in one.answers]
                one = self._rereading.shown(some, pair)
                answers = [replace(answer, about=c) for answer, c in zip(one.answers, chances, strict=True)]
                one, relevance = replace(one, answers=answers), reread
            found.append((own, judge(one, relevance)))
        order = np.argsort(np.concatenate([own for own, _ in found]))
        return Judged(
            asked.name,
            np.concatenate([one.relevance for _, one in found])[order],
            np.concatenate([one.match for _, one in found])[order],
            np.concatenate([one.about for _, one in found])[order],
        )

    def _known(self, pair: tuple[str, str], raw: bool) -> Any:
        return calibration_for(self.data.encoder.id if raw else "", Modality(pair[0]), Modality(pair[1]))

    def _half(self, asked: Asked, pair: tuple[str, str]) -> NDArray[np.int64]:
        captions = pair[0] == "text" and asked.name in ("captions", "absent")
        return (self.data.owners[asked.rows] if captions else asked.rows) % 2


def without(asked: Asked) -> Asked:
    """The same questions, each with its match taken away; whatever else fits is left."""
    scores = np.where(asked.match, -1.0, asked.scores).astype(np.float32)
    return replace(asked, name="absent", scores=scores, match=np.zeros_like(asked.match))


def cut(judged: Judged) -> dict[str, float]:
    """What the automatic cut-off does to the first page."""
    rows = zip(judged.relevance, judged.about.tolist(), strict=True)
    every = np.stack([keep(row, about) for row, about in rows])
    kept, match = every[:, :10], judged.match[:, :10]
    figures = {"nothing": 1 - float(kept.any(axis=1).mean()), "kept": float(kept.sum(axis=1).mean())}
    if match.any():
        figures["kept_relevant"] = float(kept[match].mean())
        figures["dropped_irrelevant"] = 1 - float(kept[~match].mean())
        figures["dropped_irrelevant_of_100"] = 1 - float(every[~judged.match].mean())
    return figures


def calibration_row(judged: Judged) -> dict[str, float]:
    """How true relevance is, over what is shown."""
    page = judged.first(10)
    return {
        "ece_10": ece(page),
        "ece_100": ece(judged),
        "relevance_of_best": float(judged.relevance[:, 0].mean()),
        "matches_of_best": float(judged.match[:, 0].mean()),
        "relevance_of_10": float(page.relevance.mean()),
        "matches_of_10": float(page.match.mean()),
    }


def questions_of(data: Data) -> dict[str, tuple[tuple[str, str], Asked]]:
    """What is measured: questions to all photos of the dev set, and photos to all its captions."""
    every = np.arange(len(data.photos))
    label = data.owners[:, None] == every
    all_texts = np.arange(len(data.captions))
    found = {
        "captions": (
            ("text", "image"), part("captions", data.sentences, data.photos, label, all_texts, every),
        ),
        "words": (("text", "image"), part("words", data.words, data.photos, data.has, np.arange(len(WORDS)), every)),
    }  # fmt: skip
    for count, (asked, match) in data.combined.items():
        found[f"{count} words"] = (
            ("text", "image"), part(f"{count} words", asked, data.photos, match, np.arange(len(match)), every),
        )  # fmt: skip
    photos = Questions("photos", data.photos, np.ones(len(every)))
    found["photos to captions"] = (
        ("image", "text"), part("captions", photos, data.sentences.embeddings, label.T, every, all_texts),
    )  # fmt: skip
    return found


def nonsense_of(data: Data) -> dict[str, Asked]:
    """What matches nothing."""
    every = np.arange(len(data.photos))
    return {
        kind: part(
            kind, asked, data.photos, np.zeros((len(asked.texts), len(every)), bool), np.arange(len(asked.texts)), every
        )
        for kind, asked in data.nonsense.items()
    }


def draw(panels: Sequence[tuple[str, Judged]], file: Path) -> None:
    """Reliability diagrams side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(2.9 * len(panels), 3.0), sharey=True)
    for axis, (name, judged) in zip(np.atleast_1d(axes), panels, strict=True):
        said, true, count = zip(*bins(judged.first(10)), strict=True)
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.scatter(said, true, s=6 + 60 * np.sqrt(np.array(count) / max(count)), color="tab:blue", alpha=0.8)
        axis.plot(said, true, color="tab:blue", linewidth=1)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="relevance", title=f"{name}\nECE {ece(judged.first(10)):.3f}")
        axis.title.set_fontsize(9)
    np.atleast_1d(axes)[0].set_ylabel("share that match")
    figure.tight_layout()
    figure.savefig(file, dpi=80)


def rounded(values: Any) -> Any:
    """Numbers with three decimals, however deep."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    return round(values, 3) if isinstance(values, float) else values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--diagram", type=Path, help="draw reliability diagrams into this file")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)
    reranker = load_reranker(None, encoder)
    data = Data(encoder, arguments.data)
    crosswise = Crosswise(data, reranker if isinstance(reranker, FusionReranker) else None)
    ways = {"retrieval": {}, "reranked": {"reranked": True}, "any encoder": {"raw": False}}
    sets, nothing = questions_of(data), nonsense_of(data)
    figures: dict[str, dict[str, Any]] = {}
    panels = []
    for way, how in ways.items():
        table = figures[way] = {"calibration": {}, "cut_off": {}, "area_under_roc": {}}
        best, about = {}, {}
        for name, (pair, asked) in sets.items():
            judged = crosswise.judged(asked, pair, **how)
            table["calibration"][name] = calibration_row(judged)
            table["cut_off"][name] = cut(judged)
            best[name], about[name] = judged.relevance[:, 0], judged.about
            if way != "any encoder" and name in ("captions", "words", "photos to captions"):
                panels.append((f"{name}, {way}", judged))
        pair, asked = sets["captions"]
        away = without(asked)
        if "reranked" not in how:
            table["area_under_roc"]["photo removed"] = area(
                best["captions"], crosswise.judged(away, pair, **how).relevance[:, 0]
            )
        for kind, asked in nothing.items():
            judged = crosswise.judged(asked, ("text", "image"), **how)
            table["cut_off"][kind] = cut(judged)
            for real in ("captions", "words"):
                table["area_under_roc"][f"{real} / {kind}"] = area(best[real], judged.relevance[:, 0])
                table["area_under_roc"][f"{real} / {kind}, about"] = area(about[real], judged.about)
        tell(way, table)
    if arguments.diagram:
        draw(panels, arguments.diagram)
    record("relevance", {"model": encoder.id, "pairs_shown": [10, SHOWN], **rounded(figures)}, keep=not arguments.dry)


def tell(way: str, table: dict[str, Any]) -> None:
    """Print one way's tables."""
    print(f"\n{way}")
    for title, rows in table.items():
        print(f"  {title}")
        for name, row in rows.items():
            shown_ = row if isinstance(row, float) else "  ".join(f"{key} {value:.3f}" for key, value in row.items())
            print(f"    {name:32s} {shown_ if isinstance(shown_, str) else f'{shown_:.3f}'}")


if __name__ == "__main__":
    main()
