"""Encoders that several test modules share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from mmsearch.encoders.clap import ClapEncoder
    from mmsearch.encoders.open_clip import OpenClipEncoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model cache, and no network: tests never touch those of whoever runs them."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMSEARCH_OFFLINE", "1")
    monkeypatch.delenv("MMSEARCH_TEST_ENCODERS", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def needs_open_clip() -> None:
    if find_spec("torch") is None or find_spec("open_clip") is None:
        pytest.skip("torch and open_clip are not installed")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, needs_open_clip: None) -> Path:
    """A tiny model as a folder with configuration and weights."""
    from tests.encoders import tiny

    return tiny.save_repository(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A model cache in which the tiny model's text tower was exported; to be read, not changed."""
    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(folder))
        open_clip_encoder(tiny_folder).describe()
    return folder


@pytest.fixture
def tiny(exported: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> OpenClipEncoder:
    """The encoder of the tiny model in float32, its text tower exported already."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(exported))
    return open_clip_encoder(tiny_folder, precision="fp32")


@pytest.fixture
def as_if_exported(exported: Path, tiny_folder: Path, cache: Path) -> Callable[[str, Path], None]:
    """Makes the tiny model's export that of another id and checkpoint, where the export is not what is tested."""
    from mmsearch.encoders.model_folder import ModelFolder, Weights

    def make(model_id: str, weights: Path) -> None:
        there = ModelFolder(f"open_clip/local-dir:{tiny_folder}").path.name
        folder = ModelFolder(model_id)
        shutil.copytree(exported / "models" / there, folder.path)
        meta = folder.path / "meta.json"
        meta.write_text(
            json.dumps({**json.loads(meta.read_text()), "id": model_id, "weights": asdict(Weights.of(weights))})
        )

    return make


@pytest.fixture(scope="session")
def needs_clap() -> None:
    if find_spec("torch") is None or find_spec("transformers") is None:
        pytest.skip("torch and transformers are not installed")


@pytest.fixture(scope="session")
def clap_folder(tmp_path_factory: pytest.TempPathFactory, needs_clap: None) -> Path:
    """A tiny CLAP model, as transformers saves it; to be read, not changed."""
    from tests.encoders import tiny_clap

    return tiny_clap.save_repository(tmp_path_factory.mktemp("models") / "clap")


@pytest.fixture(scope="session")
def clap_cache(tmp_path_factory: pytest.TempPathFactory, clap_folder: Path) -> Path:
    """A model cache in which the tiny CLAP model's text tower was exported; to be read, not changed."""
    from tests.encoders import tiny_clap

    folder = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(folder))
        tiny_clap.encoder(clap_folder).describe()
    return folder


@pytest.fixture
def clap(clap_cache: Path, clap_folder: Path, monkeypatch: pytest.MonkeyPatch) -> ClapEncoder:
    """The encoder of the tiny CLAP model, its text tower exported already."""
    from tests.encoders import tiny_clap

    monkeypatch.setenv("MMSEARCH_CACHE", str(clap_cache))
    return tiny_clap.encoder(clap_folder)  # type: ignore[no-any-return]


def open_clip_encoder(folder: Path, **options: str) -> OpenClipEncoder:
    from mmsearch.encoders import load_encoder

    return load_encoder(f"open_clip/local-dir:{folder}", device="cpu", **options)  # type: ignore[return-value,arg-type]


def picture(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Waves of colour with some noise: something to resample."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / rng.uniform(3, 30) + y / rng.uniform(3, 30) + phase) for phase in rng.uniform(0, 6, 3)]
    pixels = 127 + 100 * np.stack(waves, axis=-1) + rng.normal(0, 10, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
