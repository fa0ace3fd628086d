from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.evaluation.embedding import EmbeddedCaptions, EmbeddedClasses
from mmsearch.evaluation.examples import class_examples, image_examples, spread, text_examples
from mmsearch.evaluation.measure import CaptionsReport, measure_captions, measure_classes


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, 8), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def report() -> CaptionsReport:
    rng = np.random.default_rng(0)
    images, owners = unit(rng, 40), np.repeat(np.arange(40), 3)
    captions = images[owners] + 0.4 * rng.standard_normal((120, 8), np.float32)
    paths = tuple(Path(f"{number}.jpg") for number in range(40))
    texts = tuple(f"caption {number}" for number in range(120))
    return measure_captions("some", EmbeddedCaptions(paths, texts, owners, images, captions, ()))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_examples_are_spread_evenly_over_the_sorted_values(values: list[int], count: int, seed: int) -> None:
    chosen = spread(np.array(values), count, np.random.default_rng(seed))
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(values))
    found = np.array(values)[chosen]
    assert (np.diff(found) >= 0).all()
    for part, value in zip(np.array_split(np.sort(values), len(chosen)), found, strict=True):
        assert part[0] <= value <= part[-1]


def test_the_same_seed_chooses_the_same_examples(report: CaptionsReport) -> None:
    assert text_examples(report, 5) == text_examples(report, 5)
    assert text_examples(report, 5) != text_examples(report, 5, seed=1)


def test_a_caption_shows_its_picture_among_the_hits_or_beside_them(report: CaptionsReport) -> None:
    examples = text_examples(report, 30)
    for example in examples:
        query = report.embedded.captions.index(example.caption)
        rank, owner = report.by_text.ranking.first[query], report.embedded.images[query // 3]
        assert [hit.rank for hit in example.hits] == [1, 2, 3, 4, 5, 6]
        shown = [hit for hit in (*example.hits, example.own) if hit is not None and hit.right]
        assert [(hit.path, hit.rank) for hit in shown] == [(owner, rank)]
        assert (example.own is None) == (rank <= 6)
    assert {example.own is None for example in examples} == {True, False}


def test_a_picture_shows_its_captions_among_the_hits_or_the_best_of_them_beside(report: CaptionsReport) -> None:
    for example in image_examples(report, 30):
        query = report.embedded.images.index(example.picture)
        own = report.embedded.captions[3 * query : 3 * query + 3]
        assert [hit.right for hit in example.hits] == [hit.text in own for hit in example.hits]
        shown = [hit for hit in (*example.hits, example.own) if hit is not None and hit.right]
        assert shown[0].rank == report.by_image.ranking.first[query]
        assert shown[0].text in own


def test_a_class_shows_the_pictures_most_like_it_and_what_they_are() -> None:
    rng = np.random.default_rng(0)
    classes, labels = unit(rng, 5), np.repeat([0, 1, 3, 4], 6)  # the third class has no pictures
    items = classes[labels] + 0.3 * rng.standard_normal((24, 8), np.float32)
    paths = tuple(Path(f"{number}.jpg") for number in range(24))
    names = ("ant", "bee", "cat", "dog", "emu")
    report = measure_classes("some", EmbeddedClasses(names, paths, labels, items, classes, ()))
    examples = class_examples(report, 9)
    assert {example.name for example in examples} == {"ant", "bee", "dog", "emu"}
    shares = [example.recognised for example in examples]
    assert shares == sorted(shares, reverse=True)
    for example in examples:
        scores = items @ classes[names.index(example.name)]
        assert [hit.path for hit in example.hits] == [paths[i] for i in np.argsort(-scores)[:7]]
        for hit in example.hits:
            assert hit.label == names[labels[paths.index(hit.path)]]
            assert hit.right == (hit.label == example.name)
