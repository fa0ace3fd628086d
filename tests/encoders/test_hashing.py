"""The encoder of fast tests."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageEnhance

from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.types import PatchFormat
from tests.encoders.conftest import picture
from tests.encoders.contract import EncoderContract


class TestContract(EncoderContract):
    @pytest.fixture(params=[64, 3, 700])
    def encoder(self, request: pytest.FixtureRequest) -> HashingEncoder:
        return HashingEncoder(request.param)


def test_a_slightly_changed_picture_is_nearer_than_another() -> None:
    encoder = HashingEncoder()
    original = picture(1, (400, 300))
    changed = ImageEnhance.Brightness(original.resize((200, 150))).enhance(1.05)
    embeddings = encoder.encode_images([encoder.prepare_image(image) for image in (original, changed, picture(2))])
    assert embeddings[0] @ embeddings[1] > 0.95
    assert embeddings[0] @ embeddings[2] < 0.9


@given(
    st.lists(st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1), min_size=1, max_size=6), st.randoms()
)
def test_words_count_but_not_their_case_or_order(words: list[str], random: object) -> None:
    shuffled = [word.lower() for word in words]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = HashingEncoder(16).encode_texts([" ".join(words).lower(), ", ".join(shuffled)])
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_texts_that_share_words_are_nearer() -> None:
    embeddings = HashingEncoder(256).encode_texts(["a red dog", "a red cat", "bicycles at night"])
    assert embeddings[0] @ embeddings[1] > embeddings[0] @ embeddings[2] + 0.2


def test_it_is_the_same_in_every_process() -> None:
    code = "from mmsearch.encoders.hashing import HashingEncoder as E; print(E(8).encode_texts(['a dog'])[0].tolist())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    np.testing.assert_array_equal(eval(printed), HashingEncoder(8).encode_texts(["a dog"])[0].tolist())


def test_patches_are_the_mean_colours_of_sixteen_places() -> None:
    encoder = HashingEncoder()
    image = encoder.prepare_image(picture(3))
    embeddings, patches = encoder.encode_images_with_patches([image, image[::-1]])
    assert encoder.patches == PatchFormat(4, 4, 3)
    np.testing.assert_array_equal(embeddings, encoder.encode_images([image, image[::-1]]))
    np.testing.assert_allclose(patches[0, 1], image[:2, 2:4].mean((0, 1)) / 127.5 - 1, atol=1e-5)
    np.testing.assert_allclose(patches[1].reshape(4, 4, 3), patches[0].reshape(4, 4, 3)[::-1], atol=1e-6)
    assert encoder.encode_images_with_patches([])[1].shape == (0, 16, 3)
