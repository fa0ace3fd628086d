"""Sentences become the states of the words that carry their sense."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.encoders.mini_text import TextTower
from mmsearch.errors import EncoderError
from mmsearch.rerank import words as module
from mmsearch.rerank.words import WordReader


@pytest.fixture(scope="module")
def mini() -> MiniEncoder:
    return MiniEncoder()


@pytest.fixture(scope="module")
def tower() -> TextTower:
    return TextTower(MODELS)


@pytest.fixture
def reader(mini: MiniEncoder) -> WordReader:
    return WordReader((0,), mini)


@pytest.mark.parametrize(
    ("sentence", "pieces"),
    [
        ("A man and the woman's dog , it is of an old one .", "man woman dog old one"),
        ("dog", "dog"),
        ("The skateboarder: jumps!", "skate ##board ##er jumps"),
        ("two dogs; it's its ball-park", "two dogs ball park"),
        ("", "[CLS]"),
        (". , ; : ! - '", "[CLS]"),
        ("a the of", "[CLS]"),
        ("why ?", "why ?"),
    ],
)
def test_words_that_say_nothing_by_themselves_are_passed_over(reader: WordReader, sentence: str, pieces: str) -> None:
    words = reader.read([sentence])
    assert words.pieces == tuple(pieces.split())
    assert words.states.shape == (len(words.pieces), 384) and words.states.dtype == np.float32
    assert np.isfinite(words.states).all() and words.owners.tolist() == [0] * len(words.pieces)


def test_of_a_long_sentence_the_first_words_count(reader: WordReader) -> None:
    counted = " ".join(str(number) for number in range(1000))
    words = reader.read([counted, "x " * 100_000, "a dog"])
    assert np.bincount(words.owners).tolist() == [28, 28, 1]
    assert words.pieces[:5] == ("0", "1", "2", "3", "4")


def test_states_are_those_of_the_whole_sentence(tower: TextTower, reader: WordReader) -> None:
    ((ids, states),) = tower.states(["a man walks the dog"])
    assert [tower.piece(id_) for id_ in ids] == ["[CLS]", "a", "man", "walks", "the", "dog", "[SEP]"]
    np.testing.assert_allclose(reader.read(["a man walks the dog"]).states, states[[2, 3, 5]], atol=1e-5)
    other = reader.read(["the dog walks a man"]).states
    assert np.abs(other[2] - states[2]).max() > 0.1  # the same man elsewhere


def test_a_sentence_alone_or_among_others_gives_the_same_states(mini: MiniEncoder, reader: WordReader) -> None:
    sentences = ["a dog", "two men on a bench", "", "a dog", *(f"{number} red boats at sea" for number in range(40))]
    together = reader.read(sentences)
    assert together.owners.tolist() == sorted(together.owners.tolist())
    assert len(np.unique(together.owners)) == len(sentences)
    for place, sentence in enumerate(sentences):
        own = WordReader((0,), mini).read([sentence])
        rows = together.owners == place
        np.testing.assert_allclose(together.states[rows], own.states, atol=2e-5)
        assert tuple(np.array(together.pieces)[rows]) == own.pieces
    again = reader.read(sentences[::-1])
    np.testing.assert_array_equal(again.states[again.owners == len(sentences) - 1], together.states[:1])


def test_depths_stand_beside_each_other(tower: TextTower, mini: MiniEncoder) -> None:
    sentence = "a boat on the lake"
    found = WordReader((0, 2, 6), mini).read([sentence]).states
    assert found.shape == (3, 3 * 384)
    for place, depth in enumerate((0, 2, 6)):
        own = WordReader((depth,), mini).read([sentence]).states
        np.testing.assert_allclose(found[:, 384 * place : 384 * (place + 1)], own, atol=1e-6)
    np.testing.assert_array_equal(found[:, :384], found[:, 768:])  # the tower has six layers: 0 is all of them
    assert np.abs(found[:, :384] - found[:, 384:768]).max() > 0.1
    ((_, shallow),) = tower.states([sentence], (2,))
    np.testing.assert_allclose(shallow[[2, 3, 5]], found[:, 384:768], atol=1e-6)


def test_a_depth_that_the_tower_does_not_have_is_told(tower: TextTower, mini: MiniEncoder) -> None:
    with pytest.raises(EncoderError):
        tower.states(["a dog"], (7,))
    with pytest.raises(EncoderError):
        WordReader((7,), mini).read(["a dog"])


def test_what_is_remembered_is_bounded_and_forgetting_changes_nothing(
    mini: MiniEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_KEPT_BYTES", 20 * 384 * 4)
    reader = WordReader((0,), mini)
    first = reader.read(["two dogs"]).states
    for number in range(0, 60, 6):
        batch = [f"the boat {place}" for place in range(number, number + 12)]
        assert len(np.unique(reader.read(batch).owners)) == 12
        held = sum(states.nbytes for states, _ in reader._known.values())
        assert held == reader._held_bytes <= 20 * 384 * 4
    assert "two dogs" not in reader._known
    np.testing.assert_allclose(reader.read(["two dogs"]).states, first, atol=1e-5)
    kept = reader.read(["the boat 70", "the boat 70"])
    assert kept.owners.tolist() == [0, 0, 1, 1] and reader._held_bytes <= 20 * 384 * 4


def test_what_is_remembered_does_not_hold_the_batch_that_it_was_read_with(reader: WordReader) -> None:
    reader.read([f"{number} dogs" for number in range(20)])
    assert all(states.base is None for states, _ in reader._known.values())
