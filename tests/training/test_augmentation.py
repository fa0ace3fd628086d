"""The ways in which training looks at photos and sentences: repeatable, and never far from what is shown and said."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.training.augmentation import _NEIGHBOURS, PhotoChanges, mirror_safe, photo_view, sentence_view
from mmsearch.training.phrases import PREFIXES, noun_phrases, runs


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))


# Photos.


def test_views_are_the_photo_its_mirror_image_and_repeatable_crops(photo: Image.Image) -> None:
    views = [photo_view(photo, 32, view, (0, 7)) for view in range(4)]
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views)
    np.testing.assert_array_equal(views[0], np.asarray(photo.resize((32, 32), Image.Resampling.BICUBIC)))
    np.testing.assert_array_equal(views[0][:, ::-1], views[1])
    np.testing.assert_array_equal(views[2], photo_view(photo, 32, 2, (0, 7)))
    assert not np.array_equal(views[2], views[3])
    assert not np.array_equal(views[2], photo_view(photo, 32, 2, (0, 8)))


def test_views_may_be_of_any_width_and_height(photo: Image.Image) -> None:
    assert all(photo_view(photo, (20, 12), view, (0,)).shape == (12, 20, 3) for view in range(4))


def test_a_crop_of_everything_without_changes_is_the_photo(photo: Image.Image) -> None:
    still = PhotoChanges(crop=(1.0, 1.0), stretch=0.0, mirror=0.0)
    for view in (1, 2, 3):
        np.testing.assert_array_equal(photo_view(photo, 32, view, (0,), still), photo_view(photo, 32, 0, (0,)))


def test_without_mirrors_no_view_is_turned_round() -> None:
    ramp = np.zeros((64, 64, 3), np.uint8)
    ramp[...] = np.arange(0, 256, 4, dtype=np.uint8)[None, :, None]
    image = Image.fromarray(ramp)
    turned = [photo_view(image, 16, view, (3,), PhotoChanges(mirror=0.0)) for view in range(20)]
    assert all(int(view[0, 0, 0]) < int(view[0, -1, 0]) for view in turned)
    turned = [photo_view(image, 16, view, (3,)) for view in range(2, 60)]
    mirrored = sum(int(view[0, 0, 0]) > int(view[0, -1, 0]) for view in turned)
    assert 15 < mirrored < 43


def test_crops_show_as_much_as_they_are_told_to() -> None:
    ramp = np.zeros((100, 100, 3), np.uint8)
    ramp[:, :, 0], ramp[:, :, 1] = np.arange(100)[None, :], np.arange(100)[:, None]
    image = Image.fromarray(ramp)
    for view in range(2, 30):
        pixels = photo_view(image, 50, view, (0,), PhotoChanges(crop=(0.3, 0.4), stretch=0.1, mirror=0.0)).astype(int)
        shown = (np.ptp(pixels[:, :, 0]) + 2) * (np.ptp(pixels[:, :, 1]) + 2) / 10_000
        assert 0.26 < shown < 0.44


def test_colours_change_mildly_and_go_rarely(photo: Image.Image) -> None:
    still = PhotoChanges(crop=(1.0, 1.0), stretch=0.0, mirror=0.0, colour=0.1)
    plain = photo_view(photo, 32, 0, (0,)).astype(float)
    changed = [photo_view(photo, 32, view, (0,), still).astype(float) for view in range(2, 12)]
    assert all(0 < np.abs(view - plain).mean() < 30 for view in changed)
    gray = PhotoChanges(gray=1.0)
    assert all(np.ptp(photo_view(photo, 32, view, (0,), gray).astype(int), axis=2).max() <= 1 for view in (2, 3))
    assert np.ptp(photo_view(photo, 32, 0, (0,), gray), axis=2).max() > 1  # view 0 is the photo as it is


@pytest.mark.parametrize(
    "wrong", [{"crop": (0.5, 1.2)}, {"crop": (0.9, 0.5)}, {"mirror": 2}, {"colour": 1}, {"gray": -1}]
)
def test_changes_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"crop|probabilities"):
        PhotoChanges(**wrong)


@pytest.mark.parametrize(
    ("caption", "safe"),
    [
        ("A dog to the left of a cat", False),
        ("The RIGHT side.", False),
        ("a right-handed batter", False),
        ("a lefthand turn", False),
        ("the leftmost car", False),
        ("it turns clockwise", False),
        ("A bright upright copyright sign", True),
        ("a dog with leftovers", True),
    ],
)
def test_captions_that_tell_left_from_right_are_not_safe_to_mirror(caption: str, safe: bool) -> None:
    assert mirror_safe(caption) == safe


# Sentences.

CAPTION = "A child in a pink dress is climbing up a set of stairs in an entry way ."
_WORDS = ["A", "a", "the", "no", "without", "dog", "Dogs,", "two", "(red)", "of", "running", "is", "over", "grass."]
_WORDS += ["Éclair", "3", "don't", "--", "it's"]
sentences = st.one_of(
    st.text(min_size=1, max_size=60),
    st.lists(st.sampled_from(_WORDS), min_size=1, max_size=15).map(" ".join),
)


def distance(one: str, other: str) -> int:
    """Edits between two texts (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, start=1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, start=1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


@given(sentences, st.integers(0, 500), st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_views_of_a_sentence_are_never_empty_repeatable_and_hardly_longer(text: str, view: int, seed: int) -> None:
    changed = sentence_view(text, view, (seed, 3))
    assert changed == sentence_view(text, view, (seed, 3))
    assert bool(changed.strip()) == bool(text.strip())
    # Capitals of some letters are two; a prefix and two letters are all that is ever added.
    assert len(changed) <= max(len(text), len(text.upper()), len(text.title())) + max(map(len, PREFIXES)) + 3
    if view == 0 or not text.strip():
        assert changed == text


def letters(text: str) -> Counter[str]:
    return Counter(letter for letter in text.casefold() if letter.isalnum())


@given(sentences, st.integers(1, 500))
@settings(max_examples=300, deadline=None)
def test_words_are_those_of_the_sentence_but_for_two_letters(text: str, view: int) -> None:
    prefix: Counter[str] = Counter()
    for words in PREFIXES:
        prefix |= letters(words)
    own = letters(text) | letters(text.upper()) | letters(text.title()) | letters(text.lower())
    assert (letters(sentence_view(text, view, (0,))) - own - prefix).total() <= 2


def views(text: str, count: int = 400) -> list[str]:
    return [sentence_view(text, view, (0,)) for view in range(1, count + 1)]


def test_people_type_in_every_one_of_these_ways() -> None:
    typed = set(views(CAPTION))
    assert CAPTION in typed and CAPTION.lower() in typed and CAPTION.upper() in typed
    assert CAPTION[:-2] in typed  # without punctuation
    assert "child pink dress climbing set stairs entry way" in typed
    assert {"pink dress", "set of stairs", "entry way"} <= typed
    assert any(text.startswith("find me a child in a pink dress") for text in typed)
    assert any("dress pink" in text for text in typed)
    assert any(1 <= distance(text, CAPTION) <= 4 and text not in (CAPTION, CAPTION[:-2]) for text in typed)
    assert len(typed) > 150


def test_slips_are_of_two_letters_at_most_and_spare_short_words_and_first_letters() -> None:
    word = "Motorcycle"
    for text in {view for view in views(word) if len(view.split()) == 1}:
        assert text[0].casefold() == "m"
        assert distance(text.casefold(), word.casefold()) <= 4  # a swap is two edits
    assert {view.casefold() for view in views("dog") if " " not in view} == {"dog"}


def test_what_is_denied_stays_so() -> None:
    for text in views("A man in no hat rides a bike , no cars", 600):
        words = [word.strip(",.") for word in text.casefold().split()]
        for at, word in enumerate(words):
            if word in ("hat", "cars", "crs", "cras", "carss"):
                assert words[at - 1] == "no", text
    for text in views("A man without a helmet", 600):
        if "helmet" in text.casefold():
            assert "w" in text.casefold().split("helmet")[0], text  # of without, which may have a slip


def test_neighbours_on_the_keyboard_are_neighbours() -> None:
    assert _NEIGHBOURS["q"] == "wa" and set(_NEIGHBOURS["g"]) == set("tyfhvb")
    assert all(letter in _NEIGHBOURS[other] for letter, others in _NEIGHBOURS.items() for other in others)


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        (CAPTION, ["child", "pink dress", "set of stairs", "entry way"]),
        ("Two dogs run through the tall grass.", ["Two dogs", "tall grass"]),
        ("The man, a surfer, rides his board in the background", ["man", "surfer", "board"]),
        ("A group of the players", ["group", "players"]),
        ("A building with no windows and without a door", ["building"]),
        ("dogs running", []),
        ("", []),
    ],
)
def test_phrases_name_things(text: str, phrases: list[str]) -> None:
    assert [" ".join(phrase) for phrase in noun_phrases(text.split())] == phrases


@given(sentences)
def test_runs_are_the_sentence_in_parts(text: str) -> None:
    parts = list(runs(text.split()))
    assert [word for run in parts for word in run] == text.split()
    assert all(1 <= len(run) <= 5 for run in parts)


def test_real_captions_become_queries(shared_data: Path) -> None:
    with (shared_data / "flickr8k" / "dev" / "captions.csv").open(encoding="utf-8", newline="") as file:
        captions = [row["caption"] for row in csv.DictReader(file)][:1000]
    typed = [sentence_view(caption, 1, (0, i)) for i, caption in enumerate(captions)]
    assert all(text.strip() for text in typed)
    same = sum(text == caption for text, caption in zip(typed, captions, strict=True)) / len(captions)
    assert 0.02 < same < 0.15
    assert np.mean([len(text.split()) for text in typed]) < np.mean([len(text.split()) for text in captions])
    assert sum(bool(noun_phrases(caption.split())) for caption in captions) > 900
