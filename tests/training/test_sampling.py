"""Batches of captioned pictures: complete, balanced, and the same again after an interruption."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import UsageError
from mmsearch.training.datasets import CaptionedImages, caption_classes, join, read_classes, read_dataset
from mmsearch.training.sampling import Batch, BatchSampler


def some_set(sizes: list[int], seed: int = 0, least: int = 0) -> CaptionedImages:
    """Sources of so many pictures, each with up to six captions in any order."""
    rng = np.random.default_rng(seed)
    count = sum(sizes)
    owners = rng.permutation(np.repeat(np.arange(count), rng.integers(least, 7, count)))
    return CaptionedImages(
        images=tuple(Path(f"{i}.jpg") for i in range(count)),
        captions=tuple(f"caption {i}" for i in range(len(owners))),
        owners=owners,
        sources=np.repeat(np.arange(len(sizes)), sizes),
        source_names=tuple(f"source {i}" for i in range(len(sizes))),
    )


def listed(batch: Batch) -> tuple[list[int], list[int], list[int]]:
    return batch.images.tolist(), batch.captions.tolist(), batch.owners.tolist()


sizes = st.lists(st.integers(1, 25), min_size=1, max_size=5)
alphas = st.sampled_from([0.0, 0.3, 0.5, 1.0])


@given(sizes, st.integers(1, 30), st.integers(1, 4), alphas, st.integers(0, 9), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_batches_are_full_without_repeats_and_bring_captions_of_their_own_pictures(
    sizes: list[int], size: int, captions: int, alpha: float, seed: int, epoch: int
) -> None:
    images = some_set(sizes, seed)
    sampler = BatchSampler(images, size, captions, seed, alpha=alpha)
    batches = list(sampler.epoch(epoch))
    assert len(batches) == len(sampler) == max(1, sum(sizes) // size)
    for batch in batches:
        assert len(set(batch.images.tolist())) == len(batch.images) == min(size, sum(sizes))
        np.testing.assert_array_equal(batch.images[batch.owners], images.owners[batch.captions])
        assert np.all(np.diff(batch.owners) >= 0)
        has = np.isin(batch.images, images.owners)
        np.testing.assert_array_equal(np.bincount(batch.owners, minlength=len(has)), has * captions)
        for place, image in enumerate(batch.images):
            drawn = batch.captions[batch.owners == place].tolist()
            assert len(set(drawn)) == min(captions, int(np.sum(images.owners == image)))


@given(sizes, st.integers(1, 30), alphas, st.integers(0, 3), st.data())
@settings(max_examples=60, deadline=None)
def test_an_epoch_goes_on_in_the_middle_as_if_it_had_never_stopped(
    sizes: list[int], size: int, alpha: float, epoch: int, data: st.DataObject
) -> None:
    images = some_set(sizes)
    whole = [listed(batch) for batch in BatchSampler(images, size, 2, 5, alpha=alpha).epoch(epoch)]
    start = data.draw(st.integers(0, len(whole)))
    resumed = BatchSampler(images, size, 2, 5, alpha=alpha).epoch(epoch, start)
    assert [listed(batch) for batch in resumed] == whole[start:]


def test_seeds_and_epochs_differ() -> None:
    images = some_set([40, 10])
    for alpha in (1.0, 0.5):
        first = [
            tuple(next(iter(BatchSampler(images, 16, 1, seed, alpha=alpha).epoch(epoch))).images.tolist())
            for seed, epoch in ((0, 0), (0, 1), (1, 0))
        ]
        assert len(set(first)) == 3


def test_unbalanced_every_picture_comes_once_an_epoch() -> None:
    sampler = BatchSampler(some_set([30, 12]), 6)
    shown = np.concatenate([batch.images for batch in sampler.epoch(3)])
    assert sorted(shown.tolist()) == list(range(42))


def test_a_short_last_batch_is_dropped_unless_it_is_the_only_one() -> None:
    assert [len(batch.images) for batch in BatchSampler(some_set([10]), 4).epoch(0)] == [4, 4]
    assert [len(batch.images) for batch in BatchSampler(some_set([3]), 4).epoch(0)] == [3]


@pytest.mark.parametrize(
    ("alpha", "sizes", "shares"),
    [
        (0.0, [900, 100, 30], [8, 8, 8]),
        (0.5, [900, 100, 25], [24 * root / 45 for root in (30, 10, 5)]),
        (1.0, [900, 100, 25], [24 * size / 1025 for size in (900, 100, 25)]),
    ],
)
def test_sources_fill_batches_in_proportion_to_a_power_of_their_sizes(
    alpha: float, sizes: list[int], shares: list[float]
) -> None:
    images = some_set(sizes)
    sampler = BatchSampler(images, 24, alpha=alpha)
    assert sampler.shares.tolist() == pytest.approx(shares)
    counts = np.array([np.bincount(images.sources[batch.images], minlength=3) for batch in sampler.epoch(1)])
    assert counts.mean(0).tolist() == pytest.approx(shares, abs=0.1)
    if alpha < 1:
        assert np.all(np.abs(counts - shares) < 2)


def test_a_source_too_small_for_its_share_gives_all_it_has() -> None:
    sampler = BatchSampler(some_set([100, 3]), 20, alpha=0.0)
    assert sampler.shares.tolist() == [17, 3]
    assert all({100, 101, 102} <= set(batch.images.tolist()) for batch in sampler.epoch(0))


def test_balanced_pictures_take_turns_across_epochs() -> None:
    sampler = BatchSampler(some_set([200, 20]), 20, alpha=0.0)  # ten of each a batch, 110 of each an epoch
    shown: Counter[int] = Counter()
    for epoch in range(4):
        for batch in sampler.epoch(epoch):
            shown.update(batch.images.tolist())
    large, small = [[shown[i] for i in part] for part in (range(200), range(200, 220))]
    assert sum(large) == sum(small) == 440
    # 440 turns are 2.2 rounds of the large source and 22 of the small one. What is put off so that a batch has no
    # repeats may move a picture to another epoch.
    assert min(large) >= 1 and max(large) <= 4
    assert min(small) >= 20 and max(small) <= 24


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12), st.integers(1, 40), st.floats(0, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_counts_of_many_sources_follow_their_shares(sizes: list[int], size: int, alpha: float) -> None:
    sampler = BatchSampler(some_set(sizes), size, alpha=alpha)
    counts = sampler._counts()
    assert np.all(counts.sum(1) == sampler.batch)
    assert np.all((counts >= 0) & (counts <= sizes))
    assert np.all(np.abs(np.cumsum(counts, 0) - np.arange(1, len(counts) + 1)[:, None] * sampler.shares) < 2)


def test_captions_that_several_pictures_have_are_told(tmp_path: Path) -> None:
    for name in ("owl/1.jpg", "owl/2.jpg", "fox/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    images = caption_classes(read_classes(tmp_path), ["a photo of a {}", "A {}"])
    assert images.captions[:2] == ("a photo of a fox", "A fox")
    sampler = BatchSampler(images, 3, captions=2)
    batch = next(iter(sampler.epoch(0)))
    shared = sampler.shared(batch)
    named = [images.images[i].parent.name for i in batch.images]
    for caption, owner in enumerate(batch.owners):
        for place in range(3):
            assert shared[caption, place] == (place != owner and named[place] == named[owner])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch": 0}, "make no sense"),
        ({"captions": 0}, "make no sense"),
        ({"seed": -1}, "make no sense"),
        ({"alpha": 1.5}, "exponent between 0 and 1, not 1.5"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BatchSampler(some_set([4]), **{"batch": 2, **wrong})
    with pytest.raises(UsageError, match="no pictures"):
        BatchSampler(join([]), 2)


def test_real_sources_are_balanced(shared_data: Path) -> None:
    images = join(read_dataset(shared_data / name) for name in ("flickr8k/train", "coco1000", "stamps", "flowers"))
    sampler = BatchSampler(images, 256, captions=2, alpha=0.5)
    sizes = np.bincount(images.sources)
    np.testing.assert_allclose(sampler.shares, 256 * np.sqrt(sizes) / np.sqrt(sizes).sum())
    batch = next(iter(sampler.epoch(0)))
    assert np.all(np.abs(np.bincount(images.sources[batch.images]) - sampler.shares) < 1)
    shared = sampler.shared(batch)
    flowers = images.sources[batch.images] == 3
    assert shared[:, flowers].any() and shared[:, ~flowers].mean() < 0.001
