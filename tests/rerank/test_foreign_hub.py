"""How published rerankers come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.encoders import hub
from mmsearch.errors import ModelMissingError, UnknownEncoderError, UsageError
from mmsearch.rerank.foreign import load_foreign_reranker
from tests.encoders import tiny
from tests.encoders.conftest import picture
from tests.encoders.hub_server import HubServer
from tests.encoders.test_hub import TestPublished as Published
from tests.rerank import tiny_blip
from tests.rerank.pairs import candidate, term

COCA, BLIP = "coca/hf-hub:someone/coca", "blip/someone/blip"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMSEARCH_OFFLINE", "1")
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["blip/Salesforce/blip-itm-base-coco", "coca/coca_ViT-B-32/laion2b_s13b_b90k"])
def test_one_that_is_not_here_is_told_how_to_fetch(name: str) -> None:
    for act in (hub.path, hub.remove):
        with pytest.raises(ModelMissingError, match="is not on this machine") as caught:
            act(name)
        assert f"mmsearch models pull {name}" in str(caught.value.hint)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    for package in ("torch", "open_clip", "transformers"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(tiny_blip.save_repository(folder / "blip"), folder / "bert")
    (folder / "bert" / "config.json").write_text('{"model_type": "bert"}')
    tiny.save_repository(folder / "coca", tiny.coca())
    return {f"someone/{name}": folder / name for name in ("blip", "coca", "bert")}


@pytest.mark.full
class TestPulled:
    @pytest.fixture
    def server(
        self, repositories: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Iterator[HubServer]:
        from huggingface_hub import constants

        with HubServer(repositories).running() as server:
            Published.point(monkeypatch, server.url, tmp_path)
            monkeypatch.delenv("MMSEARCH_OFFLINE")
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            yield server

    @pytest.mark.parametrize("name", [COCA, BLIP])
    def test_a_model_is_fetched_once_and_used_without_a_network(
        self, name: str, server: HubServer, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pairs = []
        for seed in range(3):
            picture(seed).save(tmp_path / f"{seed}.png")
            pairs.append(candidate(tmp_path / f"{seed}.png"))
        with pytest.raises(ModelMissingError, match="the network is not to be used"):
            load_foreign_reranker(name, device="cpu").log_odds(term("a dog"), pairs)
        assert server.asked == []
        steps: list[str] = []
        weights = hub.pull(name, notify=steps.append)
        assert weights.is_relative_to(cache)
        assert [step.partition(" (")[0] for step in steps] == [f"Fetching {name}"]
        server.asked.clear()
        odds = load_foreign_reranker(name, device="cpu").log_odds(term("a dog"), pairs)
        assert odds is not None and odds.shape == (3,)
        assert hub.pull(name) == hub.path(name) == weights
        assert server.asked == []
        assert capfd.readouterr() == ("", "")
        assert hub.remove(name) > 100_000
        assert list(cache.rglob("*.safetensors")) == []

    def test_weights_that_an_encoder_uses_too_are_kept_for_it(self, server: HubServer, cache: Path) -> None:
        hub.pull("open_clip/hf-hub:someone/coca")
        weights = hub.pull(COCA)
        with pytest.raises(UsageError, match="another model"):
            hub.remove(COCA)
        assert weights.exists()
        hub.remove("open_clip/hf-hub:someone/coca")
        assert not weights.exists()

    def test_a_repository_of_something_else_is_told(self, server: HubServer) -> None:
        with pytest.raises(ModelMissingError, match="someone/bert is no BLIP model"):
            hub.pull("blip/someone/bert")

    def test_a_tag_that_does_not_exist_is_told_with_near_ones(self) -> None:
        pytest.importorskip("open_clip")  # which knows the tags
        with pytest.raises(UnknownEncoderError, match="coca/coca_ViT-B-32/laion2b_s13b") as caught:
            hub.pull("coca/coca_ViT-B-32/laion2b_s13b")
        assert "coca/coca_ViT-B-32/laion2b_s13b_b90k" in str(caught.value.hint)
        assert "open_clip/" not in str(caught.value)
