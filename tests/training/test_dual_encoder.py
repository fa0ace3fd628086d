"""Captioned photos and a model to begin from go in, a model that mmsearch can use comes out."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")
pytest.importorskip("matplotlib")

from mmsearch.encoders import load_encoder  # noqa: E402
from mmsearch.errors import UsageError  # noqa: E402
from mmsearch.training.captions import CaptionedImages  # noqa: E402
from mmsearch.training.datasets import read_dataset  # noqa: E402
from mmsearch.training.dual_encoder import FINE_CLIP, FINE_MINI, Data, Place, Published, build, fine_tune  # noqa: E402
from mmsearch.training.recipe import HEADS, REFITTED, TUNED  # noqa: E402
from tests.encoders.tiny import save_repository  # noqa: E402
from tests.training.networks import ARCHITECTURE, SIDE, blotches, random_network, save_sentence_encoder  # noqa: E402

pytestmark = pytest.mark.full
SAMPLES = Path(__file__).parents[2] / "data/samples"
QUICK = replace(FINE_MINI, epochs=2, batch=8, views=2)


@pytest.fixture(scope="module")
def samples() -> Data:
    captioned = read_dataset(SAMPLES / "captions.csv", SAMPLES)
    return Data(captioned.select(range(12)), captioned.select(range(12, 18)))


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Small pictures that are told apart by the words said of them."""
    folder = tmp_path_factory.mktemp("coloured")
    paths: list[Path] = []
    words = ("dog", "cat", "boat", "tree", "house", "man", "woman", "ball", "snow", "sand", "rock", "car", "bird")
    for number, pixels in enumerate(blotches(24)):
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    captions = tuple(f"a {words[i % 13]} and a {words[(3 * i + 1) % 13]}" for i in range(24))
    everything = CaptionedImages(tuple(paths), captions, np.arange(24))
    return Data(everything.select(range(16)), everything.select(range(16, 24)))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    torch.save(random_network().state_dict(), folder / "lite0.pth")
    sentences = save_sentence_encoder(folder / "sentences")
    return Published(folder / "lite0.pth", sentences, ARCHITECTURE, SIDE, 32, 16, tuned_units=2, tuned_layers=1)


def test_the_built_in_model_can_be_fine_tuned_and_used_by_its_folder(samples: Data, tmp_path: Path) -> None:
    report = fine_tune("mini", samples, QUICK, Place(tmp_path / "out"))
    encoder = load_encoder(str(report.folder))
    assert encoder.id == report.model != "mini"
    assert encoder.encode_texts(["a cat"]).shape == (1, encoder.dim)
    assert min(report.parity.values()) >= 0.999
    assert report.before is not None
    assert not np.allclose(encoder.encode_texts(["a cat"]), load_encoder("mini").encode_texts(["a cat"]))
    written = json.loads((tmp_path / "out/report.json").read_text())
    assert written["exported"] == report.exported
    assert (tmp_path / "out/training.png").stat().st_size > 10_000


def test_the_text_towers_last_layers_learn_where_that_is_asked_for(samples: Data, tmp_path: Path) -> None:
    from mmsearch.training.mini_towers import folder_towers

    report = fine_tune("mini", samples, replace(QUICK, epochs=1), Place(tmp_path / "out"), text_layers=1)
    before, after = folder_towers(SAMPLES.parents[1] / "mmsearch/models"), folder_towers(report.folder)
    moved = [
        not torch.allclose(one.up.weight, other.up.weight, atol=1e-6)
        for one, other in zip(before.texts.sentences.layers, after.texts.sentences.layers, strict=True)
    ]
    assert moved == [False] * 5 + [True]


def test_a_finished_training_is_not_run_again_and_another_one_is_refused(samples: Data, tmp_path: Path) -> None:
    first = fine_tune("mini", samples, QUICK, Place(tmp_path / "out"))
    stages: list[str] = []
    place = Place(tmp_path / "out", progress=lambda progress: stages.append(progress.stage))
    assert fine_tune("mini", samples, QUICK, place).model == first.model
    assert "train" not in stages
    with pytest.raises(UsageError, match="other settings"):
        fine_tune("mini", samples, replace(QUICK, seed=1), Place(tmp_path / "out"))
    with pytest.raises(UsageError, match="other data"):
        fine_tune("mini", replace(samples, train=samples.train.select(range(10))), QUICK, Place(tmp_path / "out"))
    fine_tune("mini", samples, replace(QUICK, seed=1, epochs=1), Place(tmp_path / "out", fresh=True))


def test_an_open_clip_model_can_be_fine_tuned_with_a_locked_tower(samples: Data, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    start = f"open_clip/local-dir:{save_repository(tmp_path / 'clip')}"
    recipe = replace(FINE_CLIP, epochs=1, batch=6, precision="fp32", rates={"": 1e-3})
    report = fine_tune(start, samples, recipe, Place(tmp_path / "out"), lock="image")
    before, after = load_encoder(start, device="cpu"), load_encoder(report.model, device="cpu")
    photo = before.prepare_image(Image.new("RGB", (60, 60), "red"))
    np.testing.assert_allclose(before.encode_images([photo]), after.encode_images([photo]), atol=1e-4)
    assert not np.allclose(before.encode_texts(["a cat"]), after.encode_texts(["a cat"]), atol=1e-4)
    assert min(report.parity.values()) >= 0.999


def test_a_new_model_is_made_of_published_weights_in_three_stages(
    published: Published, coloured: Data, tmp_path: Path
) -> None:
    heads = replace(HEADS, epochs=3, batch=8, views=2, caption_views=2)
    tuned = replace(TUNED, epochs=2, batch=8, views=2, precision="fp32")
    refitted = replace(REFITTED, epochs=2, batch=8, views=1)
    report = build(published, coloured, Place(tmp_path / "out"), heads=heads, tuned=tuned, refitted=refitted)
    assert list(report.stages) == ["heads", "tuned", "integers"]
    assert set(report.parity) == {"images", "images_refitted", "texts"}
    assert min(report.parity.values()) >= 0.999
    assert report.in_integers is not None
    encoder = load_encoder(str(report.folder))
    assert (encoder.image_size, encoder.dim) == (SIDE, 16)
    lines = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines if "dev" in line] == ["heads"] * 3 + ["tuned"] * 2 + ["integers"] * 2


def test_a_folder_that_is_a_file_is_refused(samples: Data, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("something")
    with pytest.raises(UsageError, match="no folder"):
        fine_tune("mini", samples, QUICK, Place(tmp_path / "out"))


def test_the_samples_have_enough_captions_for_these_tests() -> None:
    with (SAMPLES / "captions.csv").open() as table:
        assert len({row["image"] for row in csv.DictReader(table)}) >= 18
