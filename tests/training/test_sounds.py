"""An audio tower learns to meet the words for what is heard, and what is written is what was trained."""

from __future__ import annotations

import json
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mmsearch.encoders.mini_sound import BANDS, FRAMES, SOUND, spectrogram
from mmsearch.errors import UsageError
from mmsearch.training.sound_data import decode, read_phrases, read_sounds
from mmsearch.training.sound_figures import SoundFigures, mean_precision
from mmsearch.training.sound_phrases import COMMON, SOUND_PROMPTS, SYNTHETIC, caption_phrases, class_phrases
from mmsearch.training.sound_synthesis import make_sounds
from mmsearch.training.sound_views import SPEEDS, SoundChanges, mixed_views, powers, whole_view
from tests.encoders import own_mini

if TYPE_CHECKING:
    from mmsearch.training.sounds import SoundReport

complete = all(find_spec(name) for name in ("torch", "timm", "matplotlib", "onnx"))
needs_training = pytest.mark.skipif(not complete, reason="needs the full installation and mmsearch[train]")
CALM = SoundChanges(1.0, 0, 0, 0, 0, 0, 0, 0, 0)


def save(path: Path, samples: np.ndarray, rate: int = SOUND.rate) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((32000 * samples).astype(np.int16).tobytes())
    return path


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * SOUND.rate)) / SOUND.rate)


def hiss(seed: int, seconds: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * SOUND.rate))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six whistles of a dog and six times the sea, of two recordings each."""
    for number in range(6):
        name = f"{1 + number % 2}-{number}.wav"
        save(tmp_path / "sounds" / "dog" / name, tone(800 + 100 * number))
        save(tmp_path / "sounds" / "the_beach" / name, hiss(number))
    return tmp_path / "sounds"


class TestData:
    def test_folders_are_classes_and_rows_with_a_sound_are_captioned_sounds(self, folder: Path, tmp_path: Path) -> None:
        save(tmp_path / "sound" / "bell.wav", tone(2000))
        table = tmp_path / "captions.csv"
        table.write_text('caption,sound\nA bell.,bell.wav\n"A cat, asleep.",\nA bell.,bell.wav\n', encoding="utf-8")
        found = read_sounds([folder], [table])
        assert found.names == ("dog", "the beach", "A bell.")
        assert (found.classes, len(found.sounds)) == (2, 14)
        assert found.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 2
        assert "the sound of a bell" in found.phrases[2]

    def test_classes_of_one_name_in_two_folders_are_one(self, folder: Path, tmp_path: Path) -> None:
        save(tmp_path / "more" / "dog" / "a.wav", tone(900))
        save(tmp_path / "more" / "owl" / "b.wav", tone(300))
        found = read_sounds([folder, tmp_path / "more"])
        assert found.names == ("dog", "the beach", "owl")
        assert np.bincount(found.labels).tolist() == [7, 6, 1]

    def test_pictures_beside_the_captions_are_taken_as_well(self, folder: Path, tmp_path: Path) -> None:
        from PIL import Image

        save(tmp_path / "set" / "sound" / "bell.wav", tone(2000))
        (tmp_path / "set" / "images").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "set" / "images" / "bell.png")
        table = tmp_path / "set" / "captions.csv"
        table.write_text("image,caption,sound\nbell.png,A bell.,bell.wav\n", encoding="utf-8")
        found = read_sounds([folder], [table])
        assert found.pictures.captions == ("A bell.",)

    def test_phrases_of_ones_own_are_added(self, folder: Path, tmp_path: Path) -> None:
        table = tmp_path / "phrases.csv"
        table.write_text("class,phrase\nthe_beach,sand and water\n", encoding="utf-8")
        assert "sand and water" in read_sounds([folder], phrases=read_phrases(table)).phrases[1]
        with pytest.raises(UsageError, match="no class 'the sea'"):
            read_sounds([folder], phrases={"the sea": ["salt"]})
        table.write_text("class\ndog\n", encoding="utf-8")
        with pytest.raises(UsageError, match="without class or phrase"):
            read_phrases(table)

    def test_sounds_that_cannot_be_read_are_left_out_and_named(self, folder: Path) -> None:
        (folder / "dog" / "broken.wav").write_bytes(b"RIFF")
        found = read_sounds([folder])
        read, samples, failures = decode(found, SOUND.rate)
        assert len(read.sounds) == len(samples) == len(found.sounds) - 1
        assert [failure.path.name for failure in failures] == ["broken.wav"]
        assert all(len(one) == SOUND.rate for one in samples)

    def test_sounds_are_chosen_by_patterns_of_their_names(self, folder: Path) -> None:
        found = read_sounds([folder])
        assert found.matching(["2-*"]).sum() == 6
        assert found.matching(["1-0.*", "2-*"]).sum() == 8

    def test_a_folder_without_classes_of_sounds_is_refused(self, tmp_path: Path) -> None:
        save(tmp_path / "dog" / "a.wav", tone(900))
        with pytest.raises(UsageError, match="1 folders with sounds"):
            read_sounds([tmp_path])


def test_phrases_name_the_sound_in_many_ways() -> None:
    said = class_phrases("dog bark")
    assert {"dog bark", "a dog bark", "dog", "barking", "the sound of a dog bark"} <= set(said)
    assert len(set(said)) == len(said)
    assert caption_phrases("A koala.")[:3] == ("A koala.", "a koala", "the sound of a koala")
    assert "koala" in caption_phrases("A koala.")
    for said in [*COMMON.values(), *SYNTHETIC.values()]:
        assert all(phrase.strip() and ";" not in phrase for phrase in said)
    assert all(prompt.count("{}") == 1 for prompt in SOUND_PROMPTS)


def test_made_sounds_follow_from_the_seed() -> None:
    first, again, other = make_sounds(2, 0), make_sounds(2, 0), make_sounds(2, 1)
    assert [name for name, _ in first] == [name for name, _ in again] == list(SYNTHETIC) * 2
    for (_, one), (_, two), (_, three) in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, three)
        assert len(one) == 5 * SOUND.rate
        assert np.abs(one).max() == pytest.approx(0.5, abs=1e-3)


class TestViews:
    @pytest.mark.parametrize("seconds", [0.3, 5, 9])
    def test_the_whole_view_is_what_the_encoder_prepares(self, seconds: float) -> None:
        samples = hiss(3, seconds).astype(np.float32)
        whole, prepared = whole_view(powers(samples, 1.0)), spectrogram(samples)
        seen = FRAMES - 2  # the last frames of a longer sound hear a little of what follows
        np.testing.assert_allclose(whole[:, :seen], prepared[:, :seen], atol=1e-4)

    def test_views_are_random_but_follow_from_the_generator(self) -> None:
        sounds = [[powers(samples, speed) for speed in SPEEDS] for _, samples in make_sounds(2, 0)]
        first, again = (mixed_views(sounds, np.random.default_rng(5), SoundChanges()) for _ in range(2))
        np.testing.assert_array_equal(first.heard, again.heard)
        assert first.heard.shape == (8, BANDS, FRAMES)
        assert np.isfinite(first.heard).all()
        assert (first.shares >= 0.5).all()
        assert ((first.shares == 1) == (first.partners == np.arange(8))).all() or (first.shares < 1).any()

    def test_without_changes_a_window_is_only_turned_around(self) -> None:
        samples = make_sounds(1, 0)[0][1]
        one = [powers(samples, speed) for speed in SPEEDS]
        view = mixed_views([one], np.random.default_rng(0), CALM)
        expected = whole_view(one[0])
        turned = [np.abs(np.roll(expected, by, axis=1) - view.heard[0]).max() for by in range(FRAMES)]
        assert min(turned) < 0.1
        assert view.shares.tolist() == [1]

    def test_a_mixture_has_both_sounds_in_it(self) -> None:
        low, high = (powers(tone(hertz, 5).astype(np.float32), 1.0) for hertz in (300, 3000))
        changes = SoundChanges(1.0, 0, 0, 0, 0, 1.0, 0, 0, 0)
        mixture = mixed_views([[low] * 5, [high] * 5] * 4, np.random.default_rng(1), changes)
        others = np.flatnonzero(mixture.partners % 2 != np.arange(8) % 2)
        assert others.size
        bands = [int(one[:, 100].argmax()) for one in (low, high)]
        for place in others:
            assert (mixture.heard[place][bands].mean(1) > 0).all()


def test_mean_precision_counts_every_right_answer() -> None:
    scores = np.array([[4.0, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    assert mean_precision(scores[:1], [np.array([0, 1])]) == 1
    assert mean_precision(scores[:1], [np.array([0, 3])]) == pytest.approx((1 + 2 / 4) / 2)
    assert mean_precision(scores, [np.array([0]), np.array([0])]) == pytest.approx((1 + 1 / 4) / 2)


def test_figures_are_of_both_directions() -> None:
    names = np.eye(3, dtype=np.float32)
    found = SoundFigures(names).of(names[[0, 0, 1, 2]], np.array([0, 1, 1, 2]))
    assert found["sound_to_text"]["recall@1"] == 0.75
    assert found["text_to_sound"]["recall@1"] == pytest.approx(2 / 3)  # ties count against a query
    assert 0 < found["text_to_sound"]["map"] < 1


@pytest.fixture
def trained(folder: Path, tmp_path: Path) -> SoundReport:
    return train(folder, tmp_path, tmp_path / "out")


def train(folder: Path, tmp_path: Path, out: Path, *, epochs: int = 12) -> SoundReport:
    from mmsearch.training.place import Place
    from mmsearch.training.sounds import SoundRecipe, train_sounds

    base = own_mini.save(tmp_path / "base")
    recipe = SoundRecipe(epochs=epochs, batch=8, synthetic=0, average=0.5, rate=3e-3, changes=CALM)
    return train_sounds(str(base), read_sounds([folder]), recipe, Place(out), hold_out=["2-*"])


@needs_training
@pytest.mark.full
class TestTraining:
    def test_a_model_learns_to_hear_and_is_written_as_it_was_trained(self, trained: SoundReport) -> None:
        from mmsearch.encoders import load_encoder

        assert trained.parity > 0.999
        assert (trained.sounds, trained.held_out, trained.made, trained.names) == (6, 6, 0, 2)
        assert trained.figures is not None
        assert trained.figures["sound_to_text"]["recall@1"] > 0.9
        encoder = load_encoder(str(trained.folder))
        assert encoder.id == trained.model
        heard = [encoder.prepare_sound(samples.astype(np.float32)) for samples in (tone(1000), hiss(77))]
        best = (encoder.encode_sounds(heard) @ encoder.encode_texts(["dog", "the beach"]).T).argmax(1)
        assert best.tolist() == [0, 1]

    def test_it_leaves_figures_a_plot_and_a_report(self, trained: SoundReport) -> None:
        out = trained.folder.parent
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert {"loss", "dev"} <= {key for line in lines for key in line}
        assert (out / "training.png").stat().st_size > 1000
        report = json.loads((out / "report.json").read_text())
        assert report["model"] == trained.model
        assert report["recipe"]["epochs"] == 12

    def test_a_run_that_was_cut_off_goes_on_and_ends_as_one_that_was_not(
        self, folder: Path, tmp_path: Path, trained: SoundReport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mmsearch.training import trainer

        steps = 0
        learn = trainer.Trainer._learn

        def cut_off(self: trainer.Trainer, batch: object) -> float:  # type: ignore[type-arg]
            nonlocal steps
            steps += 1
            if steps == 7:
                raise KeyboardInterrupt
            return learn(self, batch)

        monkeypatch.setattr(trainer.Trainer, "_learn", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(folder, tmp_path, tmp_path / "again")
        again = train(folder, tmp_path, tmp_path / "again")
        assert again.figures == trained.figures
        files = [report.folder / "mini_sound.onnx" for report in (trained, again)]
        assert files[0].read_bytes() == files[1].read_bytes()

    def test_patterns_that_fit_nothing_are_refused(self, folder: Path, tmp_path: Path) -> None:
        from mmsearch.training.place import Place
        from mmsearch.training.sounds import SoundRecipe, train_sounds

        base = own_mini.save(tmp_path / "base")
        with pytest.raises(UsageError, match=r"No sound has a name that fits 9-\*"):
            train_sounds(
                str(base), read_sounds([folder]), SoundRecipe(synthetic=0), Place(tmp_path / "out"), hold_out=["9-*"]
            )
