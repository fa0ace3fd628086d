"""What is kept of a model beside its weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmsearch.encoders.model_folder import ModelFolder, ModelMeta, TextMeta, Weights, models_folder
from mmsearch.errors import StorageError


def described(folder: ModelFolder, weights: Path, *, text: bool = True) -> ModelMeta:
    """Write a description with an export; returns it."""
    meta = None
    if text:
        part = folder.new_part()
        (part / "text.onnx").write_bytes(b"model")
        meta = TextMeta(part.name, 77, True, 0, "lower", (1, 2))
    written = ModelMeta(folder.id, 24, {"size": [48, 48]}, Weights.of(weights), meta, None if text else "it is odd")
    folder.write(written)
    return written


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"weights")
    return file


@pytest.mark.parametrize("text", [True, False])
def test_what_is_written_is_read(weights: Path, text: bool) -> None:
    folder = ModelFolder("open_clip/some/thing")
    assert folder.read() is None
    written = described(folder, weights, text=text)
    assert ModelFolder("open_clip/some/thing").read() == written
    assert ModelFolder.described() == [written]
    assert folder.size_bytes() > 100


def test_models_of_alike_names_do_not_share_a_folder() -> None:
    names = ["open_clip/a/b", "open_clip/a-b", "open_clip/a/B", "open_clip/a/../b", "/" * 300]
    paths = {ModelFolder(name).path for name in names}
    assert len(paths) == len(names)
    assert all(path.parent == models_folder() for path in paths)


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 99}', '{"format": 1}', "\x00"])
def test_a_damaged_or_foreign_description_is_none(weights: Path, damage: str) -> None:
    folder = ModelFolder("open_clip/some/thing")
    described(folder, weights)
    (folder.path / "meta.json").write_text(damage)
    assert folder.read() is None
    assert ModelFolder.described() == []


def test_a_description_without_its_export_is_none(weights: Path) -> None:
    folder = ModelFolder("open_clip/some/thing")
    meta = described(folder, weights)
    assert meta.text is not None
    (folder.path / meta.text.folder / "text.onnx").unlink()
    assert folder.read() is None


def test_a_new_export_takes_the_place_of_the_old_one_and_spares_those_under_way(weights: Path) -> None:
    folder = ModelFolder("open_clip/some/thing")
    first = described(folder, weights)
    under_way, abandoned = folder.new_part(), folder.new_part()
    os.utime(abandoned, (0, 0))
    second = described(folder, weights)
    assert first.text is not None
    assert second.text is not None
    assert {part.name for part in folder.path.glob("text-*")} == {second.text.folder, under_way.name}
    assert json.loads((folder.path / "meta.json").read_text())["format"] == 1


def test_weights_have_changed_when_their_content_has(weights: Path) -> None:
    measured = Weights.of(weights)
    assert not measured.changed()
    os.utime(weights, ns=(1, 1))
    assert not measured.changed()
    weights.write_bytes(b"WEIGHTS")
    assert measured.changed()
    weights.unlink()
    assert not measured.changed()


def test_a_folder_of_weights_counts_its_configuration(tmp_path: Path) -> None:
    for name in ("open_clip_config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_text(name)
    measured = Weights.of(tmp_path)
    (tmp_path / "README.md").write_text("something else")
    assert not measured.changed()
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert measured.changed()


def test_a_cache_that_cannot_be_written_is_an_error_with_a_way_out(cache: Path) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        ModelFolder("open_clip/some/thing").new_part()
    assert "MMSEARCH_CACHE" in str(caught.value.hint)
