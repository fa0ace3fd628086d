from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mmsearch.media.shots import CUT, NEW, SAME, Signature, choose, difference, find_shots, signature


def _looks(seed: int, *, shift: int = 0, level: int = 256, blur: int = 0) -> Signature:
    blocks = np.random.default_rng(seed).integers(0, level, (6, 6, 3), dtype=np.uint8)
    pixels = np.roll(np.kron(blocks, np.ones((16, 16, 1), dtype=np.uint8)), shift, axis=1)
    return signature(np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur))))


A, B, DARK = _looks(1), _looks(2), _looks(3, level=20)


def _read(looks: Sequence[Signature], *, gap: float = 10.0, count: int = 100) -> list[tuple[int, int]]:
    times = [float(at) for at in range(len(looks))]
    return choose(times, looks, find_shots(times, looks, float(len(looks))), gap=gap, count=count)


def _flat(colour: tuple[int, int, int]) -> Signature:
    return signature(np.full((96, 96, 3), colour, dtype=np.uint8))


def test_a_difference_is_none_for_the_same_and_large_for_opposites() -> None:
    assert difference(A, A) == 0
    assert difference(A, B) == difference(B, A) > NEW
    assert difference(_flat((0, 0, 0)), _flat((255, 255, 255))) == pytest.approx(0.667, abs=0.01)
    assert difference(_flat((0, 0, 255)), _flat((255, 255, 0))) > 0.8
    assert difference(_flat((100, 100, 100)), _flat((104, 104, 104))) < CUT / 2


def test_unrelated_photographs_belong_to_two_shots_and_nearly_equal_ones_to_one(shared_data: object) -> None:
    paths = sorted((shared_data / "scenes").rglob("*.jpg"))[:60]  # type: ignore[operator]
    looks = []
    for path in paths:
        with Image.open(path) as image:
            looks.append(signature(np.asarray(image.convert("RGB").resize((96, 96)))))
            moved = signature(np.asarray(image.convert("RGB").resize((100, 100)).crop((2, 2, 98, 98))))
            assert difference(looks[-1], moved) < CUT
    pairs = [difference(one, other) for one, other in itertools.pairwise(looks)]
    assert np.mean(np.array(pairs) >= CUT) > 0.9


def test_shots_lie_side_by_side_from_the_beginning_to_the_end() -> None:
    red, green = _flat((200, 0, 0)), _flat((0, 200, 0))
    shots = find_shots([0.5, 1, 2, 3, 4], [red, red, green, green, red], 6.0)
    assert [(shot.start, shot.end, shot.first, shot.last) for shot in shots] == [
        (0, 2, 0, 2),
        (2, 4, 2, 4),
        (4, 6, 4, 5),
    ]


def test_a_flash_does_not_divide_a_shot() -> None:
    red, white = _flat((200, 0, 0)), _flat((255, 255, 255))
    shots = find_shots([0, 1, 2, 2.1, 3], [red, red, white, red, red], 4.0)
    assert [(shot.start, shot.end) for shot in shots] == [(0, 4)]


def test_every_shot_gives_the_frame_in_its_middle() -> None:
    red, green = _flat((200, 0, 0)), _flat((0, 200, 0))
    assert _read([red] * 5 + [green] * 3) == [(2, 0), (6, 1)]


def test_a_repeated_frame_is_left_out_and_news_are_added() -> None:
    assert _read([A] * 40) == [(5, 0)]
    other = _looks(1, shift=5)
    assert NEW <= difference(A, other) < CUT
    assert _read([A] * 6 + [other] * 4) == [(5, 0), (8, 0)]


def test_dark_and_blurred_frames_are_left_out() -> None:
    blurred = _looks(1, blur=2)
    assert SAME < difference(A, blurred) < 0.15
    assert _read([A, blurred, blurred, A])[0][0] in (0, 3)
    assert [at for at, _ in _read([DARK, DARK, A, DARK])] == [2]
    assert len(_read([DARK, DARK])) == 1


@settings(max_examples=60, deadline=None)
@given(kinds=st.lists(st.integers(0, 5), min_size=1, max_size=40), count=st.integers(1, 12), gap=st.floats(0.5, 20))
def test_no_more_frames_are_chosen_than_wanted_in_order_and_from_their_shots(
    kinds: list[int], count: int, gap: float
) -> None:
    looks = [(A, B, DARK, _flat((200, 0, 0)), _flat((0, 200, 0)), _looks(1, blur=4))[kind] for kind in kinds]
    times = [float(at) for at in range(len(looks))]
    shots = find_shots(times, looks, float(len(looks)))
    chosen = choose(times, looks, shots, gap=gap, count=count)
    assert 1 <= len(chosen) <= count
    assert [at for at, _ in chosen] == sorted({at for at, _ in chosen})
    assert all(shots[number].first <= at < shots[number].last for at, number in chosen)
    assert [shot.first for shot in shots[1:]] == [shot.last for shot in shots[:-1]]
