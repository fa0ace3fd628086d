"""Fit the relevance of an encoder on captioned and classed pictures, and check it on others.

    python benchmarks/calibration.py --data ../shared/data

Text to image: Flickr8k dev, captions against photos; even photos fit, odd photos check. Image to image: Caltech101,
pictures of one class match; even classes fit, odd classes check. A pair's z is its score, normalised by the query's
background (mmsearch.query.calibration). The sigmoid is fitted by logistic regression, matching pairs weighted to be
one in a hundred: what a person's query typically meets in a person's library. It prints the lines for the table of
fitted calibrations, and how well they hold on the checking half: mean relevance of matches, of the best
non-matching hit, and the log loss beside that of a constant.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch import load_encoder
from mmsearch.media.image import read_image
from mmsearch.query.calibration import Calibration

PRIOR = 0.01
CONFIDENCE = 100


def images_of(encoder, paths: list[Path]) -> NDArray[np.float32]:
    size = encoder.image_size
    rows = []
    for start in range(0, len(paths), 64):
        batch = [encoder.prepare_image(read_image(path, target_side=size).image) for path in paths[start : start + 64]]
        rows.append(encoder.encode_images(batch))
    return np.concatenate(rows)


def logistic(z: NDArray[np.float64], match: NDArray[np.bool_]) -> tuple[float, float]:
    """Weighted logistic regression of `match` on `z` by Newton's method."""
    weight = np.where(match, PRIOR / match.sum(), (1 - PRIOR) / (~match).sum())
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


def study(name: str, scores: NDArray[np.float32], match: NDArray[np.bool_], fit: NDArray[np.bool_]) -> None:
    """Fit on the rows `fit`, check on the others; `scores` and `match` are (queries, items)."""
    off = scores[fit][~match[fit]]
    mean, deviation = float(off.mean()), float(scores[fit].std(axis=1).mean())
    blank = Calibration(1.0, 0.0, mean, deviation, CONFIDENCE)
    z = np.stack([blank.log_odds(row, blank.background(row)) for row in scores])
    slope, intercept = logistic(z[fit].ravel(), match[fit].ravel())
    relevance = 1 / (1 + np.exp(-(slope * z + intercept)))
    check, hits = relevance[~fit], match[~fit]
    weight = np.where(hits, PRIOR / hits.sum(), (1 - PRIOR) / (~hits).sum())
    loss = -float(np.sum(weight * np.log(np.where(hits, check, 1 - check) + 1e-12)))
    constant = -float(PRIOR * np.log(PRIOR) + (1 - PRIOR) * np.log(1 - PRIOR))
    best_wrong = np.where(hits, 0.0, check).max(axis=1)
    print(
        f'    ("mini", "{name}"): Calibration({slope:.3f}, {intercept:.3f}, '
        f"mean={mean:.4f}, deviation={deviation:.4f}, confidence={CONFIDENCE}),"
    )
    print(
        json.dumps(
            {
                "pair": name,
                "mean_relevance_of_matches": round(float(check[hits].mean()), 3),
                "mean_relevance_of_others": round(float(check[~hits].mean()), 4),
                "mean_relevance_of_best_other": round(float(best_wrong.mean()), 3),
                "log_loss": round(loss, 4),
                "log_loss_of_constant": round(constant, 4),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
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
    study("text-image", captions @ photos.T, owner[:, None] == np.arange(len(names)), owner % 2 == 0)

    folders = sorted(path for path in (arguments.data / "caltech101").iterdir() if path.is_dir())
    files = [(path, label) for label, folder in enumerate(folders) for path in sorted(folder.iterdir())[:12]]
    pictures = images_of(encoder, [path for path, _ in files])
    labels = np.array([label for _, label in files])
    same = labels[:, None] == labels
    scores = pictures @ pictures.T
    others = ~np.eye(len(files), dtype=bool)  # a picture is no news to itself
    scores = scores[others].reshape(len(files), -1)
    study("image-image", scores, same[others].reshape(len(files), -1), labels % 2 == 0)


if __name__ == "__main__":
    main()
