"""A caption goes in, sentences of nearly the same words that say something else come out: hard negatives, and tests.

What a model that takes a sentence for a bag of words cannot tell apart: who does what, which thing has which colour,
how many there are. By lists of common words, with no tagger.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

__all__ = ["COLOURS", "COUNTS", "KINDS", "distort", "distortions"]


def _words(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


COLOURS = _words("red blue green yellow orange purple pink black white brown gray tan")
COUNTS = _words("one two three four five six")
_SAME = {"grey": "gray", "blond": "yellow", "blonde": "yellow", "golden": "yellow"}

_ADJECTIVES = frozenset(
    (
        *COLOURS,
        *_SAME,
        *_words(
            """
            bald big bright clear colorful dark dirty dry elderly empty fluffy furry grassy huge large little long metal
            muddy naked old plaid plastic rocky rusty sandy shallow shiny shirtless short small smiling snowy spotted
            striped sunny tall tan tiny wet wide wooden wood young older younger leather concrete stone brick
            """
        ),
    )
)
_ONE = frozenset(
    _words(
        """
        adult animal baby backpack bag ball balloon bank baseball basket basketball beach bed bench bicycle bike biker
        bird boat bottle box boy branch bride bridge building bus camera canoe car cart cat chair child cliff climber
        coat couch cow cup cyclist dancer desk dog door dress driver duck fence field fish flag flower football forest
        fountain frisbee garden gate girl goat grass guitar guy hat helmet hill horse house jacket kayak kid kitchen
        lady lake lamp leash log man mask microphone motorcycle mountain ocean paddle park parrot path phone pier
        player pole pond pool puddle puppy racket railing ramp restaurant river road rock roof room rope runner sand
        scarf sea sheep shirt shop shore sidewalk sign skateboard skateboarder skater skier sled slide snow snowboard
        snowboarder sofa stick stream street surfboard surfer sweater swimmer swing table teenager tent toddler toy
        track trail trampoline tree truck tunnel umbrella van vest wall water wave window woman worker yard zebra
        """
    )
)
_SEVERAL = frozenset(
    _words(
        """
        adults animals babies bags balls bikes birds boats boys buildings cars chairs children cliffs dogs flags
        flowers girls guys hats horses houses jackets kids ladies men mountains people players rocks shirts signs
        sticks swimmers tables teenagers toddlers toys trees waves women
        """
    )
)
_ARTICLES = ("a", "an")
_BETWEEN = frozenset((*_words("a an the and or , with her his their one two three four five six"), *_ADJECTIVES))
_MARKS = '.,;:!?"()'


def _bare(word: str) -> str:
    return word.strip(_MARKS).casefold()


def _with(word: str, bare: str) -> str:
    """Another word in the clothes of the first: its punctuation, and its capital if it has one."""
    core = word.strip(_MARKS)
    if not core:
        return word
    dressed = bare.capitalize() if core[0].isupper() else bare
    return word.replace(core, dressed, 1)


def _agreeing(words: list[str], *changed: int) -> list[str]:
    """The words with ``a`` and ``an`` before those that were changed as these ask for; others stay as they are."""
    for at in changed:
        if at and _bare(words[at - 1]) in _ARTICLES and _bare(words[at]):
            words[at - 1] = _with(words[at - 1], "an" if _bare(words[at])[0] in "aeiou" else "a")
    return words


def _exchanged(words: Sequence[str], first: int, second: int) -> list[str]:
    changed = list(words)
    changed[first] = _with(words[first], _bare(words[second]))
    changed[second] = _with(words[second], _bare(words[first]))
    return _agreeing(changed, first, second)


def _listed(words: Sequence[str], first: int, second: int) -> bool:
    """Whether two words stand in one list (``a man and a woman``), so that their order says nothing."""
    between = [_bare(word) for word in words[first + 1 : second]]
    return ("and" in between or "or" in between) and all(word in _BETWEEN for word in between)


def _swapped(words: Sequence[str], pairs: list[tuple[int, int]], rng: random.Random) -> list[str] | None:
    usable = [(a, b) for a, b in pairs if _bare(words[a]) != _bare(words[b]) and not _listed(words, a, b)]
    return _exchanged(words, *rng.choice(usable)) if usable else None


def _swapped_nouns(words: Sequence[str], rng: random.Random) -> list[str] | None:
    found: list[tuple[int, int]] = []
    for nouns in (_ONE, _SEVERAL):
        places = [at for at, word in enumerate(words) if _bare(word) in nouns and not _modifies(words, at)]
        found += [(a, b) for i, a in enumerate(places) for b in places[i + 1 :]]
    return _swapped(words, found, rng)


def _modifies(words: Sequence[str], at: int) -> bool:
    """Whether a noun stands before another, as in ``tennis ball``."""
    following = _bare(words[at + 1]) if at + 1 < len(words) and _bare(words[at]) == words[at].casefold() else ""
    return following in _ONE or following in _SEVERAL


def _swapped_adjectives(words: Sequence[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words[:-1]) if _bare(word) in _ADJECTIVES and _noun_after(words, at)]
    pairs = [
        (a, b)
        for i, a in enumerate(places)
        for b in places[i + 1 :]
        if _noun_after(words, a) != _noun_after(words, b) and _same(words[a]) != _same(words[b])
    ]
    return _swapped(words, pairs, rng)


def _noun_after(words: Sequence[str], at: int) -> str:
    """The noun that an adjective stands before, or nothing."""
    for word in words[at + 1 : at + 4]:
        bare = _bare(word)
        if bare in _ONE or bare in _SEVERAL:
            return bare
        if bare not in _ADJECTIVES:
            return bare if bare.isalpha() and bare not in _BETWEEN and len(bare) > 3 else ""
    return ""


def _same(word: str) -> str:
    return _SAME.get(_bare(word), _bare(word))


def _changed(words: Sequence[str], among: Sequence[str], rng: random.Random) -> list[str] | None:
    places = [at for at, word in enumerate(words) if _same(word) in among]
    if not places:
        return None
    at = rng.choice(places)
    changed = list(words)
    taken = {_same(word) for word in words}
    free = [word for word in among if word not in taken]
    if not free:
        return None
    changed[at] = _with(words[at], rng.choice(free))
    return _agreeing(changed, at)


def _changed_colour(words: Sequence[str], rng: random.Random) -> list[str] | None:
    return _changed(words, COLOURS, rng)


def _changed_count(words: Sequence[str], rng: random.Random) -> list[str] | None:
    # "One" is as often a pronoun, and another number would ask for another form of the noun.
    several = [word for word in COUNTS if word != "one"]
    return _changed(words, several, rng)


KINDS: Mapping[str, Callable[[Sequence[str], random.Random], list[str] | None]] = {
    "nouns swapped": _swapped_nouns,
    "adjectives swapped": _swapped_adjectives,
    "colour changed": _changed_colour,
    "count changed": _changed_count,
}
"""What can be done to a caption: words and a source of chance -> other words, or None where there is nothing to do."""


def distortions(caption: str, rng: random.Random) -> dict[str, str]:
    """Every kind of distortion that a caption allows, one of each.

    Args:
        caption: One sentence.
        rng: Chooses among the words; the same seed gives the same sentences.

    Returns:
        Kind (see `KINDS`) -> the sentence; empty where nothing can be distorted.
    """
    words = caption.split()
    found = {kind: make(words, rng) for kind, make in KINDS.items()}
    return {kind: " ".join(changed) for kind, changed in found.items() if changed and changed != words}


def distort(caption: str, rng: random.Random) -> str | None:
    """One distortion of a caption, of any kind that it allows; None where it allows none."""
    found = distortions(caption, rng)
    return found[rng.choice(sorted(found))] if found else None
