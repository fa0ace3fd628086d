"""Pictures and sentences go in, the ways in which training looks at them come out; NumPy and Pillow only.

View 0 is always the thing as it is. All others follow from the seed and the number of the view alone, so that a
training that is resumed meets the same ones, and what a frozen tower makes of them can be kept in files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.training.phrases import (
    DETERMINERS,
    FUNCTION_WORDS,
    NEGATIONS,
    PREFIXES,
    noun_phrases,
    runs,
)

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PhotoChanges", "mirror_safe", "photo_view", "sentence_view"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SIDES = re.compile(r"\b(?:left|right|clockwise|counterclockwise|anticlockwise)(?:s|most|wards?|ish)?\b", re.IGNORECASE)
_SIDES_JOINED = re.compile(r"\b(?:left|right)[- ]?(?:hand|foot|field|side|wing|turn)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PhotoChanges:
    """How far views of a picture may differ from it.

    Attributes:
        crop: Smallest and largest share of the area that a view shows.
        stretch: Bound of the logarithm of the factor by which a crop's aspect changes, besides that of the result.
        mirror: Probability that a view is mirrored; 0 where captions tell left from right (see `mirror_safe`).
        colour: Bound of the relative change of brightness, contrast and saturation.
        gray: Probability that a view has no colours; keep it rare, since captions name colours.
    """

    crop: tuple[float, float] = (0.55, 1.0)
    stretch: float = 0.22
    mirror: float = 0.5
    colour: float = 0.0
    gray: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"the shares of a crop must rise within 0 to 1, and are {self.crop}")
        if not (0 <= self.mirror <= 1 and 0 <= self.gray <= 1 and 0 <= self.colour < 1 and self.stretch >= 0):
            raise ValueError("probabilities and colour lie within 0 to 1, stretch is not negative")


def photo_view(
    image: Image.Image,
    size: int | tuple[int, int],
    view: int,
    seed: Sequence[int],
    changes: PhotoChanges = PhotoChanges(),
) -> NDArray[np.uint8]:
    """One of the ways in which training looks at a photo.

    Args:
        image: RGB.
        size: Width and height of the result, or the side of a square; the photo is squashed to it.
        view: 0 is the photo as it is, 1 its mirror image (a crop where `changes` forbids mirrors), all others are
            random crops of it, mirrored and changed in colour as `changes` says.
        seed: What the randomness begins with, together with `view`; usually a seed and the photo's index.
        changes: How far views may differ.

    Returns:
        (height, width, 3).
    """
    from PIL import Image

    rng = np.random.default_rng((*seed, view))
    box = None
    mirror = view == 1 and changes.mirror > 0
    crop = view > 0 and not mirror
    if crop:
        width, height = image.size
        area, aspect = rng.uniform(*changes.crop), np.exp(rng.uniform(-changes.stretch, changes.stretch))
        crop_width = min(width, width * np.sqrt(area * aspect))
        crop_height = min(height, height * np.sqrt(area / aspect))
        left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
        box = (left, top, min(width, left + crop_width), min(height, top + crop_height))
        mirror = bool(rng.random() < changes.mirror)
    shape = (size, size) if isinstance(size, int) else size
    pixels = np.asarray(image.resize(shape, Image.Resampling.BICUBIC, box=box))
    if mirror:
        pixels = pixels[:, ::-1]
    if crop:
        pixels = _recoloured(pixels, changes, rng)
    return np.ascontiguousarray(pixels)


def _recoloured(pixels: NDArray[np.uint8], changes: PhotoChanges, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(height, width, 3), with brightness, contrast and saturation changed in this order."""
    brightness, contrast, saturation = rng.uniform(1 - changes.colour, 1 + changes.colour, 3)
    if rng.random() < changes.gray:
        saturation = 0.0
    elif changes.colour == 0:
        return pixels
    values = pixels.astype(np.float32) * np.float32(brightness)
    middle = (values @ _LUMA).mean()
    values = middle + (values - middle) * np.float32(contrast)
    luma = (values @ _LUMA)[:, :, None]
    values = luma + (values - luma) * np.float32(saturation)
    return np.asarray(values.round().clip(0, 255), np.uint8)


def mirror_safe(caption: str) -> bool:
    """Whether a caption still holds for the mirror image: false where it says left or right, in whatever sense."""
    return not (_SIDES.search(caption) or _SIDES_JOINED.search(caption))


_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {
    letter: "".join(
        other
        for near, keys in enumerate(_ROWS)
        for column, other in enumerate(keys)
        if other != letter and abs(near - row) <= 1 and abs(column + near / 2 - at - row / 2) <= 1
    )
    for row, letters in enumerate(_ROWS)
    for at, letter in enumerate(letters)
}
_PUNCTUATION = re.compile(r"(?<!\w)[^\w\s]+|[^\w\s]+(?!\w)")


def sentence_view(text: str, view: int, seed: Sequence[int]) -> str:
    """One of the ways in which people type a sentence into a search box.

    A view changes what is said at most once (words before it, words left out, words of a phrase in another order, one
    noun phrase alone), then how it is written at most once (punctuation, capitals), and then up to two letters. It
    says nothing that the sentence does not: no words are added but such as "a photo of", and "no" and "without" stay.

    Args:
        text: A sentence; it is never made empty.
        view: 0 is the text as it is.
        seed: What the randomness begins with, together with `view`; usually a seed and the caption's index.
    """
    words = text.split()
    if view == 0 or not words:
        return text
    rng = np.random.default_rng((*seed, view))
    words = _CHANGES[rng.choice(len(_CHANGES), p=_CHANCES)](words, rng) or words
    written = " ".join(words)
    written = _STYLES[rng.choice(len(_STYLES), p=_STYLE_CHANCES)](written).strip() or written
    if rng.random() < _TYPO_CHANCE:
        for _ in range(1 + int(rng.random() < 0.25)):
            written = _mistyped(written, rng)
    return written


def _as_is(words: list[str], rng: np.random.Generator) -> list[str]:
    return words


def _prefixed(words: list[str], rng: np.random.Generator) -> list[str]:
    first = words[0]
    if first[1:] == first[1:].lower() and _joins(first):
        first = first.lower()
    return [*PREFIXES[rng.integers(len(PREFIXES))].split(), first, *words[1:]]


def _telegraphic(words: list[str], rng: np.random.Generator) -> list[str]:
    """Without words that only join others, as most queries are."""
    return [word for word in words if not _joins(word)]


def _thinned(words: list[str], rng: np.random.Generator) -> list[str]:
    """Without some words, but never without those that deny, nor what they deny."""
    dropped = rng.random(len(words)) < np.where([_joins(word) for word in words], 0.4, 0.12)
    denied = [_bare(word) in NEGATIONS for word in words]
    return [word for i, word in enumerate(words) if not dropped[i] or any(denied[max(0, i - 3) : i + 1])]


def _reordered(words: list[str], rng: np.random.Generator) -> list[str]:
    """The words within phrases in another order; none leaves its phrase, and what is denied stays so."""
    mixed: list[str] = []
    for run in runs(words):
        denied = any(_bare(word) in NEGATIONS for word in [*mixed[-1:], *run])
        mixed += run if denied else [run[i] for i in rng.permutation(len(run))]
    return mixed


def _phrase(words: list[str], rng: np.random.Generator) -> list[str]:
    """One of the things that are named, longer names sooner: a single word fits most pictures."""
    phrases = noun_phrases(words)
    if not phrases:
        return words
    lengths = np.array([len(phrase) ** 2 for phrase in phrases])
    return phrases[rng.choice(len(phrases), p=lengths / lengths.sum())]


def _mistyped(text: str, rng: np.random.Generator) -> str:
    """With one slip in a word of at least four letters, not in its first: people get that right."""
    places = [i for match in re.finditer(r"[^\W\d_]{4,}", text) for i in range(match.start() + 1, match.end())]
    if not places:
        return text
    at = int(rng.choice(places))
    letter = text[at]
    match rng.integers(4):
        case 0 if at + 1 < len(text) and text[at + 1].isalpha():
            return text[:at] + text[at + 1] + letter + text[at + 2 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case 2 if letter.lower() in _NEIGHBOURS:
            near = _NEIGHBOURS[letter.lower()]
            typed = near[rng.integers(len(near))]
            return text[:at] + (typed.upper() if letter.isupper() else typed) + text[at + 1 :]
        case _:
            return text[:at] + letter + text[at:]


def _joins(word: str) -> bool:
    """Whether a word only joins others."""
    bare = _bare(word)
    return bare in FUNCTION_WORDS or bare in DETERMINERS


def _bare(word: str) -> str:
    return word.strip(".,;:!?\"'()").casefold()


def _without_punctuation(text: str) -> str:
    return " ".join(_PUNCTUATION.sub(" ", text).split())


_Change = Callable[[list[str], np.random.Generator], list[str]]
_CHANGES: tuple[_Change, ...] = (_as_is, _prefixed, _telegraphic, _thinned, _reordered, _phrase)
_CHANCES = (0.3, 0.15, 0.15, 0.15, 0.1, 0.15)
_STYLES: tuple[Callable[[str], str], ...] = (
    str,
    str.lower,
    _without_punctuation,
    lambda text: _without_punctuation(text).lower(),
    str.upper,
    str.title,
)
_STYLE_CHANCES = (0.25, 0.25, 0.15, 0.2, 0.08, 0.07)
_TYPO_CHANCE = 0.25
