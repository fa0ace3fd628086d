"""What a library holds more than once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import SearchEngine
from mmsearch.retrieval.duplicates import find_duplicates
from mmsearch.types import DuplicateGroup
from tests.cli.conftest import noise


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight unlike pictures; of 00 a smaller copy and one recompressed, of 01 the very file, and a text twice."""
    folder = tmp_path_factory.mktemp("pictures").resolve()
    noise(folder, 8)
    original = Image.open(folder / "00.png").resize((256, 256), Image.Resampling.NEAREST)
    original.save(folder / "00.png")
    original.resize((128, 128), Image.Resampling.BOX).save(folder / "smaller.png")
    original.save(folder / "recompressed.jpg", quality=90)
    (folder / "copies").mkdir()
    shutil.copy(folder / "01.png", folder / "copies" / "again.png")
    for name in ("note.txt", "copies/note.txt"):
        (folder / name).write_text("Two dogs on the beach. " * 20)
    return folder


@pytest.fixture(scope="module")
def library(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_TEST_ENCODERS", "1")
        with SearchEngine.open(library, model="hashing", create=True, read_only=False) as engine:
            engine.index([pictures])
    return library


@pytest.fixture
def engine(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SearchEngine]:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    with SearchEngine.open(library) as engine:
        yield engine


def names(groups: tuple[DuplicateGroup, ...], folder: Path) -> list[list[str]]:
    return [[item.path.relative_to(folder).as_posix() for item in group.items if item.path] for group in groups]


def test_groups_hold_what_looks_the_same_or_is_the_same_file(engine: SearchEngine, pictures: Path) -> None:
    groups = engine.duplicates()
    found = {frozenset(group) for group in names(groups, pictures)}
    assert found == {
        frozenset({"00.png", "smaller.png", "recompressed.jpg"}),
        frozenset({"01.png", "copies/again.png"}),
        frozenset({"note.txt", "copies/note.txt"}),
    }
    spare = [group.spare_bytes for group in groups]
    assert spare == sorted(spare, reverse=True)
    for group in groups:
        assert group.cosines[0] == 1 and all(0.9 < cosine <= 1 for cosine in group.cosines)
        assert group.spare_bytes == sum(item.size_bytes for item in group.items[1:])
        sizes = [(item.info.width or 0) * (item.info.height or 0) for item in group.items]
        assert sizes[0] == max(sizes)


def test_copies_of_a_file_are_told_from_pictures_that_look_alike(engine: SearchEngine, pictures: Path) -> None:
    same = {
        group[0]: found.same_content
        for group, found in zip(names(engine.duplicates(), pictures), engine.duplicates(), strict=True)
    }
    assert sorted(same.values()) == [(True, False, False), (True, True), (True, True)]


def test_only_what_passes_is_grouped(engine: SearchEngine, pictures: Path) -> None:
    assert names(engine.duplicates(filters="type:text"), pictures) in (
        [["note.txt", "copies/note.txt"]],
        [["copies/note.txt", "note.txt"]],
    )
    assert engine.duplicates("in:copies") == ()
    assert len(engine.duplicates("-type:text")) == 2
    assert engine.duplicates(filters="") == engine.duplicates()


def test_only_hits_are_grouped(engine: SearchEngine, pictures: Path) -> None:
    (group,) = names(
        engine.duplicates([str(pictures / "00.png")], filters="path:*0*.png,smaller.png,recompressed.jpg"), pictures
    )
    assert set(group) == {"00.png", "smaller.png", "recompressed.jpg"}


def test_no_chain_of_small_steps_joins_different_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    folder = tmp_path / "fading"
    folder.mkdir()
    rng = np.random.default_rng(5)
    first, last = (rng.integers(0, 256, (8, 8, 3)).astype(float) for _ in range(2))
    for step in range(21):
        pixels = (first * (20 - step) + last * step) / 20
        Image.fromarray(pixels.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST).save(
            folder / f"{step:02}.png"
        )
    with SearchEngine.open(tmp_path / "lib", model="hashing", create=True, read_only=False) as engine:
        engine.index([folder])
        groups = find_duplicates(engine.catalog, engine.encoders, cosine=0.95)
        assert len(groups) > 1
        for group in groups:
            assert min(group.cosines) >= 0.95 - 1e-3


def test_a_group_has_a_form_for_programs(engine: SearchEngine) -> None:
    row = engine.duplicates("type:text")[0].to_dict()
    assert list(row) == ["spare_bytes", "items"]
    assert list(row["items"][0]) == [
        "path", "modality", "size_bytes", "width", "height", "similarity", "same_content", "item_id", "key",
    ]  # fmt: skip


def test_a_library_without_anything_twice_has_no_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSEARCH_TEST_ENCODERS", "1")
    noise(tmp_path / "photos", 3)
    with SearchEngine.open(tmp_path / "lib", model="hashing", create=True, read_only=False) as engine:
        assert engine.duplicates() == ()
        engine.index([tmp_path / "photos"])
        assert engine.duplicates() == ()
