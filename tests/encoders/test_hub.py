"""Models on this machine, and how they come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmsearch.encoders import hub, load_encoder
from mmsearch.encoders.mini import MODELS
from mmsearch.errors import EncoderError, ModelMissingError, StorageError, UnknownEncoderError, UsageError
from tests.encoders import tiny as tiny_models
from tests.encoders.conftest import picture
from tests.encoders.hub_server import HubServer

PUBLISHED = "open_clip/ViT-B-32/laion2b_s34b_b79k"
MINE = "open_clip/hf-hub:someone/tiny"


def names(state: str) -> list[str]:
    return [model.id for model in hub.list_models() if model.state == state]


def test_the_built_in_model_is_listed_first_and_recommended_ones_last() -> None:
    models = hub.list_models()
    assert (models[0].id, models[0].state, models[0].dim) == ("mini", "built-in", load_encoder("mini").dim)
    assert {model.state for model in models} == {"built-in", "available"}
    assert all(model.size_bytes and model.dim and model.note for model in models)


@pytest.mark.full
@pytest.mark.usefixtures("needs_open_clip")
def test_every_recommended_model_exists_with_its_dimensions() -> None:
    import open_clip

    for model in hub.list_models():
        if model.id.startswith("open_clip/"):
            encoder = load_encoder(model.id)
            assert encoder.id == model.id
            assert open_clip.get_model_config(model.id.split("/")[1])["embed_dim"] == model.dim


def test_the_built_in_model_is_there_and_stays() -> None:
    assert hub.path("mini") == MODELS
    assert hub.pull("mini", offline=True) == MODELS
    with pytest.raises(UsageError, match="part of mmsearch"):
        hub.remove("mini")


@pytest.mark.parametrize("act", [hub.path, hub.pull, hub.remove])
def test_an_unknown_model_is_unknown_to_all(act: object) -> None:
    with pytest.raises(UnknownEncoderError, match="There is no model"):
        act("minni")  # type: ignore[operator]


@pytest.mark.full
@pytest.mark.usefixtures("needs_open_clip")
class TestOnesOwn:
    def test_a_folder_is_prepared_listed_and_forgotten_but_never_deleted(
        self, tmp_path: Path, cache: Path, as_if_exported: Any
    ) -> None:
        folder = tiny_models.save_repository(tmp_path / "model", tiny_models.architecture(layers=1))
        model_id = f"open_clip/local-dir:{folder}"
        steps: list[str] = []
        assert hub.pull(model_id, offline=True, notify=steps.append) == folder
        assert len(steps) == 1
        assert hub.path(model_id) == folder
        (listed,) = [model for model in hub.list_models() if model.state == "installed"]
        assert (listed.id, listed.dim, listed.note) == (model_id, 24, "")
        assert listed.size_bytes == sum(
            file.stat().st_size for file in [*folder.iterdir(), *cache.rglob("*")] if file.is_file()
        )
        hub.pull(model_id, offline=True, notify=steps.append)
        assert len(steps) == 1

        assert hub.remove(model_id) > 1_000_000
        assert names("installed") == []
        assert (folder / "open_clip_model.safetensors").exists()
        with pytest.raises(UsageError, match="not mmsearch's own"):
            hub.remove(model_id)

        as_if_exported(model_id, folder)
        shutil.rmtree(folder)
        (listed,) = [model for model in hub.list_models() if model.state == "installed"]
        assert "text queries only" in listed.note
        assert hub.path(model_id).is_relative_to(cache)
        hub.remove(model_id)
        with pytest.raises(ModelMissingError):
            hub.path(model_id)

    def test_a_cache_that_cannot_be_written_is_one_sentence(self, tiny_folder: Path, cache: Path) -> None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text("a file where a folder should be")
        with pytest.raises(StorageError, match="cannot be written"):
            hub.pull(f"open_clip/local-dir:{tiny_folder}")


@pytest.mark.full
@pytest.mark.usefixtures("needs_open_clip")
class TestPublished:
    @pytest.fixture
    def server(self, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
        from huggingface_hub import constants

        repositories = {"someone/tiny": tiny_folder, "someone/else": tmp_path}
        with HubServer(repositories).running() as server:
            self.point(monkeypatch, server.url, tmp_path)
            monkeypatch.delenv("MMSEARCH_OFFLINE")
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            yield server

    @pytest.fixture
    def prepared(self, as_if_exported: Any, tiny_folder: Path, tmp_path: Path) -> None:
        """The model's text tower, and its weights as if they had been deleted since."""
        gone = tmp_path / "gone.safetensors"
        shutil.copyfile(tiny_folder / "open_clip_model.safetensors", gone)
        as_if_exported(MINE, gone)
        gone.unlink()

    @staticmethod
    def point(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path) -> None:
        """Have the hub's client talk to another place, and share its cache with nobody."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.partition("/{repo_id}")
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{url}{template[1]}{template[2]}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "shared"))

    def test_a_model_is_fetched_once_and_used_without_a_network(
        self, server: HubServer, cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        weights = hub.pull(MINE, notify=steps.append)
        assert weights.name == "open_clip_model.safetensors"
        assert weights.is_relative_to(cache)
        assert [step.partition(" ")[0] for step in steps] == ["Fetching", "Preparing"]
        assert "MB)" in steps[0]
        assert capfd.readouterr() == ("", "")

        server.asked.clear()
        encoder = load_encoder(MINE)
        assert encoder.encode_images([encoder.prepare_image(picture())]).shape == (1, 24)
        assert load_encoder(MINE).encode_texts(["a dog"]).shape == (1, 24)
        assert hub.pull(MINE) == hub.path(MINE) == weights
        assert server.asked == []

        assert hub.remove(MINE) > 6_000_000
        assert list(cache.rglob("*.safetensors")) == []
        with pytest.raises(ModelMissingError):
            hub.path(MINE)
        with pytest.raises(ModelMissingError):
            hub.remove(MINE)

    @pytest.mark.usefixtures("prepared")
    def test_using_a_model_fetches_it_too(self, server: HubServer) -> None:
        encoder = load_encoder(MINE)
        assert encoder.encode_texts(["a dog"]).shape == (1, 24)
        assert server.asked == []
        assert encoder.encode_images([encoder.prepare_image(picture())]).shape == (1, 24)
        assert any("open_clip_model.safetensors" in path for path in server.asked)

    def test_offline_means_that_nothing_is_asked(self, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ModelMissingError, match="not to be used"):
            hub.pull(MINE, offline=True)
        with pytest.raises(ModelMissingError, match="not to be used"):
            load_encoder(MINE, offline=True).encode_texts(["a dog"])
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelMissingError, match="not to be used"):
            hub.pull(MINE)
        assert server.asked == []

    @pytest.mark.usefixtures("prepared")
    def test_weights_in_the_cache_that_all_programs_share_are_used_and_left_alone(
        self, server: HubServer, cache: Path
    ) -> None:
        from huggingface_hub import hf_hub_download

        for file in ("open_clip_config.json", "open_clip_model.safetensors"):
            hf_hub_download("someone/tiny", file)
        server.asked.clear()
        weights = hub.pull(MINE)
        assert not weights.is_relative_to(cache)
        hub.remove(MINE)
        assert weights.exists()
        with pytest.raises(UsageError, match="not mmsearch's own"):
            hub.remove(MINE)
        assert server.asked == []

    @pytest.mark.usefixtures("prepared")
    def test_what_arrives_damaged_is_deleted(self, server: HubServer, cache: Path) -> None:
        server.damage = True
        with pytest.raises(ModelMissingError, match="damaged"):
            hub.pull(MINE)
        assert list(cache.rglob("*.safetensors")) == []
        server.damage = False
        assert hub.pull(MINE).exists()

    @pytest.mark.usefixtures("prepared")
    def test_weights_that_come_back_are_known_again(self, server: HubServer) -> None:
        (listed,) = [model for model in hub.list_models() if model.state == "installed"]
        assert "text queries only" in listed.note
        hub.pull(MINE)
        (listed,) = [model for model in hub.list_models() if model.state == "installed"]
        assert listed.note == ""

    @pytest.mark.parametrize(
        ("model_id", "reason"),
        [
            ("open_clip/hf-hub:nobody/nothing", "the hub has no repository nobody/nothing"),
            ("open_clip/hf-hub:someone/else", "someone/else has no weights for open_clip"),
        ],
    )
    def test_a_repository_that_does_not_serve_is_told_from_one_that_is_not_there(
        self, server: HubServer, model_id: str, reason: str
    ) -> None:
        with pytest.raises(ModelMissingError, match=reason):
            hub.pull(model_id)

    def test_a_hub_out_of_reach_is_said_at_once(
        self, server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.point(monkeypatch, "http://127.0.0.1:9", tmp_path)  # the discard port: nobody listens
        for model_id in (MINE, PUBLISHED):
            with pytest.raises(ModelMissingError, match="the hub cannot be reached") as caught:
                hub.pull(model_id)
            assert f"mmsearch models pull {model_id}" in str(caught.value.hint)
        assert capfd.readouterr() == ("", "")

    def test_weights_that_belong_to_another_model_are_refused_and_can_be_removed(
        self, server: HubServer, tiny_folder: Path, cache: Path
    ) -> None:
        # The tag's repository with weights that are not its own: they are found, and refused when they are loaded.
        server.repositories["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"] = tiny_folder
        with pytest.raises(EncoderError, match="cannot be loaded") as caught:
            hub.pull(PUBLISHED)
        assert f"mmsearch models remove {PUBLISHED}" in str(caught.value.hint)
        assert hub.path(PUBLISHED).is_relative_to(cache)
        assert hub.remove(PUBLISHED) > 6_000_000
