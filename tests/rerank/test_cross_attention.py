"""The fusion model in NumPy, against its equations one number at a time, and against the network that learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.rerank.cross_attention import TOKEN_STEP, CrossAttention
from tests.rerank.random_reranker import Measures, all_arrays, reader_arrays, tokens_of, words_of

SMALL = Measures(wanted=(2, 3), dim=8, matched=4, words=10)
Vector = NDArray[np.float64]


def made(measures: Measures, seed: int = 0) -> tuple[CrossAttention, dict[str, NDArray[np.float32]]]:
    arrays = reader_arrays(measures, np.random.default_rng(seed))
    return CrossAttention(arrays, measures.heads, measures.layers), arrays


class Slow:
    """The equations of the module, for one picture and one sentence, word by word and head by head."""

    def __init__(self, arrays: Mapping[str, NDArray[np.float32]], measures: Measures) -> None:
        self.arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.measures = measures

    def linear(self, name: str, x: Vector) -> Vector:
        return self.arrays[f"{name}.weight"] @ x + self.arrays.get(f"{name}.bias", 0.0)

    def norm(self, name: str, x: Vector) -> Vector:
        normal = (x - x.mean()) / math.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
        return normal * self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]

    def gelu(self, x: Vector) -> Vector:
        return np.array([0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x])

    def look(self, layer: int, query: Vector, t: Vector) -> Vector:
        name, size = f"looks.{layer}", self.measures.dim // self.measures.heads
        values = [self.linear(f"{name}.value", token) for token in t]
        if self.measures.layers == 0:
            return np.mean(values, axis=0)
        keys = [
            self.linear(f"{name}.key", token + place) for token, place in zip(t, self.arrays["places"], strict=True)
        ]
        found = []
        for head in range(self.measures.heads):
            own = slice(head * size, (head + 1) * size)
            powers = [math.exp(query[own] @ key[own] / math.sqrt(size)) for key in keys]
            found.append(sum(power / sum(powers) * value[own] for power, value in zip(powers, values, strict=True)))
        return np.concatenate(found)

    def logit(self, tokens: NDArray[np.int8], words: NDArray[np.float32]) -> float:
        t = tokens.astype(np.float64) * float(TOKEN_STEP)
        us = [self.norm("words_norm", self.linear("words", word.astype(np.float64))) for word in words]
        xs = []
        for u in us:
            meant, found = self.linear("looks.0.word", u), self.look(0, self.linear("looks.0.query", u), t)
            x = self.gelu(self.linear("looks.0.match", found * meant) + self.linear("looks.0.found", found))
            for layer in range(1, self.measures.layers):
                name = f"looks.{layer}"
                asked = self.linear(f"{name}.again", self.norm(f"{name}.norm", x)) + self.linear(f"{name}.query", u)
                x = x + self.gelu(self.linear(f"{name}.match", self.look(layer, asked, t) * meant))
            xs.append(x)
        powers = np.exp([self.linear("weight", u) for u in us])  # (w, pools)
        weights = powers / powers.sum(axis=0)
        pooled = np.concatenate([sum(own[pool] * x for own, x in zip(weights, xs, strict=True)) for pool in range(2)])
        h = self.gelu(self.linear("fused", self.norm("pooled_norm", pooled)))
        if self.measures.gate:
            said = np.concatenate([sum(own[pool] * u for own, u in zip(weights, us, strict=True)) for pool in range(2)])
            both = self.linear("pictures", t.mean(axis=0)) * self.linear("sentences", said)
            whole = self.gelu(self.linear("whole", both))
            z = 1 / (1 + np.exp(-self.linear("gate", np.concatenate([h, whole]))))
            h = z * h + (1 - z) * whole
        return float(self.linear("matching", h)[0])


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("gate", [True, False])
def test_it_computes_its_equations(layers: int, gate: bool) -> None:
    measures = replace(SMALL, layers=layers, gate=gate, heads=4)
    network, arrays = made(measures)
    tokens, (words, owners) = tokens_of(3, measures), words_of([2, 1, 4], width=10)
    slow = Slow(arrays, measures)
    expected = [[slow.logit(picture, words[owners == own]) for picture in tokens] for own in range(3)]
    found = network.logits(tokens, words, owners)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.std() > 0.05  # the comparison says something


def test_it_reads_each_sentence_and_picture_by_itself() -> None:
    network, _ = made(SMALL)
    tokens, (words, owners) = tokens_of(5, SMALL), words_of([3, 1, 2], width=10)
    together = network.logits(tokens, words, owners)
    for sentence in range(3):
        for picture in range(5):
            own = words[owners == sentence]
            alone = network.logits(tokens[picture : picture + 1], own, np.zeros(len(own), np.int64))
            np.testing.assert_allclose(alone[0, 0], together[sentence, picture], atol=1e-5)


def test_words_that_count_for_nothing_beside_those_of_other_sentences_count_in_their_own() -> None:
    network, arrays = made(SMALL)
    arrays["weight.weight"] *= 1e4
    network = CrossAttention(arrays, SMALL.heads, SMALL.layers)
    words, owners = words_of([1] * 20, width=10)
    assert np.isfinite(network.logits(tokens_of(2, SMALL), words, owners)).all()


def test_weights_without_measure_give_numbers_and_no_warning() -> None:
    _, arrays = made(SMALL)
    wild = {name: array * 1e3 if "gate" in name or "query" in name else array for name, array in arrays.items()}
    words, owners = words_of([3, 2], width=10)
    assert np.isfinite(CrossAttention(wild, 2, 1).logits(tokens_of(2, SMALL), words, owners)).all()


def test_more_pictures_than_are_read_at_once_and_none_at_all() -> None:
    network, _ = made(SMALL)
    tokens, (words, owners) = tokens_of(300, SMALL), words_of([2, 2], width=10)
    many = network.logits(tokens, words, owners)
    assert many.shape == (2, 300)
    np.testing.assert_allclose(many[:, 290:], network.logits(tokens[290:], words, owners), atol=1e-5)
    assert network.logits(tokens[:0], words, owners).shape == (2, 0)


@given(st.integers(0, 3), st.sampled_from([1, 2, 4]), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_attention_sums_to_one_and_so_do_the_words_weights(layers: int, heads: int, words: int, seed: int) -> None:
    measures = replace(SMALL, layers=layers, heads=heads)
    network, _ = made(measures, seed)
    looks = network.looks(tokens_of(1, measures, seed)[0], words_of([words], seed, width=10)[0])
    assert looks.attention.shape == (max(1, layers), heads, words, 6)
    np.testing.assert_allclose(looks.attention.sum(axis=-1), 1, atol=1e-5)
    assert looks.weights.shape == (words,) and looks.weights.sum() == pytest.approx(1, abs=1e-5)
    if layers == 0:
        np.testing.assert_allclose(looks.attention, 1 / 6, atol=1e-6)


@given(st.permutations(range(6)), st.integers(0, 2), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_places_that_change_seats_together_with_what_is_seen_there_change_nothing(
    order: list[int], layers: int, seed: int
) -> None:
    measures = replace(SMALL, layers=layers)
    network, arrays = made(measures, seed)
    tokens, (words, owners) = tokens_of(2, measures, seed), words_of([2, 3], seed, width=10)
    moved = CrossAttention({**arrays, "places": arrays["places"][order]}, 2, layers)
    np.testing.assert_allclose(
        moved.logits(tokens[:, order], words, owners), network.logits(tokens, words, owners), atol=1e-5
    )


def test_where_something_is_makes_a_difference_where_words_look_and_none_without() -> None:
    (words, owners), order = words_of([2, 3], width=10), [3, 4, 5, 0, 1, 2]
    for layers, moves in ((0, False), (1, True), (2, True)):
        network, _ = made(replace(SMALL, layers=layers))
        tokens = tokens_of(4, SMALL)
        there, elsewhere = network.logits(tokens, words, owners), network.logits(tokens[:, order], words, owners)
        assert bool(np.abs(there - elsewhere).max() > 1e-3) is moves


@pytest.mark.parametrize("name", ["looks.0.query.bias", "matching.weight", "words_norm.bias", "whole.weight", "places"])
def test_weights_that_lack_are_told_when_it_is_made(name: str) -> None:
    _, arrays = made(SMALL)
    del arrays[name]
    with pytest.raises(KeyError):
        CrossAttention(arrays, 2, 1)


@pytest.mark.parametrize("name", ["looks.0.key.weight", "fused.weight", "words_norm.weight", "gate.bias"])
def test_weights_that_do_not_belong_together_are_told_when_it_is_made(name: str) -> None:
    _, arrays = made(SMALL)
    arrays[name] = arrays[name][:-1]
    with pytest.raises(ValueError, match=name.rpartition(".")[0]):
        CrossAttention(arrays, 2, 1)
    with pytest.raises(ValueError, match="heads"):
        CrossAttention(made(SMALL)[1], 3, 1)


# --- against torch


@pytest.mark.full
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize(("layers", "heads", "readers"), [(0, 1, 1), (1, 2, 2), (2, 4, 1), (2, 1, 3)])
def test_it_equals_the_network_that_learns(layers: int, heads: int, readers: int, gate: bool) -> None:
    torch = pytest.importorskip("torch")
    from mmsearch.rerank.adapter import Adapter
    from mmsearch.training.fusion_network import FusionNetwork, FusionShape, Sentences

    measures = Measures(width=5, layers=layers, heads=heads, gate=gate, words=10, wanted=(3, 3), depths=(1,) * readers)
    arrays = all_arrays(measures, seed=layers)
    shape = FusionShape(5, 10, 9, 16, heads, layers, 8, 2, readers, 12, gate)
    learned = FusionNetwork(shape, torch.zeros(5), torch.ones(5)).eval()
    state = {name: torch.from_numpy(array) for name, array in arrays.items() if name != "bank"}
    assert set(learned.state_dict()) == {*state, "log_scale"}
    learned.load_state_dict(state, strict=False)
    patches = np.random.default_rng(1).normal(0, 0.5, (7, 9, 5)).astype(np.float32)
    words, owners = words_of([3, 1, 5], width=10 * readers)

    own = {name.removeprefix("adapter."): array for name, array in arrays.items() if name.startswith("adapter.")}
    tokens = Adapter(own, (3, 3), (3, 3)).tokens(patches)
    parts = [
        {name.removeprefix(f"readers.{at}."): array for name, array in arrays.items() if f"readers.{at}." in name}
        for at in range(readers)
    ]
    found = [
        CrossAttention(part, heads, layers).logits(tokens, states, owners)
        for part, states in zip(parts, np.split(words, readers, axis=1), strict=True)
    ]
    with torch.inference_mode():
        rounded = learned.tokens(torch.from_numpy(patches))
        expected = learned.readings(rounded, Sentences(torch.from_numpy(words), torch.from_numpy(owners), 3))
        mean = learned.logits(rounded, Sentences(torch.from_numpy(words), torch.from_numpy(owners), 3))
    # A number that lies on the edge between two steps may be rounded either way.
    differing = np.abs(rounded.numpy() / TOKEN_STEP - tokens) > 0.01
    assert np.abs(rounded.numpy() / TOKEN_STEP - tokens).max() < 1.01 and differing.mean() < 0.002
    np.testing.assert_allclose(found, [part.numpy() for part in expected], atol=1e-3)
    np.testing.assert_allclose(np.mean(found, axis=0), mean.numpy(), atol=1e-3)
    assert mean.std() > 0.05
