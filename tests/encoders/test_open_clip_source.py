"""The grammar of open_clip ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.encoders.open_clip_source import OpenClipSource, known_models, known_tags
from mmsearch.errors import UnknownEncoderError
from tests.encoders import tiny

needs_open_clip = pytest.mark.usefixtures("needs_open_clip")


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("open_clip/ViT-B-32/laion2b_s34b_b79k", "open_clip/ViT-B-32/laion2b_s34b_b79k"),
        ("open_clip/vit-b-32/LAION2B-s34b-b79k", "open_clip/ViT-B-32/laion2b_s34b_b79k"),
        ("open_clip/ViT-B-32-quickgelu/openai", "open_clip/ViT-B-32/openai"),
        ("open_clip/ViT-H-14-378-quickgelu/dfn5b", "open_clip/ViT-H-14-378/dfn5b"),
    ],
)
@pytest.mark.full
@needs_open_clip
def test_published_weights_have_one_id_however_they_are_spelled(name: str, id: str) -> None:
    source = OpenClipSource.parse(name)
    assert (source.id, source.kind) == (id, "tag")
    assert OpenClipSource.parse(source.id) == source


@pytest.mark.full
@needs_open_clip
def test_the_table_of_tags_is_read_as_open_clip_has_it() -> None:
    import open_clip

    ids = {(model, tag) for model, tags in known_tags().items() for tag in tags}
    published = set(open_clip.list_pretrained())
    # The others are the same weights under the name of an activation, which ids leave out.
    assert ids == {(model, tag) for model, tag in published if not model.endswith("-quickgelu")}
    assert {(model.removesuffix("-quickgelu"), tag) for model, tag in published} == ids


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("open_clip/ViT-B-32/lion2b_s34b_b79k", "open_clip/ViT-B-32/laion2b_s34b_b79k"),
        ("open_clip/VitB32/openai", "open_clip/ViT-B-32/openai"),
        ("open_clip/ViT-B-32", "laion2b_s34b_b79k"),
        ("open_clip/ViT-S-32", "<checkpoint file>"),
        ("open_clip/hf-hub:laion", "<organisation>/<name>"),
    ],
)
@pytest.mark.full
@needs_open_clip
def test_a_wrong_id_is_answered_with_near_ones(name: str, meant: str) -> None:
    with pytest.raises(UnknownEncoderError) as caught:
        OpenClipSource.parse(name)
    assert meant in str(caught.value.hint)


def test_a_hub_repository_needs_no_table() -> None:
    source = OpenClipSource.parse("open_clip/hf-hub:some-one/Some.Thing_2")
    assert (source.kind, source.repository, source.local) == ("hub", "some-one/Some.Thing_2", None)
    assert OpenClipSource.parse(source.id) == source


@pytest.mark.parametrize("spelling", ["local-dir:models/mine", "./models/mine", "local-dir:./models/../models/mine"])
def test_a_folder_has_one_id_from_any_place(spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    source = OpenClipSource.parse(f"open_clip/{spelling}")
    assert (source.id, source.local) == (f"open_clip/local-dir:{folder.resolve()}", folder.resolve())
    monkeypatch.chdir(folder)
    assert OpenClipSource.parse(source.id) == source


@pytest.mark.parametrize("spelling", ["mine.pt", "./mine.pt", "../here/mine.pt", "sub/mine", ".\\mine"])
@pytest.mark.full
@needs_open_clip
def test_a_checkpoint_is_told_from_a_tag_by_its_looks(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    source = OpenClipSource.parse(f"open_clip/ViT-B-32/{spelling}")
    assert (source.kind, source.local) == ("file", (here / spelling).resolve())
    assert OpenClipSource.parse(source.id) == source


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownEncoderError, match=r"no folder with an open_clip_config\.json"):
        OpenClipSource.parse(f"open_clip/local-dir:{tmp_path}")


@pytest.mark.full
@needs_open_clip
def test_an_architecture_that_was_registered_is_known(tmp_path: Path) -> None:
    tiny.register(tmp_path)
    assert tiny.TINY in known_models()
    assert OpenClipSource.parse(f"open_clip/{tiny.TINY}/mine.pt").model == tiny.TINY


@given(st.text(max_size=40) | st.sampled_from(["~nobody/x", "./\x00", "ViT-B-32/./\x00.pt", "/" + "long" * 2000]))
def test_any_text_is_an_id_or_refused(name: str) -> None:
    try:
        source = OpenClipSource.parse(f"open_clip/{name}")
    except UnknownEncoderError:
        return
    assert OpenClipSource.parse(source.id) == source
