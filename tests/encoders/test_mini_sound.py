"""The built-in model hears: what its audio tower promises, on real weights and real sounds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmsearch.encoders import load_encoder
from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.encoders.mini_sound import BANDS, FRAMES, SOUND, spectrogram
from mmsearch.encoders.model_folder import SOUND_FILE
from mmsearch.errors import EncoderError, ModelMissingError
from mmsearch.media.audio import read_audio
from mmsearch.types import Modality, SoundFormat
from tests.encoders import own_mini


@pytest.fixture(scope="module")
def mini() -> MiniEncoder:
    return MiniEncoder()


def chirp(seconds: float, rate: int = SOUND.rate, loudness: float = 0.5) -> np.ndarray:
    """A tone that rises from 200 to 3,000 Hz, again and again."""
    t = np.arange(int(seconds * rate)) / rate
    return (loudness * np.sin(2 * np.pi * (200 * t + 1400 * (t % 1) ** 2))).astype(np.float32)


def clips(folder: Path, count: int) -> list[tuple[str, np.ndarray]]:
    """The first sounds of each class of ESC-10, with the name of the class."""
    found = []
    for own in sorted(path for path in folder.iterdir() if path.is_dir()):
        for path in sorted(own.glob("*.ogg"))[:count]:
            found.append((own.name.replace("_", " "), next(iter(read_audio(path, skip_silence=False))).samples))
    return found


def test_it_says_how_it_wants_sounds(mini: MiniEncoder) -> None:
    assert mini.sound == SoundFormat(rate=16_000, window_ms=5_000, hop_ms=2_500)
    assert mini.modalities == {Modality.IMAGE, Modality.TEXT, Modality.AUDIO}
    assert mini.text_pieces == 112


@pytest.mark.parametrize("seconds", [0, 0.00001, 0.02, 0.3, 4.9999, 5, 5.01, 60])
def test_sounds_of_any_length_become_unit_vectors(mini: MiniEncoder, seconds: float) -> None:
    prepared = mini.prepare_sound(chirp(seconds))
    assert (prepared.shape, prepared.dtype) == ((BANDS, FRAMES), np.float32)
    embeddings = mini.encode_sounds([prepared])
    assert (embeddings.shape, embeddings.dtype) == ((1, mini.dim), np.float32)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(arrays.arrays(np.float32, st.integers(0, 2000), elements=st.floats(width=32)))
def test_no_samples_are_too_odd(mini: MiniEncoder, samples: np.ndarray) -> None:
    prepared = mini.prepare_sound(samples)
    assert np.isfinite(prepared).all()
    assert prepared.min() >= -2
    assert prepared.max() <= 2
    assert np.isfinite(mini.encode_sounds([prepared])).all()


def test_nothing_in_gives_nothing_out(mini: MiniEncoder) -> None:
    assert mini.encode_sounds([]).shape == (0, mini.dim)


def test_silence_is_heard_as_silence_whatever_its_length(mini: MiniEncoder) -> None:
    silent = [mini.prepare_sound(np.zeros(n, np.float32)) for n in (0, 1000, 80_000)]
    np.testing.assert_array_equal(silent[0], silent[1])
    np.testing.assert_array_equal(silent[0], silent[2])


def test_what_is_heard_does_not_depend_on_the_volume(mini: MiniEncoder) -> None:
    rows = mini.encode_sounds([mini.prepare_sound(chirp(5, loudness=volume)) for volume in (0.02, 0.2, 0.9)])
    assert (rows @ rows.T).min() > 0.98


def test_a_sound_has_one_embedding_alone_or_in_any_company(mini: MiniEncoder) -> None:
    prepared = [mini.prepare_sound(chirp(0.5 + number / 4, loudness=0.1 + number / 40)) for number in range(21)]
    together = mini.encode_sounds(prepared)
    backwards = mini.encode_sounds(prepared[::-1])[::-1]
    np.testing.assert_allclose(together, backwards, atol=1e-5)
    alone = np.concatenate([mini.encode_sounds([one]) for one in prepared])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_same_sound_gives_the_same_bits(mini: MiniEncoder) -> None:
    prepared = [mini.prepare_sound(chirp(3))]
    np.testing.assert_array_equal(mini.encode_sounds(prepared), MiniEncoder().encode_sounds(prepared))


def test_the_spectrogram_ends_in_silence_where_the_sound_does() -> None:
    short, long = spectrogram(chirp(1)), spectrogram(chirp(5))
    assert (short[:, 60:] == -2).all()
    np.testing.assert_allclose(short[:, :48], long[:, :48], atol=0.05)


def test_an_array_of_another_shape_is_an_encoder_error(mini: MiniEncoder) -> None:
    with pytest.raises(EncoderError, match="failed"):
        mini.encode_sounds([np.zeros((10, 10), np.float32)])


def test_classes_are_told_apart_by_their_names_and_by_other_words(mini: MiniEncoder, shared_data: Path) -> None:
    """The tower learned from these sounds: this says that weights, spectrogram and text tower belong together."""
    heard = clips(shared_data / "esc10", 6)
    names = sorted({name for name, _ in heard})
    labels = np.array([names.index(name) for name, _ in heard])
    rows = mini.encode_sounds([mini.prepare_sound(samples) for _, samples in heard])
    assert ((rows @ mini.encode_texts(names).T).argmax(1) == labels).mean() > 0.9
    words = {"barking": "dog bark", "the ocean": "sea waves", "an infant": "baby cry", "a campfire": "fire crackling"}
    best = (mini.encode_texts(list(words)) @ rows.T).argmax(1)
    assert [names[labels[i]] for i in best] == list(words.values())


def test_an_8_khz_telephone_call_away_a_dog_still_barks(mini: MiniEncoder, shared_data: Path) -> None:
    heard = [samples for name, samples in clips(shared_data / "esc10", 6) if name == "dog bark"]
    rates = np.fft.rfftfreq(len(heard[0]), 1 / SOUND.rate)
    muffled = [
        np.fft.irfft(np.fft.rfft(samples) * (rates < 3800), len(samples)).astype(np.float32) for samples in heard
    ]
    said = mini.encode_texts(["a dog barking", "rain", "sea waves", "a helicopter", "a clock ticking", "a chainsaw"])
    best = (mini.encode_sounds([mini.prepare_sound(samples) for samples in muffled]) @ said.T).argmax(1)
    assert (best == 0).mean() > 0.6


def test_sounds_find_pictures_of_what_is_heard(mini: MiniEncoder, shared_data: Path) -> None:
    from PIL import Image

    folder = shared_data / "stamps" / "images"
    shown = {"dog bark": "animals__mammals__dogs__dog.jpg", "rooster": "animals__birds__rooster.jpg"}
    others = ["food__pizza.jpg", "household__tools__saw.jpg", "clothes__hats__tophat.jpg"]
    pictures = mini.encode_images(
        [mini.prepare_image(Image.open(folder / name).convert("RGB")) for name in [*shown.values(), *others]]
    )
    for place, name in enumerate(shown):
        heard = [mini.prepare_sound(samples) for own, samples in clips(shared_data / "esc10", 6) if own == name]
        best = (mini.encode_sounds(heard) @ pictures.T).argmax(1)
        assert (best == place).mean() > 0.5


def test_a_model_without_an_audio_tower_takes_no_sounds(tmp_path: Path) -> None:
    encoder = load_encoder(f"mini/{own_mini.save(tmp_path / 'own')}")
    assert encoder.sound is None
    assert encoder.modalities == {Modality.IMAGE, Modality.TEXT}
    for call in (lambda: encoder.prepare_sound(chirp(1)), lambda: encoder.encode_sounds([])):
        with pytest.raises(EncoderError, match="does not take sounds") as caught:
            call()
        assert "mmsearch train sound" in str(caught.value.hint)


def test_an_audio_tower_in_a_folder_is_part_of_what_the_model_is(tmp_path: Path) -> None:
    deaf = shutil.copytree(MODELS, tmp_path / "model")
    (deaf / SOUND_FILE).unlink()
    before = load_encoder(f"mini/{deaf}")
    assert before.sound is None
    shutil.copyfile(MODELS / SOUND_FILE, deaf / SOUND_FILE)
    hearing = load_encoder(f"mini/{deaf}")
    assert hearing.id != before.id
    assert hearing.encode_sounds([hearing.prepare_sound(chirp(1))]).shape == (1, hearing.dim)
    with pytest.raises(ModelMissingError, match="another one by now"):
        before.encode_texts(["a dog"])


def test_an_audio_tower_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = own_mini.save(tmp_path / "own")
    shutil.copyfile(MODELS / SOUND_FILE, folder / SOUND_FILE)
    with pytest.raises(ModelMissingError, match="do not belong together"):
        load_encoder(f"mini/{folder}").encode_sounds([spectrogram(chirp(1))])


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS, tmp_path / "model")
    (folder / SOUND_FILE).write_bytes((MODELS / SOUND_FILE).read_bytes()[:1000])
    with pytest.raises(ModelMissingError, match=r"mini_sound\.onnx"):
        MiniEncoder(models=folder).encode_sounds([spectrogram(chirp(1))])


def test_the_tower_is_small() -> None:
    assert (MODELS / SOUND_FILE).stat().st_size < 3_000_000
