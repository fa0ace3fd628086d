"""Captioned pictures and an encoder go in, a reranker for its shortlists comes out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")

from mmsearch.encoders.hashing import HashingEncoder  # noqa: E402
from mmsearch.encoders.mini_text import read_safetensors  # noqa: E402
from mmsearch.errors import EncoderError, StorageError, UsageError  # noqa: E402
from mmsearch.rerank.fusion import FusionReranker  # noqa: E402
from mmsearch.training import reranker as module  # noqa: E402
from mmsearch.training.captions import CaptionedImages  # noqa: E402
from mmsearch.training.metrics import Metrics  # noqa: E402
from mmsearch.training.place import Data, Place  # noqa: E402
from mmsearch.training.reranker import RerankRecipe, train_reranker  # noqa: E402
from mmsearch.types import Progress, TokenFormat  # noqa: E402
from tests.training.halves import data_of, halves  # noqa: E402

pytestmark = pytest.mark.full
RECIPE = RerankRecipe(
    epochs=8,
    batch=16,
    rate=0.01,
    average=0.9,
    views=2,
    near=8,
    distorted=4,
    side=4,
    dim=16,
    matched=16,
    hidden=16,
    depths=(2,),
    blind=0.0,
    shortlist=10,
)
QUICK = replace(RECIPE, epochs=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return data_of(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Data, tmp_path_factory: pytest.TempPathFactory) -> tuple[module.RerankReport, Place]:
    place = Place(tmp_path_factory.mktemp("trained") / "out")
    return train_reranker(HashingEncoder(), data, RECIPE, place), place


def weights(file: Path) -> dict[str, np.ndarray]:
    return read_safetensors(file)[0]


def same(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(np.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)


def test_it_learns_to_tell_what_the_encoder_cannot(trained: tuple[module.RerankReport, Place]) -> None:
    report, place = trained
    losses = [line["loss"] for line in Metrics(place.metrics).lines() if "loss" in line]
    assert len(losses) == 8 * 3 and np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    best = report.after[10]
    assert best["text_to_image"]["mrr"] > report.before["text_to_image"]["mrr"] + 0.1
    assert report.alone["text_to_image"]["mrr"] > report.before["text_to_image"]["mrr"] + 0.1
    assert report.parity < 0.05


def test_what_is_written_is_a_reranker_of_the_encoder(trained: tuple[module.RerankReport, Place]) -> None:
    report, place = trained
    assert report.file == place.out / "reranker.safetensors"
    reranker = FusionReranker(report.file)
    assert reranker.id == report.reranker and reranker.settings.encoder == "hashing"
    assert reranker.tokens == TokenFormat(16, 16) and report.token_bytes == 256
    assert reranker.settings.grid == (4, 4) == reranker.settings.wanted
    for reading in (reranker.settings.text_to_image, reranker.settings.image_to_text):
        assert np.isfinite([reading.logit, reading.prior, reading.constant, reading.hub]).all()
    arrays = weights(report.file)
    assert arrays["bank"].dtype == np.int8 and arrays["bank"].shape[1] == 64
    assert {str(arrays[name].dtype) for name in ("adapter.mean", "adapter.spread")} == {"float32"}
    assert str(arrays["readers.0.places"].dtype) == "float16" and "log_scale" not in arrays


def test_the_report_the_figures_and_the_plot_are_written(
    trained: tuple[module.RerankReport, Place], data: Data
) -> None:
    report, place = trained
    written = json.loads(place.report.read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert (written["photos"], written["captions"], written["epochs"]) == (48, 96, 8)
    assert list(written["after"]) == ["10"] and set(written["after"]["10"]) == {"text_to_image", "image_to_text"}
    assert written["recipe"]["depths"] == [2] and written["recipe"]["seed"] == 0
    for figures in (written["before"], written["alone"], written["without_hubs"]):
        assert 0 <= figures["image_to_text"]["recall@1"] <= 1
    dev = [line for line in Metrics(place.metrics).lines() if "dev" in line]
    assert [line["epoch"] for line in dev] == list(range(1, 9)) and {line["stage"] for line in dev} == {"reranker"}
    assert place.plot.stat().st_size > 10_000


def test_the_figures_of_the_report_are_those_of_a_search_of_the_same(
    trained: tuple[module.RerankReport, Place], data: Data
) -> None:
    from mmsearch.evaluation import CaptionSet, evaluate_captions

    report, _ = trained
    captions = CaptionSet(data.dev.images, data.dev.captions, data.dev.owners)
    found = evaluate_captions(HashingEncoder(), captions, reranker=FusionReranker(report.file), shortlist=10)
    assert found.reranked is not None
    assert found.text_to_image.mrr == pytest.approx(report.before["text_to_image"]["mrr"], abs=1e-6)
    assert found.image_to_text.mrr == pytest.approx(report.before["image_to_text"]["mrr"], abs=1e-6)
    # The file's reading was fitted on all of the dev set, the report's on the other half.
    assert found.reranked.text_to_image.mrr == pytest.approx(report.after[10]["text_to_image"]["mrr"], abs=0.12)
    assert found.reranked.image_to_text.mrr == pytest.approx(report.after[10]["image_to_text"]["mrr"], abs=0.2)


def test_a_training_that_is_ended_goes_on_to_the_same_weights(
    trained: tuple[module.RerankReport, Place], data: Data, tmp_path: Path
) -> None:
    report, place = trained

    def stop_at(step: int) -> Callable[[Progress], None]:
        def stop(progress: Progress) -> None:
            if progress.stage == "train" and progress.done == step:
                raise KeyboardInterrupt

        return stop

    for step in (5, 7):
        with pytest.raises(KeyboardInterrupt):
            train_reranker(HashingEncoder(), data, RECIPE, Place(tmp_path / "out", progress=stop_at(step)))
        assert not (tmp_path / "out" / "reranker.safetensors").exists()
    resumed = train_reranker(HashingEncoder(), data, RECIPE, Place(tmp_path / "out"))
    assert same(resumed.file, report.file)
    steps = [
        [line["step"] for line in Metrics(own).lines()] for own in (place.metrics, Place(tmp_path / "out").metrics)
    ]
    assert steps[0] == steps[1]


def test_a_finished_training_is_not_run_again_and_another_one_is_refused(
    trained: tuple[module.RerankReport, Place], data: Data
) -> None:
    report, place = trained
    seen: list[str] = []
    again = train_reranker(
        HashingEncoder(), data, RECIPE, replace(place, progress=lambda progress: seen.append(progress.stage))
    )
    assert again.reranker == report.reranker and seen == []
    for other in (replace(RECIPE, seed=1), replace(RECIPE, gate=False)):
        with pytest.raises(UsageError, match="other settings"):
            train_reranker(HashingEncoder(), data, other, place)
    with pytest.raises(UsageError, match="other data"):
        train_reranker(HashingEncoder(), Data(data.train.select(np.arange(40)), data.dev), RECIPE, place)


@pytest.mark.parametrize(
    "recipe",
    [
        replace(QUICK, layers=0, gate=False),
        replace(QUICK, layers=2, heads=4, depths=(0, 2), side=2),
        replace(QUICK, hard=0.0, distorted=0, caption_views=1, matching=0.0, views=1, precision="bf16"),
    ],
)
def test_every_part_can_be_left_out_or_taken_twice(data: Data, tmp_path: Path, recipe: RerankRecipe) -> None:
    report = train_reranker(HashingEncoder(), data, recipe, Place(tmp_path / "out"))
    reranker = FusionReranker(report.file)
    assert report.parity < 0.1 and report.token_bytes == 16 * min(4, recipe.side) ** 2
    assert ("readers.0.gate.weight" in weights(report.file)) is recipe.gate
    assert ("readers.1.places" in weights(report.file)) is (len(recipe.depths) == 2)
    assert reranker.settings.depths == recipe.depths and reranker.settings.layers == recipe.layers


def test_a_fresh_start_takes_nothing_from_before(data: Data, tmp_path: Path) -> None:
    train_reranker(HashingEncoder(), data, QUICK, Place(tmp_path / "out"))
    other = train_reranker(HashingEncoder(), data, replace(QUICK, seed=1), Place(tmp_path / "out", fresh=True))
    assert other.recipe.seed == 1


def test_captions_that_cannot_be_distorted_and_a_dev_set_of_one_picture_are_enough(tmp_path: Path) -> None:
    pictures = halves(tmp_path / "p", 8)
    captions = tuple(f"it is number {number} there" for number in range(7))
    # The last picture of each set has no caption.
    train = CaptionedImages(pictures.images[:6], captions[:5], np.arange(5))
    dev = CaptionedImages(pictures.images[6:], captions[5:6], np.array([0]))
    report = train_reranker(HashingEncoder(), Data(train, dev), QUICK, Place(tmp_path / "out"))
    assert report.before["text_to_image"]["mrr"] == 1.0 and FusionReranker(report.file).id == report.reranker


def test_an_encoder_without_patches_is_refused_at_once(data: Data, tmp_path: Path) -> None:
    class Blind(HashingEncoder):
        patches = None  # type: ignore[assignment]

    with pytest.raises(UsageError, match="yields nothing but embeddings") as caught:
        train_reranker(Blind(), data, QUICK, Place(tmp_path / "out"))
    assert caught.value.hint is not None and "open_clip" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_sets_without_captions_are_refused_at_once(data: Data, tmp_path: Path) -> None:
    silent = CaptionedImages(data.dev.images, (), np.zeros(0, np.int64))
    for given in (Data(silent, data.dev), Data(data.train, silent)):
        with pytest.raises(UsageError, match="no captions"):
            train_reranker(HashingEncoder(), given, QUICK, Place(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_file_that_does_not_compute_what_was_trained_is_told(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = FusionReranker.logits
    monkeypatch.setattr(FusionReranker, "logits", lambda *given: logits(*given) + 1.0)
    with pytest.raises(EncoderError, match="differs from the trained one"):
        train_reranker(HashingEncoder(), data, QUICK, Place(tmp_path / "out"))


def test_a_place_that_cannot_be_written_is_told(data: Data, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("something")
    with pytest.raises(UsageError, match="no folder"):
        train_reranker(HashingEncoder(), data, QUICK, Place(tmp_path / "out"))
    (tmp_path / "other" / "reranker.safetensors").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be written"):
        train_reranker(HashingEncoder(), data, QUICK, Place(tmp_path / "other"))
