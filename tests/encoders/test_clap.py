"""Tiny CLAP models through transformers' real loading code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmsearch.encoders import full_id, load_encoder
from mmsearch.encoders.clap import ClapEncoder
from mmsearch.errors import EncoderError, ExtraMissingError, ModelMissingError, UnknownEncoderError, UsageError
from mmsearch.types import Modality, SoundFormat
from tests.encoders import tiny_clap
from tests.encoders.contract import TEXTS

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("needs_clap")]

LONG = "a caption without end " * 200


def heard(folder: Path, sounds: list[Any]) -> Any:
    """What transformers itself makes of sounds of one window."""
    import torch
    from transformers import ClapModel, ClapProcessor

    model, processor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)
    values = processor.feature_extractor(sounds, sampling_rate=48_000, return_tensors="pt")
    with torch.inference_mode():
        longer = torch.zeros_like(torch.as_tensor(values["is_longer"]))  # it calls one of them longer at random
        output = model.audio_model(input_features=values["input_features"].float(), is_longer=longer)
        return torch.nn.functional.normalize(model.audio_projection(output.pooler_output), dim=-1).numpy()


def read(folder: Path, texts: list[str]) -> Any:
    """What transformers itself makes of texts."""
    import torch
    from transformers import ClapModel, ClapProcessor

    model, processor = ClapModel.from_pretrained(folder).eval(), ClapProcessor.from_pretrained(folder)
    values = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        output = model.text_model(**values)
        return torch.nn.functional.normalize(model.text_projection(output.pooler_output), dim=-1).numpy()


def test_it_says_what_it_takes(clap: ClapEncoder) -> None:
    assert clap.modalities == {Modality.TEXT, Modality.AUDIO}
    assert clap.sound == SoundFormat(48_000, 10_000, 5_000)
    assert (clap.dim, clap.text_pieces, clap.image_size) == (24, 112, 0)


@pytest.mark.parametrize("fusion", [False, True])
def test_embeddings_are_those_of_transformers_itself(fusion: bool, clap_folder: Path, tmp_path: Path) -> None:
    folder = tiny_clap.save_repository(tmp_path / "fusion", fusion=True) if fusion else clap_folder
    encoder = tiny_clap.encoder(folder)
    sounds = [tiny_clap.noise(seed, seconds) for seed, seconds in enumerate((10, 10, 4.2, 0.5))]
    got = encoder.encode_sounds([encoder.prepare_sound(sound) for sound in sounds])
    np.testing.assert_allclose(got, heard(folder, sounds), atol=1e-4)
    assert np.abs(got[0] - got[1]).max() > 0.01
    texts = [*TEXTS, LONG]
    np.testing.assert_allclose(encoder.encode_texts(texts), read(folder, texts), atol=1e-4)


def test_rows_have_length_one_and_do_not_depend_on_their_batch(clap: ClapEncoder) -> None:
    prepared = [clap.prepare_sound(tiny_clap.noise(seed)) for seed in range(5)]
    together = clap.encode_sounds(prepared)
    assert together.shape == (5, clap.dim)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([clap.encode_sounds([sound]) for sound in prepared])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    together = clap.encode_texts(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([clap.encode_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_nothing_in_gives_nothing_out(clap: ClapEncoder) -> None:
    assert clap.encode_sounds([]).shape == clap.encode_texts([]).shape == (0, clap.dim)


@pytest.mark.parametrize("samples", [0, 1, 480_000])
def test_silence_and_next_to_nothing_are_embedded_as_well(samples: int, clap: ClapEncoder) -> None:
    (row,) = clap.encode_sounds([clap.prepare_sound(np.zeros(samples, np.float32))])
    assert np.isfinite(row).all()


@pytest.mark.parametrize("text", ["word " * 900, "x" * 5000, "\x00\x01", "a\udcffb", "<pad> <mask> </s>"])
def test_long_and_odd_texts_are_embedded_as_well(clap: ClapEncoder, text: str) -> None:
    (row,) = clap.encode_texts([text])
    assert np.isfinite(row).all()


def test_words_and_how_sounds_are_prepared_need_neither_torch_nor_transformers(
    clap_cache: Path, clap_folder: Path
) -> None:
    code = (
        "import sys, numpy; from mmsearch.encoders import load_encoder; "
        f"encoder = load_encoder('clap/local-dir:{clap_folder}'); "
        "print(encoder.dim, encoder.sound.rate, encoder.text_pieces, encoder.encode_texts(['rain', 'a dog']).shape, "
        "encoder.prepare_sound(numpy.zeros(480, 'f')).shape); "
        "print([name for name in ('torch', 'transformers', 'huggingface_hub', 'onnx') if name in sys.modules])"
    )
    environment = {**os.environ, "MMSEARCH_CACHE": str(clap_cache)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == ["24 48000 112 (2, 24) (1001, 64)", "[]"]
    assert done.stderr == ""


def test_loading_it_prints_nothing_and_says_that_the_export_happens_once(
    clap_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    encoder = tiny_clap.encoder(clap_folder, notify=said.append)
    assert said == []
    encoder.encode_sounds([encoder.prepare_sound(tiny_clap.noise())])
    assert len(said) == 1
    assert "this happens once" in said[0]
    tiny_clap.encoder(clap_folder, notify=said.append).encode_texts(["rain"])
    assert len(said) == 1
    assert capfd.readouterr() == ("", "")


def test_one_folder_has_one_id(clap_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = f"clap/local-dir:{clap_folder.resolve()}"
    monkeypatch.chdir(clap_folder.parent)
    for spelling in (expected, f"clap/{clap_folder}", f"clap/./{clap_folder.name}", f"./{clap_folder.name}"):
        assert load_encoder(spelling).id == expected
    assert full_id(str(clap_folder)) == expected


def test_a_repository_with_an_older_layout_is_read(tmp_path: Path, clap_folder: Path) -> None:
    folder = older(clap_folder, tmp_path / "older")
    sounds = [tiny_clap.noise(1)]
    ours, theirs = tiny_clap.encoder(folder), tiny_clap.encoder(clap_folder)
    assert ours.describe().transform == theirs.describe().transform
    np.testing.assert_array_equal(*(one.encode_sounds([one.prepare_sound(sounds[0])]) for one in (ours, theirs)))
    np.testing.assert_array_equal(ours.encode_texts(TEXTS), theirs.encode_texts(TEXTS))


def older(folder: Path, into: Path) -> Path:
    """The same model as transformers saved it in 2023: settings in other files, weights pickled."""
    import torch
    from safetensors.torch import load_file

    into.mkdir()
    for name in ("config.json", "vocab.json", "merges.txt"):
        shutil.copyfile(folder / name, into / name)
    settings = json.loads((folder / "processor_config.json").read_text())["feature_extractor"]
    (into / "preprocessor_config.json").write_text(json.dumps({**settings, "processor_class": "ClapProcessor"}))
    tokenizer = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512, "add_prefix_space": False}
    (into / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    torch.save(load_file(folder / "model.safetensors"), into / "pytorch_model.bin")
    return into


def test_a_pickle_that_holds_more_than_tensors_is_not_run(tmp_path: Path, clap_folder: Path) -> None:
    import torch

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    folder = older(clap_folder, tmp_path / "older")
    torch.save({"weights": Payload()}, folder / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        tiny_clap.encoder(folder).encode_texts(["rain"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "damage", ["truncated", "other shapes", "a layer missing", "no weights", "text", "no processor", "no tokenizer"]
)
def test_files_that_do_not_load_are_one_sentence(damage: str, tmp_path: Path, clap_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(clap_folder, folder)
    weights = folder / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif damage == "other shapes":
        settings = json.loads((folder / "config.json").read_text())
        settings["text_config"]["intermediate_size"] = 48
        (folder / "config.json").write_text(json.dumps(settings))
    elif damage == "a layer missing":
        state = {name: value for name, value in load_file(weights).items() if "audio_projection" not in name}
        save_file(state, weights, metadata={"format": "pt"})
    elif damage == "no weights":
        weights.unlink()
    elif damage == "text":
        weights.write_text("<html>404</html>")
    elif damage == "no processor":
        (folder / "processor_config.json").unlink()
    else:
        for name in ("tokenizer.json", "vocab.json", "merges.txt"):
            (folder / name).unlink()
    with pytest.raises(EncoderError, match="cannot be loaded") as caught:
        tiny_clap.encoder(folder).encode_texts(["rain"])
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_changed_checkpoint_is_exported_anew(cache: Path, tmp_path: Path, clap_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clap_folder, folder)
    before = tiny_clap.encoder(folder).encode_texts(["rain"])
    tiny_clap.save_repository(folder, seed=2, layers=1)
    after = tiny_clap.encoder(folder).encode_texts(["rain"])
    assert float((before * after).sum()) < 0.9
    assert len(list(cache.rglob("text.onnx"))) == 1


def test_texts_are_answered_when_the_weights_are_gone_and_sounds_are_not(tmp_path: Path, clap_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clap_folder, folder)
    tiny_clap.encoder(folder).describe()
    shutil.rmtree(folder)
    encoder = tiny_clap.encoder(folder)
    assert encoder.encode_texts(["rain"]).shape == (1, 24)
    with pytest.raises(ModelMissingError, match="are not there"):
        encoder.encode_sounds([encoder.prepare_sound(tiny_clap.noise())])


def test_a_folder_that_never_was_or_holds_something_else_is_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(UnknownEncoderError, match="There is no checkpoint"):
        load_encoder(f"clap/{tmp_path / 'nowhere'}")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UnknownEncoderError, match=r"no folder with the config\.json of a CLAP model"):
        load_encoder(f"clap/{tmp_path}")
    with pytest.raises(UnknownEncoderError, match="There is no model"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("package", ["transformers", "torch"])
def test_without_its_packages_the_error_names_what_to_install(
    package: str, clap_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExtraMissingError, match="A CLAP model needs") as caught:
        tiny_clap.encoder(clap_folder).encode_texts(["rain"])
    wanted = "'mmsearch[audio]'" if package == "transformers" else "mmsearch"
    assert caught.value.hint == f"Run: pip install {wanted}"


def test_a_device_that_is_not_there_is_wrong_usage(clap: ClapEncoder, clap_folder: Path) -> None:
    import torch

    encoder = load_encoder(clap.id, device=f"cuda:{torch.cuda.device_count()}")
    with pytest.raises(UsageError, match="is not there"):
        encoder.encode_sounds([clap.prepare_sound(tiny_clap.noise())])


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.999), ("bf16", 0.99)])
def test_half_precision_hardly_turns_an_embedding(
    clap: ClapEncoder, clap_folder: Path, precision: str, least: float
) -> None:
    half = tiny_clap.encoder(clap_folder, precision=precision)
    prepared = [clap.prepare_sound(tiny_clap.noise(seed)) for seed in range(4)]
    assert (clap.encode_sounds(prepared) * half.encode_sounds(prepared)).sum(axis=1).min() >= least


@pytest.mark.gpu
def test_a_cuda_device_gives_the_embeddings_of_the_processor(clap: ClapEncoder) -> None:
    on_device = load_encoder(clap.id, device="cuda")
    prepared = [clap.prepare_sound(tiny_clap.noise(seed)) for seed in range(4)]
    assert (clap.encode_sounds(prepared) * on_device.encode_sounds(prepared)).sum(axis=1).min() >= 0.999


def short_of_memory(encoder: ClapEncoder, most: int) -> list[int]:
    """Put a tower in the place of the encoder's that has memory for so many sounds; returns the sizes it is given."""
    import torch

    sizes: list[int] = []

    class Tower(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, batch: torch.Tensor) -> Any:
            sizes.append(len(batch))
            if len(batch) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return self.inner(batch)

    tower = encoder._audio_tower()
    tower._tower = Tower(tower._tower)
    tower._workers = None  # one call for each batch
    return sizes


def test_batches_halve_where_memory_is_short_and_stay_small(clap: ClapEncoder) -> None:
    prepared = [clap.prepare_sound(tiny_clap.noise(seed, 1)) for seed in range(7)]
    expected = clap.encode_sounds(prepared)
    sizes = short_of_memory(clap, 2)
    np.testing.assert_allclose(clap.encode_sounds(prepared), expected, atol=2e-5)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert clap.batch_size == 1


def test_a_single_sound_that_does_not_fit_is_an_error(clap: ClapEncoder) -> None:
    short_of_memory(clap, 0)
    with pytest.raises(EncoderError, match="does not hold a single sound"):
        clap.encode_sounds([clap.prepare_sound(tiny_clap.noise(0, 1))])


def test_threads_prepare_sounds_as_one_does(clap: ClapEncoder) -> None:
    sounds = [tiny_clap.noise(seed, 1) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        prepared = list(pool.map(clap.prepare_sound, sounds))
    for sound, array in zip(sounds, prepared, strict=True):
        np.testing.assert_array_equal(clap.prepare_sound(sound), array)
