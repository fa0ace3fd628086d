"""What every encoder promises; a test class for each encoder inherits it and says how to make one."""

from __future__ import annotations

import numpy as np
import pytest

from mmsearch.errors import EncoderError
from mmsearch.protocols import Encoder
from mmsearch.types import Modality
from tests.encoders.conftest import picture

TEXTS = ["a dog on the beach", "two red bicycles", "", "Ein Café im Regen", "日本の写真 🐈"]


class EncoderContract:
    """Inherit and define a fixture ``encoder``."""

    def test_it_is_an_encoder_of_images_and_texts(self, encoder: Encoder) -> None:
        assert isinstance(encoder, Encoder)
        assert {Modality.IMAGE, Modality.TEXT} <= encoder.modalities
        assert encoder.dim > 0
        assert encoder.image_size > 0
        assert encoder.batch_size > 0

    def test_prepared_images_have_one_shape_whatever_the_size_of_the_picture(self, encoder: Encoder) -> None:
        prepared = [
            encoder.prepare_image(picture(0, size)) for size in ((64, 48), (48, 64), (3, 200), (1, 1), (700, 500))
        ]
        assert len({(image.shape, image.dtype) for image in prepared}) == 1

    def test_embeddings_are_float32_of_length_one(self, encoder: Encoder) -> None:
        images = encoder.encode_images([encoder.prepare_image(picture(seed)) for seed in range(3)])
        texts = encoder.encode_texts(TEXTS)
        assert images.shape == (3, encoder.dim)
        assert texts.shape == (len(TEXTS), encoder.dim)
        for rows in (images, texts):
            assert rows.dtype == np.float32
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)

    def test_nothing_in_gives_nothing_out(self, encoder: Encoder) -> None:
        assert encoder.encode_images([]).shape == (0, encoder.dim)
        assert encoder.encode_texts([]).shape == (0, encoder.dim)

    def test_an_embedding_does_not_depend_on_its_batch(self, encoder: Encoder) -> None:
        prepared = [encoder.prepare_image(picture(seed)) for seed in range(4)]
        together = encoder.encode_images(prepared)
        alone = np.concatenate([encoder.encode_images([image]) for image in prepared])
        np.testing.assert_allclose(together, alone, atol=2e-5)
        together = encoder.encode_texts(TEXTS)
        alone = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=2e-5)

    @pytest.mark.parametrize("text", ["word " * 500, "x" * 5000, "\x00\x01", "a\udcffb"])
    def test_long_and_odd_texts_are_embedded_as_well(self, encoder: Encoder, text: str) -> None:
        (row,) = encoder.encode_texts([text])
        assert np.isfinite(row).all()

    def test_patches_come_with_the_embeddings_or_are_refused(self, encoder: Encoder) -> None:
        prepared = [encoder.prepare_image(picture(seed)) for seed in range(3)]
        if encoder.patches is None:
            with pytest.raises(EncoderError, match="yields no patches"):
                encoder.encode_images_with_patches(prepared)
            return
        embeddings, patches = encoder.encode_images_with_patches(prepared)
        np.testing.assert_allclose(embeddings, encoder.encode_images(prepared), atol=1e-5)
        assert patches.shape == (3, encoder.patches.count, encoder.patches.width)
        assert patches.dtype == np.float32
        assert np.isfinite(patches).all()
        embeddings, patches = encoder.encode_images_with_patches([])
        assert embeddings.shape == (0, encoder.dim)
        assert patches.shape == (0, encoder.patches.count, encoder.patches.width)
