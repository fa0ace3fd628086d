"""Questions whose answers are known, for fitting and checking relevance: captions, words, classes, and nonsense.

What matches: of a caption of Flickr8k's dev set its photo alone (other photos that fit it too are not labelled, so true
relevance is higher than what is counted), of a word the photos with a caption that has it, of two or three words those
whose captions have all, of a class of Caltech101 or of the flowers its pictures, of nonsense nothing. Everything is
seeded. The halves have no photo, caption, word or class in common.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from calibration import SEEN
from calibration import WORDS as COMMON
from nonsense import SENTENCES, random_letters, random_words
from numpy.typing import NDArray
from record import work_folder

from mmsearch.media.image import read_image
from mmsearch.query.relevance import specificity

WORDS = [
    *COMMON,
    "child",
    "player",
    "frisbee",
    "rope",
    "tent",
    "fence",
    "bicycle",
    "motorcycle",
    "skier",
    "climber",
    "ocean",
    "lake",
    "sand",
    "building",
    "bird",
    "cat",
    "train",
    "kite",
    "flower",
    "umbrella",
    "toy",
    "sled",
    "surfer",
    "fountain",
    "tennis",
    "basketball",
    "soccer",
    "baseball",
]
COMBINED = 200
SEED = 0


@dataclass(frozen=True)
class Questions:
    """Texts or pictures that ask: their embeddings (q, dim), and how much they say (q,)."""

    name: str
    embeddings: NDArray[np.float32]
    specificity: NDArray[np.float64]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """Questions, what is searched, and what matches.

    Attributes:
        name: Of the set.
        scores: (q, n).
        match: (q, n).
        specificity: (q,).
        rows: (q,) the questions' places in what they were taken from.
        columns: (n,) the places of what is searched.
        weight: How much the set counts in fitting.
    """

    name: str
    scores: NDArray[np.float32]
    match: NDArray[np.bool_]
    specificity: NDArray[np.float64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weight: float = 1.0

    @property
    def nonsense(self) -> bool:
        """Whether nothing was meant to match."""
        return not self.match.any() and not self.name.startswith("absent")


class Data:
    """The embeddings of one encoder, kept in the work folder."""

    def __init__(self, encoder: Any, folder: Path) -> None:
        self.encoder = encoder
        self._folder = folder
        slug = re.sub(r"\W+", "-", encoder.id)
        self._work = work_folder() / "relevance" / slug
        self._work.mkdir(parents=True, exist_ok=True)
        dev = folder / "flickr8k" / "dev"
        with (dev / "captions.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        names = sorted({row["image"] for row in rows})
        place = {name: at for at, name in enumerate(names)}
        self.captions = [row["caption"] for row in rows]
        self.owners = np.array([place[row["image"]] for row in rows])
        self.files = [dev / "images" / name for name in names]
        self.photos = self.kept("dev", lambda: self.pictures(self.files))
        self.sentences = self.questions("captions", self.captions)
        self.words = self.questions("words", WORDS)
        said = [caption.lower() for caption in self.captions]
        self.has = np.zeros((len(WORDS), len(names)), bool)
        for at, word in enumerate(WORDS):
            pattern = re.compile(rf"\b{word}(s|es)?\b")
            for caption, owner in zip(said, self.owners.tolist(), strict=True):
                self.has[at, owner] |= bool(pattern.search(caption))
        self.caption_has = np.array([[bool(re.search(rf"\b{word}(s|es)?\b", text)) for text in said] for word in WORDS])
        self.combined = {count: self._combined(count) for count in (2, 3)}
        self.nonsense = {
            kind: self.questions(kind, texts)
            for kind, texts in {
                "letters": random_letters(200, SEED),
                "keys": random_letters(200, SEED + 1, keys=True),
                "random words": random_words(200, SEED),
                "other domains": SENTENCES,
            }.items()
        }

    def kept(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """An array that is made once."""
        file = self._work / f"{name}.npy"
        if not file.exists():
            np.save(file, make())
        return np.asarray(np.load(file))

    def pictures(self, files: Sequence[Path]) -> NDArray[np.float32]:
        """Embed pictures."""
        encoder, rows = self.encoder, []
        for start in range(0, len(files), 64):
            batch = [read_image(path, target_side=encoder.image_size).image for path in files[start : start + 64]]
            rows.append(encoder.encode_images([encoder.prepare_image(image) for image in batch]))
        return np.concatenate(rows)

    def questions(self, name: str, texts: Sequence[str]) -> Questions:
        """Embed texts that ask."""
        rows = self.kept(f"text-{name.replace(' ', '-')}", lambda: self.encoder.encode_texts(list(texts)))
        return Questions(name, rows, np.array([specificity(text) for text in texts]), tuple(texts))

    def classes(self, folder: str, most: int = 1000) -> tuple[NDArray[np.float32], NDArray[np.int64], Questions]:
        """Pictures in folders by class, their labels, and the names as questions."""
        folders = sorted(path for path in (self._folder / folder).iterdir() if path.is_dir())
        files = [(file, at) for at, own in enumerate(folders) for file in sorted(own.iterdir())[:most]]
        rows = self.kept(f"{folder}-{most}", lambda: self.pictures([file for file, _ in files]))
        names = [own.name.replace("_", " ") for own in folders]
        return rows, np.array([label for _, label in files]), self.questions(f"{folder}-names", names)

    def scenes(self) -> NDArray[np.float32]:
        """Photos that no caption asks for."""
        return self.kept("scenes", lambda: self.pictures(sorted((self._folder / "scenes").glob("*.jpg"))))

    def together(self, count: int) -> NDArray[np.bool_]:
        """Which captions have several words all."""
        places = {word: at for at, word in enumerate(WORDS)}
        rows = [[places[word] for word in text.replace(" and ", " ").split()] for text in self.combined[count][0].texts]
        return np.array([self.caption_has[row].all(axis=0) for row in rows])

    def _combined(self, count: int) -> tuple[Questions, NDArray[np.bool_]]:
        """Several words at once, and the photos whose captions have all."""
        rng = random.Random(SEED + count)
        texts, match = [], []
        while len(texts) < COMBINED:
            chosen = rng.sample(range(len(WORDS)), count)
            both = self.has[chosen].all(axis=0)
            if both.sum() >= 2:
                texts.append((" and " if count == 2 else " ").join(WORDS[at] for at in chosen))
                match.append(both)
        return self.questions(f"{count} words", texts), np.array(match)


def part(
    name: str,
    questions: Questions,
    things: NDArray[np.float32],
    match: NDArray[np.bool_],
    rows: NDArray[Any],
    columns: NDArray[Any],
    weight: float = 1.0,
) -> Asked:
    """Some of the questions, put to some of the things."""
    rows, columns = (np.flatnonzero(own) if own.dtype == bool else own for own in (rows, columns))
    scores = questions.embeddings[rows] @ things[columns].T
    return Asked(name, scores, match[np.ix_(rows, columns)], questions.specificity[rows], rows, columns, weight)


def _sizes(*sizes: int) -> Iterator[tuple[int, float]]:
    """Sizes of libraries, small ones several times, and how much each then counts."""
    for size in sizes:
        times = max(1, min(5, 200 // size))
        for _ in range(times):
            yield size, 1 / times


def text_image(data: Data, half: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Libraries of 20 to some thousand photos, asked for with captions, words and names that one half has."""
    photos, own = data.photos, np.arange(len(data.photos)) % 2 == half
    label = data.owners[:, None] == np.arange(len(photos))
    texts = {
        "words": (data.words, data.has),
        "2 words": data.combined[2],
        "3 words": data.combined[3],
    }
    for size, share in _sizes(6, 20, 50, 100, 200, 500):
        columns = rng.permutation(np.flatnonzero(own))[:size]
        there = np.flatnonzero(np.isin(data.owners, columns))
        yield part(f"captions in {size}", data.sentences, photos, label, there[:1000], columns, share)
        absent = rng.permutation(np.flatnonzero(own[data.owners] & ~np.isin(data.owners, columns)))[:200]
        if absent.size:
            yield part(f"absent in {size}", data.sentences, photos, label, absent, columns, 0.1 * share)
        for name, (questions, match) in texts.items():
            rows = match[:, columns].any(axis=1) & (np.arange(len(match)) % 2 == half)
            if rows.any():
                yield part(f"{name} in {size}", questions, photos, match, rows, columns, share)
                without = columns[~match[rows][:, columns].any(axis=0)]
                if without.size >= 5:
                    yield part(f"absent {name} in {size}", questions, photos, match, rows, without, 0.1 * share)
        for name, questions in data.nonsense.items():
            if name == "keys":  # never fitted on
                continue
            nothing = np.zeros((len(questions.embeddings), len(photos)), bool)
            rows = np.arange(len(nothing)) % 2 == half
            yield part(f"{name} in {size}", questions, photos, nothing, rows, columns, share)
    caltech, labels, names = data.classes("caltech101", 28)
    right = np.arange(len(names.embeddings))[:, None] == labels
    asking = np.arange(len(right)) % 2 == half
    for size in (50, 700):
        columns = rng.permutation(np.flatnonzero(labels % 2 == half))[:size]
        yield part(f"caltech in {size}", names, caltech, right, asking & right[:, columns].any(axis=1), columns)
    others = np.concatenate([data.scenes(), data.classes("flowers")[0], caltech])
    for size in (500, len(others)):
        more = np.concatenate([photos, others[rng.permutation(len(others))[:size]]])
        wide = np.concatenate([label, np.zeros((len(label), size), bool)], axis=1)
        columns = np.concatenate([np.flatnonzero(own), np.arange(len(photos), len(more))])
        rows = rng.permutation(np.flatnonzero(own[data.owners]))[:800]
        yield part(f"captions in {columns.size}", data.sentences, more, wide, rows, columns)
        for name, questions in data.nonsense.items():
            if name != "keys":
                nothing = np.zeros((len(questions.embeddings), len(more)), bool)
                yield part(name, questions, more, nothing, np.arange(len(nothing)) % 2 == half, columns)


def image_text(data: Data, half: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Photos that ask for their captions, and pictures for the name of their class."""
    asking = Questions("photos", data.photos, np.ones(len(data.photos)))
    label = np.arange(len(data.photos))[:, None] == data.owners
    own = np.arange(len(data.photos)) % 2 == half
    for size, share in _sizes(10, 50, 200, 500):
        rows = rng.permutation(np.flatnonzero(own))[:size]
        columns = np.isin(data.owners, rows)
        yield part(f"captions in {columns.sum()}", asking, data.sentences.embeddings, label, rows, columns, share)
        absent = rng.permutation(np.flatnonzero(own & ~np.isin(np.arange(len(own)), rows)))[:50]
        if absent.size:
            yield part("absent", asking, data.sentences.embeddings, label, absent, columns, 0.1 * share)
    caltech, labels, names = data.classes("caltech101", 28)
    classes = np.arange(len(names.embeddings))
    some = Questions("pictures", caltech, np.ones(len(caltech)))
    yield part("names", some, names.embeddings, labels[:, None] == classes, labels % 2 == half, classes % 2 == half)


def image_image(data: Data, half: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Pictures that ask for others of their class, with and without photos of something else around."""
    caltech, labels, _ = data.classes("caltech101", 28)
    flowers, kinds, _ = data.classes("flowers")
    others = np.concatenate([data.scenes(), data.photos])
    for name, pictures, own in (("caltech", caltech, labels), ("flowers", flowers[::4], kinds[::4])):
        for size in (0, 200, 1500):
            more = np.concatenate([pictures, others[rng.permutation(len(others))[:size]]])
            match = own[:, None] == np.concatenate([own, np.full(size, -1)])
            rows = np.flatnonzero(own % 2 == half)
            columns = np.concatenate([rows, np.arange(len(pictures), len(more))])
            asked = part(f"{name} in {columns.size}", Questions(name, pictures, np.ones(len(own))), more, match, rows,
                         columns)  # fmt: skip
            asked.scores[np.arange(rows.size), np.arange(rows.size)] = asked.scores.min()  # itself is no news
            asked.match[np.arange(rows.size), np.arange(rows.size)] = False
            yield asked
            away = np.concatenate([np.flatnonzero(own % 2 != half), np.arange(len(pictures), len(more))])
            yield part(f"absent {name} in {away.size}", Questions(name, pictures, np.ones(len(own))), more, match, rows,
                       away, 0.2)  # fmt: skip
    # Scenes: photos that show two of the same things, by what two captions of each say.
    named = np.zeros((len(data.photos), len(WORDS)), np.int64)
    np.add.at(named, data.owners, data.caption_has.T.astype(np.int64))
    shows = (named >= 2).astype(np.int64)
    alike = shows @ shows.T >= 2
    np.fill_diagonal(alike, False)
    asking = Questions("photos", data.photos, np.ones(len(data.photos)))
    for size, share in _sizes(50, 200, 500):
        columns = rng.permutation(np.flatnonzero(np.arange(len(data.photos)) % 2 == half))[:size]
        rows = columns[alike[columns][:, columns].any(axis=1)]
        scenes = part(f"scenes in {size}", asking, data.photos, alike, rows, columns, share)
        scenes.scores[rows[:, None] == columns] = scenes.scores.min()
        yield scenes


def text_text(data: Data, half: int, rng: np.random.Generator) -> Iterator[Asked]:
    """Captions that ask for others of their photo, and words for captions that have them."""
    texts, own = data.sentences, data.owners % 2 == half
    label = data.owners[:, None] == data.owners
    np.fill_diagonal(label, False)
    for size, share in _sizes(2, 5, 10, 50, 200, 500):
        photos = rng.permutation(np.flatnonzero(np.arange(len(data.photos)) % 2 == half))[:size]
        columns = np.flatnonzero(np.isin(data.owners, photos))
        rows = rng.permutation(columns)[:500]
        asked = part(f"captions in {columns.size}", texts, texts.embeddings, label, rows, columns, share)
        asked.scores[rows[:, None] == columns] = asked.scores.min()
        yield asked
        absent = rng.permutation(np.flatnonzero(own & ~np.isin(data.owners, photos)))[:100]
        if absent.size:
            yield part("absent", texts, texts.embeddings, label, absent, columns, 0.1 * share)
        for questions in data.nonsense.values():
            if questions.name != "keys":
                nothing = np.zeros((len(questions.embeddings), len(own)), bool)
                rows = np.arange(len(nothing)) % 2 == half
                yield part(questions.name, questions, texts.embeddings, nothing, rows, columns, share)
        words = data.caption_has[:, columns].any(axis=1) & (np.arange(len(WORDS)) % 2 == half)
        yield part(f"words in {columns.size}", data.words, texts.embeddings, data.caption_has, words, columns, share)
        if size >= 10:
            for count in (2, 3):
                questions, match = data.combined[count][0], data.together(count)
                rows = match[:, columns].any(axis=1) & (np.arange(len(match)) % 2 == half)
                if rows.any():
                    yield part(
                        f"{count} words in {columns.size}", questions, texts.embeddings, match, rows, columns, share
                    )


def noise(rng: np.random.Generator) -> Iterator[Asked]:
    """Scores of which none means anything, as an encoder may give that does not know what is asked."""
    for size in (3, 10, 30, 100, 300, 1000, 3000):
        for specific in (0.0, 0.5, 1.0):
            scores = rng.normal(0.1, 0.05, (100, size)).astype(np.float32)
            nothing = np.zeros(scores.shape, bool)
            yield Asked("noise", scores, nothing, np.full(100, specific), np.arange(100), np.arange(size))


# Classes of sounds that photos of Flickr8k show, and the word that their captions have then.


def sounds(data: Data, folds: Sequence[Path], rng: np.random.Generator) -> dict[tuple[str, str], list[Asked]]:
    """Between sounds and the rest: clips that the towers which embedded them had not heard, by pair of modalities."""
    found: dict[tuple[str, str], list[Asked]] = {}
    named = np.array([[word in caption.lower() for word in SEEN.values()] for caption in data.captions])
    # What a photo shows of what is heard, by what two of its captions say.
    shows = np.array([named[data.owners == photo].sum(axis=0) >= 2 for photo in range(len(data.photos))])
    for number, file in enumerate(folds):
        fold = np.load(file)
        clips, labels, names = fold["embeddings"], fold["labels"], [str(name) for name in fold["names"]]
        words = data.questions("sound-names", names)
        kinds = np.arange(len(names))
        heard = Questions("clips", clips, np.ones(len(clips)))
        columns = [names.index(name) for name in SEEN]
        sees = np.zeros((len(clips), len(data.photos)), bool)
        for place, column in enumerate(columns):
            sees[labels == column] = shows[:, place]
        own = labels[:, None] == labels
        np.fill_diagonal(own, False)
        seen = shows.any(axis=1)
        photos = Questions("photos", data.photos, np.ones(len(seen)))
        pairs = {
            ("text", "audio"): (words, clips, kinds[:, None] == labels),
            ("audio", "text"): (heard, words.embeddings, labels[:, None] == kinds),
            ("audio", "audio"): (heard, clips, own),
            ("audio", "image"): (heard, data.photos, sees),
            ("image", "audio"): (photos, clips, sees.T),
        }
        for pair, (questions, things, match) in pairs.items():
            sets = found.setdefault(pair, [])
            for size in (len(things), max(5, len(things) // 2), max(4, len(things) // 8)):
                chosen = rng.permutation(len(things))[:size]
                there = match[:, chosen].any(axis=1)
                rows = np.flatnonzero(there)
                sets.append(part(f"fold {number + 1}", questions, things, match, rows, chosen))
                rows = np.flatnonzero(~there)
                if rows.size:
                    sets.append(part(f"absent fold {number + 1}", questions, things, match, rows, chosen, 0.2))
            if pair == ("audio", "audio"):
                for asked in sets[-6:]:
                    asked.scores[asked.rows[:, None] == asked.columns] = asked.scores.min()
            if pair == ("text", "audio"):
                for nothing in data.nonsense.values():
                    none = np.zeros((len(nothing.embeddings), len(things)), bool)
                    some = np.arange(0, len(none), 4)
                    sets.append(part("absent", nothing, things, none, some, np.arange(len(things)), 0.05))
    return found
