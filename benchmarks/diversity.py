"""What diversity costs and what it brings: captions of Flickr8k dev against its photos, by the strength of MMR.

    python benchmarks/diversity.py --data ../shared/data

Of each caption's hundred best photos MMR orders all, and the first ten are looked at: how often the caption's own photo
is among them (recall@10) and at the top (recall@1), and how alike the ten are (mean cosine of each with the nearest of
those before it).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from calibration import images_of
from record import record

from mmsearch import load_encoder
from mmsearch.query.calibration import calibration_for
from mmsearch.rerank.diversity import mmr
from mmsearch.types import Modality

STRENGTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7)
DEPTH, K, EVERY = 100, 10, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--no-record", action="store_true", help="only print")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model, offline=True)
    folder = arguments.data / "flickr8k" / "dev"
    with (folder / "captions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::EVERY]
    photos = sorted((folder / "images").iterdir())
    places = {path.name: place for place, path in enumerate(photos)}
    pictures = images_of(encoder, photos)
    texts = encoder.encode_texts([row["caption"] for row in rows])
    calibration = calibration_for(arguments.model, Modality.TEXT, Modality.IMAGE)
    scores = texts @ pictures.T
    for strength in STRENGTHS:
        at_one = at_ten = 0
        alike = []
        for row, own in zip(rows, scores, strict=True):
            best = np.argsort(-own, kind="stable")[:DEPTH]
            relevance = 1 / (1 + np.exp(-calibration.log_odds(own[best], calibration.background(own))))
            first = best[mmr(relevance, pictures[best], K, strength=strength)]
            at_one += places[row["image"]] == first[0]
            at_ten += places[row["image"]] in first
            cosines = pictures[first] @ pictures[first].T
            alike.append(np.mean([cosines[place, :place].max() for place in range(1, K)]))
        record(
            "diversity",
            {
                "model": arguments.model,
                "captions": len(rows),
                "strength": strength,
                "recall@1": round(at_one / len(rows), 4),
                "recall@10": round(at_ten / len(rows), 4),
                "nearest_of_those_before": round(float(np.mean(alike)), 4),
            },
            keep=not arguments.no_record,
        )


if __name__ == "__main__":
    main()
