"""Which index a library gets."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import UsageError
from mmsearch.vectors import rule
from mmsearch.vectors.rule import choose_kind

counts = st.integers(0, 30_000_000)
dims = st.sampled_from([64, 256, 384, 512, 768, 1024])


def test_small_libraries_are_flat_and_large_ones_have_lists() -> None:
    assert choose_kind(0, 512) == choose_kind(10_000, 512) == "flat"
    assert re.fullmatch(r"ivf\d+,sq8", choose_kind(500_000, 512))
    assert choose_kind(1_000_000, 256) == "ivf2304,sq8"
    assert re.fullmatch(r"ivf\d+,pq128", choose_kind(10_000_000, 512))
    assert choose_kind(500_000, 512, resident=True) == "hnsw32"


@given(counts, dims)
def test_a_user_gets_the_family_that_was_asked_for(count: int, dim: int) -> None:
    assert choose_kind(count, dim, asked="flat") == "flat"
    if count:
        assert choose_kind(count, dim, asked="hnsw") == "hnsw32"
        assert re.fullmatch(r"ivf\d+,sq8", choose_kind(count, dim, asked="ivf"))
        codes = r"pq\d+" if count >= 256 * 39 else "sq8"  # vectors that train the centroids of a part
        assert re.fullmatch(rf"ivf\d+,{codes}", choose_kind(count, dim, asked="pq"))


@given(st.integers(20_000, 30_000_000), dims, st.sampled_from(rule.KINDS))
def test_a_choice_stays_as_long_as_the_library_hardly_changes(count: int, dim: int, asked: str) -> None:
    first = choose_kind(count, dim, asked=asked)
    for share in (0.85, 1, 1.15):
        assert choose_kind(int(count * share), dim, asked=asked, current=first) == first


@given(st.integers(200_000, 2_000_000))
def test_lists_are_trained_again_when_the_library_has_outgrown_them(count: int) -> None:
    first = choose_kind(count, 256)
    assert choose_kind(count * 2, 256, current=first) == first
    assert choose_kind(count * 16, 256, current=first) != first
    assert choose_kind(count // 100, 256, current=first) == "flat"


def test_growing_past_a_bound_and_back_does_not_flip_to_and_fro() -> None:
    kind, seen = "flat", []
    for count in [*range(100_000, 300_000, 10_000), *range(300_000, 100_000, -10_000)]:
        kind = choose_kind(count, 256, current=kind)
        seen.append(kind)
    assert sum(a != b for a, b in pairwise(seen)) <= 3


@given(st.integers(1, 5000), st.integers(1, 300))
def test_small_or_odd_libraries_can_have_every_kind(count: int, dim: int) -> None:
    for asked in rule.KINDS:
        lists = rule.lists_of(choose_kind(count, dim, asked=asked))
        assert lists <= max(1, count)


def test_product_codes_divide_the_vector() -> None:
    for dim in (1, 2, 3, 7, 100, 384, 770, 1023):
        match = re.search(r",pq(\d+)", choose_kind(20_000_000, dim, asked="pq"))
        assert match is None or (dim % int(match[1]) == 0 and int(match[1]) <= dim // 4)


def test_an_unknown_kind_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match="auto, flat, ivf, hnsw, pq"):
        choose_kind(10, 10, asked="annoy")


@given(counts, dims)
def test_training_and_tails_are_bounded(count: int, dim: int) -> None:
    for asked in ("ivf", "pq"):
        assert rule.training_size(choose_kind(count, dim, asked=asked)) <= 64 * 16384
    assert rule.tail_limit(count, dim) * dim * 2 <= 16 << 20
