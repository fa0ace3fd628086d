"""Models of one's own in the built-in format: they are encoders like any other, and trained again they are others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mmsearch import SearchEngine
from mmsearch.encoders import hub, load_encoder
from mmsearch.encoders.mini import MODELS
from mmsearch.encoders.model_folder import Weights
from mmsearch.errors import (
    EncoderError,
    EncoderMismatchError,
    ModelMissingError,
    UnknownEncoderError,
    UsageError,
)
from mmsearch.protocols import Encoder
from tests.encoders import own_mini
from tests.encoders.conftest import picture
from tests.encoders.contract import EncoderContract


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return own_mini.save(tmp_path / "own")


@pytest.fixture
def runs_images() -> None:
    pytest.importorskip("onnx")


@pytest.mark.usefixtures("runs_images")
class TestContract(EncoderContract):
    @pytest.fixture
    def encoder(self, own: Path) -> Encoder:
        return load_encoder(f"mini/{own}")


def test_its_id_tells_the_folder_and_the_weights_and_its_sizes_are_those_of_its_files(own: Path) -> None:
    encoder = load_encoder(f"mini/{own}")
    assert encoder.id.startswith(f"mini/{own}@")
    assert len(encoder.id) == len(f"mini/{own}@") + 8
    assert (encoder.dim, encoder.image_size) == (6, 32)
    assert encoder.encode_texts(["a dog on the beach"]).shape == (1, 6)
    own_mini.save_text(own / "mini_text.safetensors", seed=0, dim=6, side=None)
    assert load_encoder(f"mini/{own}").image_size == 260  # as all had before the side was told


def test_every_way_to_write_its_folder_is_one_id(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    monkeypatch.setenv("HOME", str(own.parent))
    (own.parent / "link").symlink_to(own)
    names = ["mini/own", "mini/./own", "mini/~/own", "mini/link", "./own", "~/own", str(own), f"mini/{own}/"]
    (id,) = {load_encoder(name).id for name in names}
    assert load_encoder(id).id == id
    with pytest.raises(UnknownEncoderError) as caught:
        load_encoder("own")
    assert "write ./own" in str(caught.value.hint)


def test_a_copy_of_the_built_in_model_elsewhere_gives_the_same_embeddings_in_another_space(tmp_path: Path) -> None:
    copy = shutil.copytree(MODELS, tmp_path / "copy")
    encoder, built_in = load_encoder(f"mini/{copy}"), load_encoder("mini")
    assert encoder.id != built_in.id
    assert (encoder.dim, encoder.image_size) == (built_in.dim, built_in.image_size)
    np.testing.assert_array_equal(encoder.encode_texts(["a dog"]), built_in.encode_texts(["a dog"]))
    images = [built_in.prepare_image(picture())]
    np.testing.assert_array_equal(encoder.encode_images(images), built_in.encode_images(images))


def test_two_folders_are_two_spaces_and_so_is_one_that_was_trained_again(tmp_path: Path) -> None:
    first, second = own_mini.save(tmp_path / "first"), own_mini.save(tmp_path / "second")
    before = load_encoder(f"mini/{first}").id
    assert before != load_encoder(f"mini/{second}").id
    own_mini.save(first, seed=1)
    assert load_encoder(f"mini/{first}").id != before


def test_weights_that_changed_are_refused_and_those_that_came_back_are_not(own: Path) -> None:
    encoder = load_encoder(f"mini/{own}")
    expected = encoder.encode_texts(["a dog"])
    own_mini.save(own, seed=1)
    later = load_encoder(encoder.id)
    assert later.dim == 6  # a library can still be asked how it is
    with pytest.raises(ModelMissingError, match="is another one by now") as caught:
        later.encode_texts(["a dog"])
    assert "mmsearch index" in str(caught.value.hint)
    # Without the package onnx the tests' image tower is a file that nothing can run, and that is what is told.
    told = "is another one by now" if find_spec("onnx") else "cannot be read"
    with pytest.raises(ModelMissingError, match=told):
        encoder.load()  # its text tower is there already, its image tower would be the other model's
    own_mini.save(own)
    os.utime(own / "mini_text.safetensors", (1, 1))
    np.testing.assert_array_equal(load_encoder(encoder.id).encode_texts(["a dog"]), expected)


def test_weights_that_were_seen_are_not_hashed_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(f"mini/{own}")
    encoder.encode_texts(["a dog"])
    monkeypatch.setattr(Weights, "of", lambda path: pytest.fail("hashed again"))
    load_encoder(encoder.id).encode_texts(["a dog"])


def test_what_lies_beside_the_weights_makes_no_other_model(own: Path) -> None:
    before = load_encoder(f"mini/{own}").id
    (own / "metrics.jsonl").write_text("{}\n")
    (own / "checkpoint.pt").write_bytes(b"1")
    (own / "model.json").write_text(json.dumps({"name": "own", "description": "birds of the lake"}))
    assert load_encoder(f"mini/{own}").id == before


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(own: Path, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    assert load_encoder(f"mini/{own}").encode_texts(["a dog"]).shape == (1, 6)


@pytest.mark.parametrize("name", ["mini_image.onnx", "mini_text.safetensors", "mini_vocabulary.txt"])
def test_a_missing_file_is_named(own: Path, name: str) -> None:
    (own / name).unlink()
    with pytest.raises(ModelMissingError, match=f"lacks {name}") as caught:
        load_encoder(f"mini/{own}")
    assert "Bring back" in str(caught.value.hint)


def test_a_folder_that_is_gone_or_never_was_is_told_apart(own: Path) -> None:
    with pytest.raises(UnknownEncoderError, match="There is no model"):
        load_encoder(f"mini/{own}-not")
    id = load_encoder(f"mini/{own}").id
    shutil.rmtree(own)
    with pytest.raises(ModelMissingError, match=r"mini_text\.safetensors"):
        load_encoder(id).encode_texts(["a dog"])
    with pytest.raises(ModelMissingError, match="lacks"):
        assert load_encoder(id).dim  # it was never used, so nothing is known of it


@pytest.mark.parametrize("name", ["./empty", "mini/", "mini/\x00", "mini/\udcff", "./empty\x00", "."])
def test_a_path_without_a_model_is_an_unknown_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownEncoderError) as caught:
        load_encoder(name)
    assert "mmsearch models list" in str(caught.value.hint)


@pytest.mark.parametrize("damage", ["truncated", "no metadata", "not one", "empty"])
def test_weights_that_cannot_be_read_are_one_sentence_with_what_helps(own: Path, damage: str) -> None:
    file = own / "mini_text.safetensors"
    whole = file.read_bytes()
    file.write_bytes(
        {
            "truncated": whole[:-100],
            "no metadata": whole.replace(b"__metadata__", b"__metadaten_"),
            "not one": b"<html>404</html>" * 9,
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ModelMissingError, match="cannot be read") as caught:
        load_encoder(f"mini/{own}").encode_texts(["a dog"])
    assert "Bring back" in str(caught.value.hint)


def test_a_vocabulary_of_another_model_is_noticed(own: Path) -> None:
    with (own / "mini_vocabulary.txt").open("a") as file:
        file.write("horse\n")
    with pytest.raises(ModelMissingError, match="do not belong together"):
        load_encoder(f"mini/{own}").encode_texts(["a dog"])
    (own / "mini_vocabulary.txt").write_text("\n".join(["a", *own_mini.PIECES[1:-1]]))
    with pytest.raises(ModelMissingError, match="mini_vocabulary"):
        load_encoder(f"mini/{own}").encode_texts(["a dog"])


@pytest.mark.usefixtures("runs_images")
@pytest.mark.parametrize(("dim", "side"), [(7, 32), (6, 40)])
def test_an_image_tower_of_another_model_is_noticed(own: Path, dim: int, side: int) -> None:
    own_mini.save_image(own / "mini_image.onnx", seed=0, dim=dim, side=side)
    encoder = load_encoder(f"mini/{own}")
    with pytest.raises(ModelMissingError, match="do not belong together"):
        encoder.encode_images([encoder.prepare_image(picture())])


def test_weights_of_another_network_are_an_encoder_error(own: Path) -> None:
    file = own / "mini_text.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"layers.0.out.weight"', b'"layers.9.out.weight"'))
    with pytest.raises(EncoderError, match="not those of a text tower"):
        load_encoder(f"mini/{own}").encode_texts(["a dog"])


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"precision": "fp16"}])
def test_it_says_where_it_cannot_run(own: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="The model mini/"):
        load_encoder(f"mini/{own}", **options)  # type: ignore[arg-type]


def test_a_text_query_loads_neither_torch_nor_onnx_runtime(own: Path) -> None:
    code = (
        "import sys\n"
        "from mmsearch.encoders import load_encoder\n"
        f"load_encoder('mini/{own}').encode_texts(['a dog'])\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'open_clip', 'tokenizers', 'PIL'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.usefixtures("runs_images")
def test_a_library_made_with_earlier_weights_refuses_the_later_ones(own: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    picture().save(photos / "one.png")
    with SearchEngine.open(tmp_path / "lib", model=f"mini/{own}", create=True, read_only=False) as engine:
        assert engine.index([photos]).new == 1
        assert len(engine.search("a dog")) == 1
    own_mini.save(own, seed=1)
    with SearchEngine.open(tmp_path / "lib") as engine:
        assert engine.status().items == {"image": 1}
        with pytest.raises(ModelMissingError, match="is another one by now"):
            engine.search("a dog")
    picture(1).save(photos / "two.png")
    with (
        SearchEngine.open(tmp_path / "lib", read_only=False) as engine,
        pytest.raises(ModelMissingError, match="is another one by now"),
    ):
        engine.index([photos])
    with pytest.raises(EncoderMismatchError):
        SearchEngine.open(tmp_path / "lib", model=f"mini/{own}")


@pytest.mark.usefixtures("runs_images")
def test_it_is_checked_listed_and_forgotten_but_never_deleted(own: Path, cache: Path) -> None:
    (own / "model.json").write_text(json.dumps({"name": "own", "description": "birds of\n the lake"}))
    assert hub.pull(str(own), offline=True) == own
    id = load_encoder(str(own)).id
    (listed,) = [model for model in hub.list_models() if model.state == "installed"]
    assert (listed.id, listed.dim, listed.note) == (id, 6, "birds of the lake")
    assert hub.path(f"mini/{own}") == hub.path(id) == own
    own_mini.save(own, seed=1)
    (listed,) = [model for model in hub.list_models() if model.state == "installed"]
    assert "trained again" in listed.note
    assert hub.remove(id) > 100
    assert [model for model in hub.list_models() if model.state == "installed"] == []
    with pytest.raises(UsageError, match="not mmsearch's own"):
        hub.remove(id)
    assert (own / "mini_image.onnx").exists()
    shutil.rmtree(own)
    with pytest.raises(ModelMissingError, match="not on this machine"):
        hub.path(id)
