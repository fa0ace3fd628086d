"""Words in names and folders beside meaning: hybrid search against vectors alone and full text alone.

    python benchmarks/hybrid_search.py --data ../shared/data

The photos of Flickr8k dev get folders and names as people's photos have them (40 places and events with a year, files
called IMG_2041.jpg), drawn from one seed. Five sorts of queries: a name; a folder; a caption; a folder with a caption;
a folder with a noun. What is relevant is known: the photo, all of the folder, or those of the folder whose captions
have the noun. recall@10 is the share of the relevant photos, ten at most, among the first ten hits. All lists are
shown to their end (no cut-off, nothing folded, no reranking).
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from record import record, work_folder

from mmsearch import SearchEngine

SEED = 20261122
PLACES = tuple(
    "berlin lisbon garden wedding christmas norway school zoo istanbul skiing marathon camping harbour grandma "  # noqa: SIM905
    "tokyo carnival hiking picnic stadium prague canada museum birthday venice farm scotland island sailing kyoto "
    "market oslo desert festival chicago lake orchard vienna safari cycling paris".split()
)
NOUNS = ("dog", "beach", "boy", "girl", "man", "woman", "water", "snow", "bike", "ball", "grass", "street", "horse")
MANY = {"name": 200, "folder": len(PLACES), "caption": 400, "folder and caption": 400, "folder and noun": 200}
RRF = 60


@dataclass(frozen=True)
class Asked:
    """A query, its sort, and the files that it should find."""

    sort: str
    text: str
    relevant: frozenset[str]


def photos(data: Path, target: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Lay the photos out anew: original name -> new path below `target`, and its captions."""
    captions: dict[str, list[str]] = defaultdict(list)
    with (data / "flickr8k/dev/captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            captions[row["image"]].append(row["caption"])
    chance = random.Random(SEED)
    names = sorted(captions)
    numbers = chance.sample(range(1000, 10_000), len(names))
    folders = [f"{chance.choice((2016, 2019, 2021, 2023))}/{place}" for place in PLACES]
    placed = {name: f"{chance.choice(folders)}/IMG_{number}.jpg" for name, number in zip(names, numbers, strict=True)}
    for name, path in placed.items():
        file = target / path
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(data / "flickr8k/dev/images" / name, file)
    return placed, captions


def queries(placed: dict[str, str], captions: dict[str, list[str]]) -> list[Asked]:
    chance = random.Random(SEED + 1)
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name, path in placed.items():
        by_folder[path.split("/")[1]].append(name)
    found = []
    for name in chance.sample(sorted(placed), MANY["name"]):
        found.append(Asked("name", Path(placed[name]).stem, frozenset({placed[name]})))
    for folder, names in sorted(by_folder.items()):
        found.append(Asked("folder", folder, frozenset(placed[name] for name in names)))
    for name in chance.sample(sorted(placed), MANY["caption"]):
        text = chance.choice(captions[name])
        found.append(Asked("caption", text, frozenset({placed[name]})))
        found.append(Asked("folder and caption", f"{placed[name].split('/')[1]} {text}", frozenset({placed[name]})))
    pairs = [(folder, noun) for folder in sorted(by_folder) for noun in NOUNS]
    for folder, noun in chance.sample(pairs, len(pairs)):
        names = [name for name in by_folder[folder] if sum(noun in said.lower().split() for said in captions[name]) > 1]
        if names and sum(asked.sort == "folder and noun" for asked in found) < MANY["folder and noun"]:
            found.append(Asked("folder and noun", f"{noun} {folder}", frozenset(placed[name] for name in names)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="Folder of the data.")
    data: Path = parser.parse_args().data
    root = work_folder().resolve() / "hybrid"
    placed, captions = photos(data, root / "photos")
    asked = queries(placed, captions)
    with SearchEngine.open(root / "library", create=True, read_only=False) as engine:
        engine.index([root / "photos"])
        catalog = engine.catalog
        items = catalog.items(range(1, 100_000)).values()
        paths = {item.id: str(item.path.relative_to(root / "photos")) for item in items if item.path}

        def ranked(text: str, *, words: bool, depth: int) -> list[int]:
            hits = engine.search(text, depth, words=words, rerank=False, min_relevance=0, duplicates="show")
            return [hit.item_id for hit in hits]

        def text_only(text: str) -> list[int]:
            return [int(item) for item in catalog.match_items(text, 100)[0]]

        def by_rank(text: str) -> list[int]:
            scores: dict[int, float] = defaultdict(float)
            for found in (ranked(text, words=False, depth=100), text_only(text)):
                for rank, item in enumerate(found, start=1):
                    scores[item] += 1 / (RRF + rank)
            return sorted(scores, key=lambda item: (-scores[item], item))

        systems: dict[str, Callable[[str], Sequence[int]]] = {
            "vectors only": lambda text: ranked(text, words=False, depth=10),
            "text only": text_only,
            "reciprocal rank fusion": by_rank,
            "hybrid": lambda text: ranked(text, words=True, depth=10),
        }
        for system, search in systems.items():
            recalls: dict[str, list[float]] = defaultdict(list)
            for query in asked:
                found = {paths[item] for item in search(query.text)[:10]}
                recalls[query.sort].append(len(found & query.relevant) / min(10, len(query.relevant)))
            figures = {f"recall@10, {sort}": round(float(np.mean(values)), 4) for sort, values in recalls.items()}
            every = [value for values in recalls.values() for value in values]
            record("hybrid_search", {"system": system, **figures, "recall@10": round(float(np.mean(every)), 4)})


if __name__ == "__main__":
    main()
