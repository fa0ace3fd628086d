"""A user's script over the whole Python API, checked by ``mypy --strict`` and run by the tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch import (
    AddSummary,
    Area,
    Filters,
    Hit,
    IndexSummary,
    ItemData,
    ItemFailure,
    LibraryStatus,
    ManyHits,
    MmsearchError,
    Modality,
    Query,
    Range,
    SearchEngine,
    SyncOptions,
    Term,
    __version__,
    load_encoder,
    parse,
)
from mmsearch.recommend import (
    Event,
    Histories,
    ItemFeatures,
    Profile,
    Recommendation,
    Recommender,
    popularity,
)


def things(count: int, dim: int) -> Iterator[ItemData]:
    random = np.random.default_rng(0)
    for number in range(count):
        yield ItemData(f"thing-{number}", vector=random.standard_normal(dim), metadata={"number": number})


def main(photos: Path, library: Path) -> None:
    encoder = load_encoder("mini")
    with SearchEngine.open(library, model="mini", create=True, read_only=False) as engine:
        indexed: IndexSummary = engine.index([photos], options=SyncOptions(tokens=False))
        added: AddSummary = engine.add(things(50, encoder.dim))
        more = engine.add([{"key": "red", "image": Image.new("RGB", (20, 20), "red"), "text": "red"}])
        failures: tuple[ItemFailure, ...] = (*added.failed, *more.failed)
        status: LibraryStatus = engine.status()
        print(__version__, indexed.new, added.new, len(failures), status.segments)

        hits: list[Hit] = engine.search("a dog", k=3, filters=Filters.of(modalities=[Modality.IMAGE]))
        hits += engine.search(Query((Term("a cat"), Term("a dog", -0.5))), min_relevance=0.0)
        hits += engine.search(parse("an owl"), filters="type:image", offset=1)
        hits += engine.search(["owl", "+", "night"], filters=Filters(width=Range(low=10), near=Area(0.0, 0.0, 1.0)))
        print(sum(hit.relevance for hit in hits), [hit.key or hit.path for hit in hits[:1]], hits[0].to_dict()["rank"])

        like: list[Hit] = engine.similar("thing-3", 4, filters="type:image")
        vectors = engine.vectors([hit.key for hit in like if hit.key is not None])
        total = float(vectors.sum()) + float(engine.embed(texts=["a dog"]).sum())
        many: ManyHits = engine.search_many(vectors, k=2, modality=Modality.IMAGE)
        words = engine.search_many(["one", "two"], 3)
        print(round(total, 1), many.scores.shape, words.items.dtype, str(many.keys[0, 0]))

        history = [Event("thing-1"), Event("thing-2", weight=-1.0, time=datetime(2026, 1, 1))]
        crowd = [["thing-1"], ["thing-1", "thing-9"]]
        recommender = Recommender(
            engine, half_life=timedelta(days=7), interests=2, priors=popularity(crowd), diverse=0.2, duplicates="fold"
        )
        found: list[Recommendation] = recommender.recommend(history, 5, exclude=["thing-7"])
        profile: Profile = recommender.profile(history)
        batch: ManyHits = recommender.recommend_many(Histories.from_columns(["a", "b"], ["thing-1", "thing-2"]), 3)
        features: ItemFeatures = recommender.features(["thing-1", "thing-2"])
        print(len(found), found[0].key, profile.interests.shape, batch.items.shape, features.vectors.shape)
        try:
            engine.vectors(["nobody"])
        except MmsearchError as error:
            print(error.message, error.hint)
        print(engine.remove(f"thing-{number}" for number in range(50)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
