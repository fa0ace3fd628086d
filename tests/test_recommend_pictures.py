"""Users who like pictures of some things get more pictures of these things."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmsearch import SearchEngine
from mmsearch.recommend import Recommender, popularity

CLASSES = 10
PICTURES = 16


def test_users_get_more_of_the_classes_that_they_like(shared_data: Path, tmp_path: Path) -> None:
    folders = sorted(folder for folder in (shared_data / "caltech101").iterdir() if folder.is_dir())[::5][:CLASSES]
    pictures = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[:PICTURES]]
    with SearchEngine.open(tmp_path, model="mini", create=True, read_only=False) as engine:
        engine.add({"key": f"{path.parent.name}/{path.name}", "image": path} for path in pictures)
        random = np.random.default_rng(0)
        keys = np.array([f"{path.parent.name}/{path.name}" for path in pictures], dtype=object)
        classes = np.array([path.parent.name for path in pictures])
        tastes = [set(random.choice([folder.name for folder in folders], 2, replace=False)) for _ in range(60)]
        histories = [
            [key for name in sorted(taste) for key in random.choice(keys[classes == name], 4, replace=False)]
            for taste in tastes
        ]
        found = Recommender(engine).recommend_many(histories, 10).keys
        hits = np.mean([[key.split("/")[0] in taste for key in row] for row, taste in zip(found, tastes, strict=True)])
        popular = sorted(popularity(histories).items(), key=lambda entry: -entry[1])
        baseline = [
            [key.split("/")[0] in taste for key in [key for key, _ in popular if key not in history][:10]]
            for history, taste in zip(histories, tastes, strict=True)
        ]
        assert hits > 0.85 > 0.4 > np.mean(baseline)
