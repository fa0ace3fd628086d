"""Every family of encoders against the protocol: what it says it encodes it does, and what not it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mmsearch.encoders import _FAMILIES, load_encoder
from mmsearch.errors import EncoderError
from mmsearch.protocols import Encoder
from mmsearch.types import Modality, SoundFormat
from tests.encoders.conftest import picture

FULL = pytest.mark.full
FAMILIES = [
    "mini",
    pytest.param("open_clip", marks=FULL),
    pytest.param("clap", marks=FULL),
    "hashing",
]


@pytest.fixture(params=FAMILIES)
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    family = request.param
    if family in ("open_clip", "clap"):
        made: Encoder = request.getfixturevalue({"open_clip": "tiny", "clap": "clap"}[family])
        return made
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    return load_encoder(family)


def calls(encoder: Encoder) -> dict[Modality, list[Callable[[], Any]]]:
    """For each modality what prepares and encodes one thing of it."""
    rate = encoder.sound.rate if encoder.sound else 48_000
    samples = np.random.default_rng(0).normal(0, 0.1, rate // 2).astype(np.float32)
    return {
        Modality.IMAGE: [
            lambda: encoder.prepare_image(picture()),
            lambda: encoder.encode_images([encoder.prepare_image(picture())]),
        ],
        Modality.TEXT: [lambda: encoder.encode_texts(["rain on a tin roof"])],
        Modality.AUDIO: [
            lambda: encoder.prepare_sound(samples),
            lambda: encoder.encode_sounds([encoder.prepare_sound(samples)]),
        ],
    }


def test_every_family_is_looked_at_here() -> None:
    assert {getattr(family, "values", (family,))[0] for family in FAMILIES} == set(_FAMILIES)


def test_it_has_all_that_the_protocol_names(encoder: Encoder) -> None:
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder.id, str)
    assert load_encoder(encoder.id).id == encoder.id
    assert encoder.modalities
    assert encoder.modalities <= {Modality.IMAGE, Modality.TEXT, Modality.AUDIO}
    assert encoder.dim > 0
    assert encoder.batch_size > 0
    assert (encoder.image_size > 0) == (Modality.IMAGE in encoder.modalities)
    assert isinstance(encoder.sound, SoundFormat) == (Modality.AUDIO in encoder.modalities)
    assert encoder.text_pieces > 8


def test_sounds_are_cut_into_windows_that_overlap(encoder: Encoder) -> None:
    if encoder.sound is None:
        pytest.skip("it takes no sounds")
    assert encoder.sound.rate >= 8000
    assert 0 < encoder.sound.hop_ms <= encoder.sound.window_ms <= 60_000


def test_what_it_says_it_encodes_becomes_rows_of_length_one(encoder: Encoder) -> None:
    for modality in encoder.modalities:
        rows = calls(encoder)[modality][-1]()
        assert rows.shape == (1, encoder.dim)
        assert rows.dtype == np.float32
        assert np.linalg.norm(rows) == pytest.approx(1, abs=1e-5)


def test_what_it_does_not_encode_is_an_error_with_its_name(encoder: Encoder) -> None:
    for modality, made in calls(encoder).items():
        if modality not in encoder.modalities:
            for call in made:
                with pytest.raises(EncoderError, match="does not take") as caught:
                    call()
                assert encoder.id in str(caught.value)


def test_windows_of_any_length_are_prepared_alike_and_embedded_alone_as_together(encoder: Encoder) -> None:
    if encoder.sound is None:
        pytest.skip("it takes no sounds")
    length = encoder.sound.rate * encoder.sound.window_ms // 1000
    rng = np.random.default_rng(1)
    sounds = [rng.normal(0, 0.1, count).astype(np.float32) for count in (length, length // 3, 1)]
    prepared = [encoder.prepare_sound(sound) for sound in sounds]
    assert len({(sound.shape, sound.dtype) for sound in prepared}) == 1
    together = encoder.encode_sounds(prepared)
    alone = np.concatenate([encoder.encode_sounds([sound]) for sound in prepared])
    np.testing.assert_allclose(together, alone, atol=2e-5)
