"""CLAP models on this machine, and how they come and go."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.encoders import hub, load_encoder
from mmsearch.errors import EncoderError, ModelMissingError, UsageError
from tests.encoders import tiny_clap
from tests.encoders.hub_server import HubServer
from tests.encoders.test_hub import TestPublished as Published
from tests.encoders.test_hub import names

PUBLISHED = "clap/laion/clap-htsat-unfused"
MINE = "clap/someone/sounds"


def test_recommended_models_say_what_they_are_for_and_what_they_need() -> None:
    listed = {model.id: model for model in hub.list_models() if model.id.startswith("clap/")}
    assert listed.keys() == {PUBLISHED, "clap/laion/larger_clap_general"}
    for model in listed.values():
        assert (model.state, model.dim) == ("available", 512)
        assert model.note.startswith("sounds")
        assert model.note.endswith("needs mmsearch[audio]")
        assert load_encoder(model.id).id == model.id


@pytest.mark.full
@pytest.mark.usefixtures("needs_clap")
@pytest.mark.parametrize(
    ("model_id", "audio"),
    [
        (PUBLISHED, {}),
        (
            "clap/laion/larger_clap_general",
            {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024},
        ),
    ],
)
def test_the_sizes_of_recommended_models_are_those_of_their_networks(model_id: str, audio: dict[str, object]) -> None:
    import torch
    from transformers import ClapConfig, ClapModel

    with torch.device("meta"):
        parameters = sum(value.numel() for value in ClapModel(ClapConfig(audio_config=audio)).parameters())
    (listed,) = [model for model in hub.list_models() if model.id == model_id]
    assert listed.size_bytes == pytest.approx(4 * parameters, rel=1e-3)


@pytest.mark.parametrize("act", [hub.path, hub.remove])
def test_one_that_is_not_here_is_told_how_to_fetch(act: object) -> None:
    with pytest.raises(ModelMissingError, match="is not on this machine") as caught:
        act(PUBLISHED)  # type: ignore[operator]
    assert f"mmsearch models pull {PUBLISHED}" in str(caught.value.hint)


@pytest.mark.full
@pytest.mark.usefixtures("needs_clap")
def test_a_folder_is_prepared_listed_and_forgotten_but_never_deleted(tmp_path: Path, clap_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clap_folder, folder)
    model_id = f"clap/local-dir:{folder}"
    steps: list[str] = []
    for spelling in (str(folder), f"clap/{folder}"):
        assert hub.pull(spelling, offline=True, notify=steps.append) == folder
    assert len(steps) == 1
    assert hub.path(model_id) == folder
    (listed,) = [model for model in hub.list_models() if model.state == "installed"]
    assert (listed.id, listed.dim, listed.note) == (model_id, tiny_clap.DIM, "")

    assert hub.remove(model_id) > 50_000
    assert names("installed") == []
    with pytest.raises(UsageError, match="not mmsearch's own"):
        hub.remove(model_id)
    assert (folder / "model.safetensors").exists()


@pytest.mark.full
@pytest.mark.usefixtures("needs_clap")
def test_a_folder_that_holds_something_else_by_now_does_not_break_the_list(tmp_path: Path, clap_folder: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(clap_folder, folder)
    hub.pull(str(folder))
    (folder / "config.json").write_text("{}")
    assert names("installed") == [f"clap/local-dir:{folder}"]


@pytest.mark.full
@pytest.mark.usefixtures("needs_clap")
class TestPulled:
    @pytest.fixture
    def server(self, clap_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
        from huggingface_hub import constants

        other, plain, bare = (tmp_path / name for name in ("other", "plain", "bare"))
        for folder in (other, plain, bare):
            shutil.copytree(clap_folder, folder)
        (other / "config.json").write_text('{"model_type": "bert"}')
        (plain / "config.json").unlink()
        (bare / "processor_config.json").unlink()
        repositories = {"someone/sounds": clap_folder, "someone/other": other}
        repositories |= {"someone/plain": plain, "someone/bare": bare}
        with HubServer({**repositories, "someone/empty": tmp_path / "empty"}).running() as server:
            Published.point(monkeypatch, server.url, tmp_path)
            monkeypatch.delenv("MMSEARCH_OFFLINE")
            monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
            yield server

    def test_a_model_is_fetched_once_and_used_without_a_network(
        self, server: HubServer, cache: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        steps: list[str] = []
        weights = hub.pull(MINE, notify=steps.append)
        assert weights.name == "model.safetensors"
        assert weights.is_relative_to(cache)
        assert [step.partition(" ")[0] for step in steps] == ["Fetching", "Preparing"]
        assert "MB)" in steps[0]

        server.asked.clear()
        encoder = load_encoder(MINE)
        assert encoder.encode_sounds([encoder.prepare_sound(tiny_clap.noise())]).shape == (1, tiny_clap.DIM)
        assert load_encoder(MINE).encode_texts(["rain"]).shape == (1, tiny_clap.DIM)
        assert hub.pull(MINE) == hub.path(MINE) == weights
        assert server.asked == []
        assert capfd.readouterr() == ("", "")

        assert hub.remove(MINE) > 300_000
        assert list(cache.rglob("*.safetensors")) == []
        with pytest.raises(ModelMissingError):
            hub.path(MINE)

    def test_using_a_model_fetches_it_too(self, server: HubServer) -> None:
        encoder = load_encoder(MINE)
        assert server.asked == []
        assert encoder.encode_texts(["rain"]).shape == (1, tiny_clap.DIM)
        assert any("model.safetensors" in path for path in server.asked)

    def test_offline_means_that_nothing_is_asked(self, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        for act in (
            lambda: hub.pull(MINE, offline=True),
            lambda: load_encoder(MINE, offline=True).encode_texts(["rain"]),
        ):
            with pytest.raises(ModelMissingError, match="the network is not to be used") as caught:
                act()
            assert f"mmsearch models pull {MINE}" in str(caught.value.hint)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelMissingError, match="not to be used"):
            hub.pull(MINE)
        assert server.asked == []

    def test_what_arrives_damaged_is_deleted(self, server: HubServer, cache: Path) -> None:
        server.damage = True
        with pytest.raises(ModelMissingError, match="damaged"):
            hub.pull(MINE)
        assert list(cache.rglob("*.safetensors")) == []
        server.damage = False
        assert hub.pull(MINE).exists()

    def test_weights_that_were_deleted_and_came_back_are_known_again(self, server: HubServer, cache: Path) -> None:
        hub.pull(MINE)
        shutil.rmtree(cache / "hub")
        (listed,) = [model for model in hub.list_models() if model.state == "installed"]
        assert "text queries only" in listed.note
        assert load_encoder(MINE, offline=True).encode_texts(["rain"]).shape == (1, tiny_clap.DIM)
        hub.pull(MINE)
        (listed,) = [model for model in hub.list_models() if model.state == "installed"]
        assert listed.note == ""

    def test_a_model_in_the_cache_that_all_programs_share_is_used_and_left_alone(
        self, server: HubServer, cache: Path, clap_folder: Path
    ) -> None:
        from huggingface_hub import hf_hub_download

        for file in sorted(clap_folder.iterdir()):
            hf_hub_download("someone/sounds", file.name)
        server.asked.clear()
        weights = hub.pull(MINE)
        assert not weights.is_relative_to(cache)
        hub.remove(MINE)
        assert weights.exists()
        assert server.asked == []

    def test_one_that_another_program_has_in_part_is_fetched_as_a_whole(self, server: HubServer, cache: Path) -> None:
        from huggingface_hub import hf_hub_download

        for file in ("config.json", "model.safetensors"):
            hf_hub_download("someone/sounds", file)
        assert hub.pull(MINE).is_relative_to(cache)

    @pytest.mark.parametrize(
        ("model_id", "reason"),
        [
            ("clap/nobody/nothing", "the hub has no repository nobody/nothing"),
            ("clap/someone/empty", "someone/empty has no weights for CLAP"),
            ("clap/someone/other", "someone/other is no CLAP model"),
            ("clap/someone/plain", "someone/plain is no CLAP model"),
            ("clap/someone/bare", "someone/bare lacks the settings of a processor"),
        ],
    )
    def test_a_repository_that_does_not_serve_is_told_from_one_that_is_not_there(
        self, server: HubServer, model_id: str, reason: str
    ) -> None:
        with pytest.raises(ModelMissingError, match=reason):
            hub.pull(model_id)
        assert not any("GET" in asked and "model.safetensors" in asked for asked in server.asked)

    def test_a_hub_out_of_reach_is_said_at_once(
        self, server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        Published.point(monkeypatch, "http://127.0.0.1:9", tmp_path)  # the discard port: nobody listens
        with pytest.raises(ModelMissingError, match="the hub cannot be reached"):
            hub.pull(PUBLISHED)

    def test_weights_that_do_not_load_can_be_removed(
        self, server: HubServer, clap_folder: Path, tmp_path: Path, cache: Path
    ) -> None:
        folder = tmp_path / "cut"
        shutil.copytree(clap_folder, folder)
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:9000])
        server.repositories["someone/sounds"] = folder
        with pytest.raises(EncoderError, match="cannot be loaded") as caught:
            hub.pull(MINE)
        assert f"mmsearch models remove {MINE}" in str(caught.value.hint)
        assert hub.remove(MINE) > 9000
