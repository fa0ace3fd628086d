"""Fit the relevance of an encoder on captioned and classed pictures, and check it on others.

    python benchmarks/calibration.py --data ../shared/data

Text to image: Flickr8k dev, captions against photos, and Caltech101, the bare names of classes against pictures, since
people type both; even photos and classes fit, odd ones check. Image to text is the same turned round. Image to image:
Caltech101, pictures of one class match. Text to text: captions of the same photo match each other, and a bare word the
captions that have it. Sounds (where the model takes them, and `benchmarks/sound_quality.py` has left the embeddings of
clips that its towers had not heard): ESC clips of one class match each other, and the names of the class.
A pair's z is its score, normalised by the query's background (mmsearch.query.calibration). The sigmoid is fitted by
logistic regression, matching pairs weighted to be one in ten: about what the first page of hits holds. It prints the
lines for the table of fitted calibrations, and how well they hold on the checking half: mean relevance of matches, of
all others, of the best of them, and the log loss beside that of a constant.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record import work_folder

from mmsearch import load_encoder
from mmsearch.media.image import read_image
from mmsearch.query.calibration import Calibration

PRIOR = 0.1
CONFIDENCE = 20
# Classes of sounds that photos of Flickr8k show, and the word that their captions have then.
SEEN = {"baby cry": "baby", "dog bark": "dog", "fire crackling": "fire", "rain": " rain", "sea waves": "wave"}
WORDS = [
    "dog",
    "beach",
    "boy",
    "girl",
    "man",
    "woman",
    "water",
    "grass",
    "snow",
    "bike",
    "street",
    "football",
    "tree",
    "car",
    "horse",
    "mountain",
    "ball",
    "swing",
    "guitar",
    "skateboard",
    "bench",
    "dress",
    "hat",
    "jacket",
    "helmet",
    "sunglasses",
    "river",
    "wave",
    "slide",
    "rock",
    "camera",
    "field",
    "pool",
    "crowd",
    "baby",
    "boat",
]


def images_of(encoder, paths: list[Path]) -> NDArray[np.float32]:
    size = encoder.image_size
    rows = []
    for start in range(0, len(paths), 64):
        batch = [encoder.prepare_image(read_image(path, target_side=size).image) for path in paths[start : start + 64]]
        rows.append(encoder.encode_images(batch))
    return np.concatenate(rows)


def weights(match: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of pairs that make the matching ones `PRIOR` of the whole."""
    return np.where(match, PRIOR / match.sum(), (1 - PRIOR) / (~match).sum())


def logistic(z: NDArray[np.float64], match: NDArray[np.bool_], weight: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted logistic regression of `match` on `z` by Newton's method."""
    design = np.stack([z, np.ones_like(z)], axis=1)
    beta = np.array([1.0, -5.0])
    for _ in range(100):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (weight * (match - p))
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step * min(1.0, 2.0 / np.abs(step).max())
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0]), float(beta[1])


@dataclass(frozen=True)
class Pairs:
    """Scores and matches (queries, items), and which queries serve for fitting; the others check."""

    name: str
    scores: NDArray[np.float32]
    match: NDArray[np.bool_]
    fit: NDArray[np.bool_]


def study(pair: str, sets: list[Pairs]) -> None:
    """Fit one sigmoid on all sets, each counting the same, and check it on each."""
    fitting = [part for part in sets if part.fit.any()]
    mean = float(np.mean([part.scores[part.fit][~part.match[part.fit]].mean() for part in fitting]))
    deviation = float(np.mean([part.scores[part.fit].std(axis=1).mean() for part in fitting]))
    blank = Calibration(1.0, 0.0, mean, deviation, CONFIDENCE)
    zs = [np.stack([blank.log_odds(row, blank.background(row)) for row in part.scores]) for part in sets]
    slope, intercept = logistic(
        np.concatenate([z[part.fit].ravel() for z, part in zip(zs, sets, strict=True)]),
        np.concatenate([part.match[part.fit].ravel() for part in sets]),
        np.concatenate([weights(part.match[part.fit].ravel()) for part in fitting]),
    )
    asked, found = (f"_{kind.upper()}" for kind in pair.split("-"))
    print(
        f'    ("mini", {asked}, {found}): Calibration({slope:.3f}, {intercept:.3f}, '
        f"mean={mean:.4f}, deviation={deviation:.4f}, confidence={CONFIDENCE}),"
    )
    for z, part in zip(zs, sets, strict=True):
        if part.fit.all():
            continue
        check = 1 / (1 + np.exp(-(slope * z[~part.fit] + intercept)))
        match = part.match[~part.fit]
        loss = -float(np.sum(weights(match) * np.log(np.where(match, check, 1 - check) + 1e-12)))
        constant = -float(PRIOR * np.log(PRIOR) + (1 - PRIOR) * np.log(1 - PRIOR))
        figures = {
            "pair": pair,
            "set": part.name,
            "mean_relevance_of_matches": round(float(check[match].mean()), 3),
            "mean_relevance_of_others": round(float(check[~match].mean()), 4),
            "mean_relevance_of_best_other": round(float(np.where(match, 0.0, check).max(axis=1).mean()), 3),
            "log_loss": round(loss, 4),
            "log_loss_of_constant": round(constant, 4),
        }
        print(json.dumps(figures))


def study_sounds(
    encoder, folds: list, photos: NDArray[np.float32], captions: list[str], owner: NDArray[np.int64]
) -> None:
    """Fit what holds between sounds and the rest, on clips that the towers which embedded them had not heard."""
    sets: dict[str, list[Pairs]] = {}
    for number, fold in enumerate(folds):
        sounds, labels = fold["embeddings"], fold["labels"]
        names = [str(name) for name in fold["names"]]
        said = encoder.encode_texts(names)
        kinds = np.arange(len(names))
        every = np.full(len(labels), number % 2 == 0)  # folds 1 and 3 fit, 2 and 4 check
        own = labels[:, None] == kinds
        # What a photo shows of what is heard, by what two of its captions say.
        named = np.array([[word in caption.lower() for word in SEEN.values()] for caption in captions])
        shows = np.array([named[owner == photo].sum(axis=0) >= 2 for photo in range(len(photos))])  # (photos, seen)
        columns = [names.index(name) for name in SEEN]
        some = np.flatnonzero(np.isin(labels, columns))
        sees = shows[:, [columns.index(label) for label in labels[some]]].T  # (some sounds, photos)
        askers = np.flatnonzero(shows.any(axis=1))
        others = ~np.eye(len(labels), dtype=bool)
        parts = {
            "text-audio": Pairs(f"fold {number + 1}", said @ sounds.T, own.T, np.full(len(names), number % 2 == 0)),
            "audio-text": Pairs(f"fold {number + 1}", sounds @ said.T, own, every),
            "audio-audio": Pairs(
                f"fold {number + 1}",
                (sounds @ sounds.T)[others].reshape(len(labels), -1),
                (labels[:, None] == labels)[others].reshape(len(labels), -1),
                every,
            ),
            "audio-image": Pairs(f"fold {number + 1}", sounds[some] @ photos.T, sees, every[some]),
            "image-audio": Pairs(
                f"fold {number + 1}",
                photos[askers] @ sounds.T,
                shows[askers] @ (np.array(columns)[:, None] == labels),
                np.full(len(askers), number % 2 == 0),
            ),
        }
        for pair, part in parts.items():
            sets.setdefault(pair, []).append(part)
    for pair, found in sets.items():
        study(pair, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--sounds", type=Path, default=work_folder() / "sound_quality", help="what sound_quality left")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model)

    dev = arguments.data / "flickr8k" / "dev"
    with (dev / "captions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = sorted({row["image"] for row in rows})
    place = {name: index for index, name in enumerate(names)}
    photos = images_of(encoder, [dev / "images" / name for name in names])
    captions = encoder.encode_texts([row["caption"] for row in rows])
    owner = np.array([place[row["image"]] for row in rows])

    folders = sorted(path for path in (arguments.data / "caltech101").iterdir() if path.is_dir())
    files = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.iterdir())[:12]]
    pictures = images_of(encoder, [path for path, _ in files])
    labels = np.array([label for _, label in files])
    words = encoder.encode_texts([folder.name.replace("_", " ") for folder in folders])
    classes = np.arange(len(folders))
    study(
        "text-image",
        [
            Pairs("captions", captions @ photos.T, owner[:, None] == np.arange(len(names)), owner % 2 == 0),
            Pairs("words", words @ pictures.T, classes[:, None] == labels, classes % 2 == 0),
        ],
    )
    others = ~np.eye(len(files), dtype=bool)  # a picture is no news to itself
    scores = (pictures @ pictures.T)[others].reshape(len(files), -1)
    same = (labels[:, None] == labels)[others].reshape(len(files), -1)
    study("image-image", [Pairs("classes", scores, same, labels % 2 == 0)])
    turns = np.arange(len(names))
    study(
        "image-text",
        [
            Pairs("captions", photos @ captions.T, turns[:, None] == owner, turns % 2 == 0),
            Pairs("words", pictures @ words.T, labels[:, None] == classes, labels % 2 == 0),
        ],
    )
    asked = np.arange(0, len(captions), 5)  # one caption of each photo, roughly; it is no news to itself
    near = captions[asked] @ captions.T
    near[np.arange(len(asked)), asked] = near.min()
    alike = owner[asked][:, None] == owner
    alike[np.arange(len(asked)), asked] = False
    has = np.array([[word in row["caption"].lower().split() for row in rows] for word in WORDS])
    word_scores = encoder.encode_texts(WORDS) @ captions.T
    study(
        "text-text",
        [
            Pairs("captions", near, alike, owner[asked] % 2 == 0),
            Pairs("words", word_scores, has, np.arange(len(WORDS)) % 2 == 0),
        ],
    )
    folds = [np.load(file) for file in sorted(arguments.sounds.glob("fold-*/heard.npz"))]
    if folds:
        study_sounds(encoder, folds, photos, [row["caption"] for row in rows], owner)


if __name__ == "__main__":
    main()
