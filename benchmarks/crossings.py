"""Every crossing of words, pictures, sounds and videos over the samples: the best hit of each, as a table.

    python benchmarks/crossings.py

Indexes ``data/samples`` and ``data/mixed`` with the built-in model and without captions, so that photos are found by
what they show, and asks for each kind of item by each kind of query. A file that asks is not taken for its own answer.
The table is the README's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from indexer.sync import SyncOptions
from mmsearch import SearchEngine
from mmsearch.present.places import span_text

DATA = Path(__file__).resolve().parent.parent / "data"
KINDS = ("image", "text", "audio", "video")
# What is asked with; a path is below `data`.
QUERIES: dict[str, tuple[str, ...]] = {
    "words": ("a dog", "an owl", "a horse", "thunder"),
    "picture": ("samples/shepherd.jpg", "samples/owl.jpg", "samples/horses.jpg", "samples/cat.jpg"),
    "sound": ("mixed/sounds/dog.ogg", "mixed/sounds/owl.ogg", "mixed/sounds/horse.ogg", "mixed/sounds/rooster.ogg"),
    "text": ("mixed/notes/birdwatching.txt", "mixed/notes/safari-trip.docx"),
    "video": ("mixed/videos/wildlife.mp4", "mixed/videos/farm.mp4"),
}


def library(folder: Path) -> SearchEngine:
    """An engine over all samples, indexed anew."""
    engine = SearchEngine.open(folder, model="mini", create=True, read_only=False)
    engine.index([DATA / "samples", DATA / "mixed"], options=SyncOptions(captions=False))
    return engine


def best(engine: SearchEngine, query: str, kind: str) -> str:
    """The name and place of the best hit of a kind, with its relevance."""
    path = DATA / query
    hits = engine.search([str(path)] if path.exists() else query, k=2, modalities=[kind], min_relevance=0, words=False)
    hit = next(hit for hit in hits if hit.path != path)
    place = span_text(hit.start_ms, hit.end_ms) if hit.modality in ("audio", "video") else ""
    return f"{hit.path.name} {place}".strip() + f" ({hit.relevance:.0%})"


def rows(engine: SearchEngine) -> Iterator[list[str]]:
    for queries in QUERIES.values():
        for query in queries:
            shown = Path(query).name if (DATA / query).exists() else f'"{query}"'
            yield [shown, *(best(engine, query, kind) for kind in KINDS)]


def main() -> None:
    print("| asked with | photo | text | sound | video |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="crossings-") as folder, library(Path(folder)) as engine:
        for row in rows(engine):
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
