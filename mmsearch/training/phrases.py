"""The words of an English sentence go in, its phrases come out: by lists of common words, with no tagger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["DETERMINERS", "FUNCTION_WORDS", "NEGATIONS", "PREFIXES", "noun_phrases", "runs"]

PREFIXES = (
    "a photo of",
    "a picture of",
    "an image of",
    "photo of",
    "picture of",
    "image of",
    "photos of",
    "pics of",
    "find me",
    "find",
    "show me",
    "looking for",
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


NEGATIONS = _words("no not never without nobody none nothing neither nor isn't aren't doesn't don't")

DETERMINERS = _words("a an the his her its their my your our some")

FUNCTION_WORDS = _words(
    """
    about above across after against along am among and are around as at away be been before behind being below beneath
    beside between beyond both but by can could do does down during each for from had has have having he her him in
    inside into is it itself may might must near next of off on onto or other out outside over past she should so such
    than that their them then there these they this those through to together toward towards under underneath up upon
    was were what when where which while who whose will with within would
    """
)

# Verbs that captions put right after what they are about; words in -ing and -ed are known by their ends.
_VERBS = _words(
    """
    appears balances bites blows bounces brushes carries carry casts catches chase chases chews climb climbs cook cooks
    crawls cross crosses cut cuts dances digs dive dives drinks drives eat eats enjoy enjoys faces features fight fights
    flies float floats fly follows gather gets gives go goes grazes hang hangs hit hits hold holds hugs jump jumps
    kicks kiss kisses kneels lands laughs lay lays leans leap leaps lie lies lights look looks made make makes paddles
    paints pass passes performs pets play plays point points pose poses prepares pulls pushes put puts races reaches
    read reads remain remains rest rests rides roll rolls run runs sells set sets shake shakes shot show shows sing
    sings sit sits skates sleep sleeps slides smile smiles sniffs splashes stand stands stares surfs swims swings take
    takes talk talks throws touches travels tries turns use uses wades wait waits walk walks watch watches wear wears
    works
    """
)
_NUMBERS = _words("one two three four five six seven eight nine ten several many few")
_NOT_VERBS = _words(
    "bed building ceiling clothing king painting railing red ring shed sled something string thing wedding wing"
)
# What nobody searches for by itself: parts of a picture and its frame.
_PLACES = _words(
    """
    area background back bottom camera center centre corner distance edge end foreground frame front image left middle
    part photo picture portion right scene side third top viewer
    """
)
_BREAKS = '.,;:!?"()'
_LONGEST_PHRASE = 5


def runs(words: Sequence[str]) -> Iterator[list[str]]:
    """Part a sentence into phrases of words that carry its sense and what stands between them, one word each.

    A word keeps its punctuation, and what follows punctuation begins another phrase. Phrases of more than five words
    are parted.
    """
    run: list[str] = []
    for word in words:
        bare = word.strip(_BREAKS).casefold()
        joins = not bare or bare in FUNCTION_WORDS or bare in DETERMINERS or bare in NEGATIONS
        if run and (joins or word[0] in _BREAKS or len(run) == _LONGEST_PHRASE):
            yield run
            run = []
        if joins:
            yield [word]
            continue
        run.append(word)
        if word[-1] in _BREAKS:
            yield run
            run = []
    if run:
        yield run


def noun_phrases(words: Sequence[str]) -> list[list[str]]:
    """Things that a sentence names, such as ``pink dress`` or ``body of water``: what follows an article or a number.

    A phrase ends at a verb or a preposition. What stands after ``no`` or ``without`` is left out, and so are places in
    the picture (``the background``). Where no article begins anything, there is none.
    """
    phrases: list[list[str]] = []
    before: list[str] = []
    found: list[str] | None = None
    for word in [*words, "."]:
        bare = word.strip(_BREAKS).casefold()
        begins = bare in DETERMINERS or bare in _NUMBERS
        if found is not None and (begins or _ends_phrase(bare, len(found)) or word[0] in _BREAKS):
            phrases.append(found)
            found = None
        if found is not None:
            found.append(word.strip(_BREAKS))
            if word[-1] in _BREAKS:
                phrases.append(found)
                found = None
        elif begins and not NEGATIONS & set(before[-2:]):
            found = [word.strip(_BREAKS)] if bare in _NUMBERS else []
        before.append(bare)
    return [kept for phrase in phrases if (kept := _trimmed(phrase))]


def _trimmed(phrase: list[str]) -> list[str]:
    """Without a last ``of``; nothing where that leaves no thing that people search for."""
    while phrase and phrase[-1].casefold() == "of":
        phrase = phrase[:-1]
    phrase = phrase[:_LONGEST_PHRASE]
    last = phrase[-1].casefold() if phrase else ""
    return [] if not last or last in _NUMBERS or last in _PLACES or last == "of" or last.endswith("ly") else phrase


def _ends_phrase(word: str, length: int) -> bool:
    if word == "of" and length > 0:
        return False  # a body of water
    if not word or word in FUNCTION_WORDS or word in NEGATIONS:
        return True
    if length == 0 or word in _NOT_VERBS:
        return False
    return word in _VERBS or word.endswith("ing") or (word.endswith("ed") and length > 1)
