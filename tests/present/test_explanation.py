"""The figure of an explanation: what it colours, and that it holds whatever there is to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.errors import StorageError
from mmsearch.present.explanation import SUFFIXES, draw_explanation, heat
from mmsearch.types import Explanation

WHOLE = (0.0, 0.0, 1.0, 1.0)
GREY = Image.new("RGB", (140, 70), (128, 128, 128))


def peaked(row: int, column: int, share: float = 0.5, side: int = 7) -> NDArray[np.float32]:
    """A map that gives one place so much, and every other one as much as the rest."""
    shares = np.full((side, side), (1 - share) / (side**2 - 1), np.float32)
    shares[row, column] = share
    return shares


def even(side: int = 7) -> NDArray[np.float32]:
    return np.full((side, side), 1 / side**2, np.float32)


def explained(words: tuple[str, ...], query: str = "", **others: Any) -> Explanation:
    values: dict[str, Any] = {
        "query": query or " ".join(words),
        "encoder": "mini",
        "reranker": "mini-reranker@00000000",
        "words": words,
        "weights": (1 / len(words),) * len(words),
        "maps": np.stack([peaked(at % 7, at // 7 % 7) for at in range(len(words))]),
        "view": WHOLE,
        "similarity": 0.31,
        "retrieval_relevance": 0.4,
        "relevance": 0.9,
    }
    return Explanation(**values | others)


def drawn(explanation: Explanation, folder: Path, picture: Image.Image = GREY) -> NDArray[np.uint8]:
    draw_explanation(explanation, picture, folder / "why.png")
    with Image.open(folder / "why.png") as figure:
        return np.asarray(figure.convert("RGB"))


def colour(pixels: Any) -> NDArray[np.int64]:
    """How far each pixel is from grey."""
    values = np.asarray(pixels, np.int64)
    return np.asarray(values.max(axis=-1) - values.min(axis=-1))


def test_attention_that_is_even_colours_nothing() -> None:
    assert colour(heat(GREY, even(), WHOLE)).max() <= 1
    almost = even() + np.linspace(0, 0.002, 49, dtype=np.float32).reshape(7, 7)
    assert colour(heat(GREY, almost / almost.sum(), WHOLE)).max() < 20


def test_the_place_that_a_word_looks_at_is_coloured_and_those_far_off_are_not() -> None:
    shown = colour(heat(GREY, peaked(1, 5), WHOLE))  # (70, 140): places of 10 by 20 pixels
    assert shown[15, 110] > 100
    assert shown[:, :60].max() <= 1 and shown[40:].max() <= 1


def test_a_share_has_the_same_colour_whatever_else_there_is() -> None:
    one, two = peaked(2, 2, 0.1), peaked(2, 2, 0.1)
    two[6, 6] += 0.3
    two[0] -= 0.3 / 7 * two[0] / two[0].mean() * 0.3  # some places look darker, no place changes its colour for it
    first, second = (np.asarray(heat(GREY, shares, WHOLE), np.int64) for shares in (one, two))
    np.testing.assert_allclose(first[25, 50], second[25, 50], atol=6)


def test_more_attention_is_brighter() -> None:
    brightness = [
        np.asarray(heat(Image.new("RGB", (70, 70)), peaked(3, 3, share), WHOLE).convert("L"))[35, 35].item()
        for share in (0.03, 0.05, 0.08, 0.12, 0.16)
    ]
    assert brightness == sorted(brightness) and brightness[-1] > brightness[0] + 100


def test_what_a_model_does_not_see_is_dark_and_has_no_colour() -> None:
    shown = heat(GREY, peaked(3, 0), (0.25, 0.0, 0.75, 1.0))
    values = np.asarray(shown, np.int64)
    assert colour(values[:, :35]).max() == colour(values[:, 105:]).max() == 0
    assert values[:, :35].max() < values[5, 100].min()
    assert colour(values)[35, 40] > 100
    padded = colour(heat(GREY, peaked(3, 3), (0.0, -0.5, 1.0, 1.5)))  # the grid goes beyond the picture
    assert padded[35, 70] > 100 and padded[:, :50].max() <= 1


@pytest.mark.parametrize(("suffix", "form"), [*zip(SUFFIXES, ("PNG", "JPEG", "JPEG", "WEBP"), strict=True)])
def test_the_suffix_decides_the_format(tmp_path: Path, suffix: str, form: str) -> None:
    file = tmp_path / f"why{suffix.upper()}"
    draw_explanation(explained(("dog",)), GREY, file)
    with Image.open(file) as figure:
        assert figure.format == form
        figure.load()
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_there_is_a_tile_for_each_word(tmp_path: Path) -> None:
    sizes = [drawn(explained(tuple(f"word{at}" for at in range(count))), tmp_path).shape for count in (1, 2, 4, 9, 28)]
    assert all(size[2] == 3 for size in sizes)
    assert sizes[0][1] < sizes[1][1] and sizes[2][0] < sizes[3][0] < sizes[4][0]
    # With so small a map each tile has one coloured spot.
    assert (colour(drawn(explained(("one", "two")), tmp_path)[:, 640:]) > 100).any(axis=0).sum() > 100


@pytest.mark.parametrize("size", [(1200, 50), (50, 1200), (1, 1), (24, 1), (300, 400)])
def test_pictures_keep_their_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    figure = drawn(explained(("one", "two", "three", "four")), tmp_path, Image.new("RGB", size, (0, 90, 255)))
    blue = (figure == (0, 90, 255)).all(axis=2)
    rows, columns = blue.any(axis=1).sum(), blue.any(axis=0).sum()
    scale = min(560 / size[0], 640 / size[1])
    assert abs(columns - size[0] * scale) <= 1 and abs(rows - size[1] * scale) <= 1


@pytest.mark.parametrize(
    "words", [("x" * 3000,), ("漢字", "собака", "🐕"), ("a\u202eb", "\x1b[31m", "\udcff"), tuple("abcdefgh" * 40)]
)
def test_any_words_can_be_drawn(tmp_path: Path, words: tuple[str, ...]) -> None:
    found = explained(words[:28], " ".join(words))
    figure = drawn(found, tmp_path)
    assert figure.shape[0] < 3000
    assert (figure[:, :20] == 255).all() and (figure[:, -20:] == 255).all()  # nothing runs over the edge


def test_words_that_look_nowhere_are_pale(tmp_path: Path) -> None:
    pale = (154, 164, 175)

    def count(found: Explanation) -> int:
        return int((drawn(found, tmp_path)[325:415, :600] == pale).all(axis=2).sum())

    # The whole picture is grey: what is of that very colour below it is the query.
    assert count(explained(("owl",), "owl")) == 0 < count(explained(("owl",), "an owl"))


def test_a_chance_of_nothing_and_of_everything_can_be_drawn(tmp_path: Path) -> None:
    drawn(explained(("dog",), relevance=0.0, retrieval_relevance=1.0), tmp_path)
    drawn(explained(("dog",), relevance=0.004, retrieval_relevance=0.01), tmp_path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        draw_explanation(explained(("dog",)), GREY, tmp_path / "file" / "why.png")
