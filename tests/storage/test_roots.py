from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.storage.catalog import Catalog
from mmsearch.types import Root
from tests.storage.making import RECORD, image_source, new_item

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name)


def test_adding_a_root_again_changes_nothing(catalog: Catalog, photos: Path) -> None:
    first = catalog.add_root(photos)
    assert catalog.add_root(photos) == first
    assert catalog.add_root(photos / "sub" / "..") == first
    assert catalog.roots() == (first,)


def test_a_root_named_through_a_link_is_the_same_root(catalog: Catalog, photos: Path, tmp_path: Path) -> None:
    first = catalog.add_root(photos)
    (tmp_path / "link").symlink_to(photos)
    assert catalog.add_root(tmp_path / "link") == first
    catalog.write(items=[new_item(first.id, "a.jpg")])
    found = catalog.item_at(tmp_path / "link" / "a.jpg")
    assert found is not None and found.path == photos / "a.jpg"


def test_a_file_below_a_linked_root_is_found_by_its_real_path(catalog: Catalog, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    root = catalog.add_root(tmp_path / "link")
    catalog.write(items=[new_item(root.id, "a.jpg")])
    assert catalog.item_at(photos / "a.jpg") is not None


def test_a_root_inside_another_has_items_of_its_own(catalog: Catalog, photos: Path) -> None:
    outer, inner = catalog.add_root(photos), catalog.add_root(photos / "holiday")
    assert outer.id != inner.id
    catalog.write(items=[new_item(outer.id, "holiday/a.jpg", 1), new_item(outer.id, "b.jpg", 2)])
    found = catalog.item_at(photos / "holiday" / "a.jpg")
    assert found is not None and found.size_bytes == 1
    catalog.write(items=[new_item(inner.id, "a.jpg", 3)])
    found = catalog.item_at(photos / "holiday" / "a.jpg")
    assert found is not None and found.size_bytes == 3
    assert catalog.remove_root(inner.id) == 1
    assert set(catalog.known_files(outer.id)) == {"holiday/a.jpg", "b.jpg"}


def test_a_root_is_no_item(catalog: Catalog, root: Root) -> None:
    assert catalog.item_at(root.path) is None
    assert catalog.item_at(root.path.parent / "elsewhere.jpg") is None


def test_removing_a_root_removes_its_items_and_failures(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, str(number), number) for number in range(7)])
    assert catalog.remove_root(root.id) == 7
    assert catalog.roots() == ()
    assert catalog.segments(ids) == {}
    assert sorted(image_source(catalog).removed_since(0).tolist()) == list(ids)
    assert image_source(catalog).watermark().count == 0
    assert catalog.remove_root(root.id) == 0


def test_a_file_is_found_by_a_relative_path(catalog: Catalog, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog.write(items=[new_item(root.id, "a/b.jpg")])
    monkeypatch.chdir(root.path)
    assert catalog.item_at(Path("a/b.jpg")) is not None
    assert catalog.item_at(Path("x/../a/b.jpg")) is not None


@pytest.mark.parametrize("name", [b"new\nline.jpg", "🐕.jpg".encode(), b"caf\xe9\xff.jpg", b"%41?.jpg", b"'; --\\.jpg"])
def test_odd_names_come_back_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    # The library's own folder has the odd name too: it goes into a URI.
    folder = tmp_path / os.fsdecode(name)
    with Catalog.open(folder / ".mmsearch", create=True) as catalog:
        catalog.register_encoders([RECORD])
        root = catalog.add_root(folder)
        (folder / os.fsdecode(name)).touch()
        (segment_id,) = catalog.write(items=[new_item(root.id, os.fsdecode(name))])
    with Catalog.open(folder / ".mmsearch", read_only=True) as catalog:
        item = catalog.segments([segment_id])[segment_id].item
        assert item.path is not None and item.path.exists()
        assert os.fsencode(item.path.name) == name
        assert catalog.item_at(folder / os.fsdecode(name)) == item


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=1, max_size=20, unique=True))
def test_any_name_that_a_file_can_have_round_trips(catalog: Catalog, names: list[bytes]) -> None:
    root = catalog.add_root(Path("/round/trip"))
    paths = [os.fsdecode(name) for name in names]
    catalog.write(items=[new_item(root.id, path, number) for number, path in enumerate(paths)])
    known = catalog.known_files(root.id)
    assert {path: file.size_bytes for path, file in known.items()} == {path: n for n, path in enumerate(paths)}
    catalog.remove_root(root.id)


def _library_inside(folder: Path, below: str = ".mmsearch") -> Path:
    """A library inside the one root that it holds, with real files."""
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (folder / name).write_bytes(b"x")
    with Catalog.open(folder / below, create=True) as catalog:
        catalog.register_encoders([RECORD])
        root = catalog.add_root(folder)
        catalog.write(items=[new_item(root.id, name, n) for n, name in enumerate(("a.jpg", "sub/b.jpg"))])
    return folder / below


@pytest.mark.parametrize("below", [".mmsearch", "deep/er/library", "."])
def test_a_library_inside_its_root_moves_with_it(tmp_path: Path, below: str) -> None:
    _library_inside(tmp_path / "photos", below)
    shutil.move(tmp_path / "photos", tmp_path / "moved")
    with Catalog.open(tmp_path / "moved" / below, read_only=True) as catalog:
        (root,) = catalog.roots()
        assert root.path == tmp_path / "moved"
        found = catalog.item_at(tmp_path / "moved" / "sub" / "b.jpg")
        assert found is not None and found.path is not None and found.path.exists()
        assert catalog.status().roots[0]["present"]
    with Catalog.open(tmp_path / "moved" / below) as catalog:
        assert catalog.add_root(tmp_path / "moved") == root


def test_a_copied_tree_uses_its_own_files(tmp_path: Path) -> None:
    _library_inside(tmp_path / "photos")
    shutil.copytree(tmp_path / "photos", tmp_path / "copy")
    with Catalog.open(tmp_path / "copy" / ".mmsearch", read_only=True) as catalog:
        assert catalog.roots()[0].path == tmp_path / "copy"


def test_a_library_that_left_its_root_still_finds_it(tmp_path: Path) -> None:
    library = _library_inside(tmp_path / "photos")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "unrelated.jpg").touch()
    shutil.move(library, tmp_path / "other" / "library")
    with Catalog.open(tmp_path / "other" / "library") as catalog:
        assert catalog.roots()[0].path == tmp_path / "photos"


def test_a_library_elsewhere_keeps_the_absolute_path(tmp_path: Path, photos: Path) -> None:
    (photos / "a.jpg").touch()
    with Catalog.open(tmp_path / "library", create=True) as catalog:
        catalog.add_root(photos)
    shutil.move(tmp_path / "library", tmp_path / "moved")
    with Catalog.open(tmp_path / "moved") as catalog:
        assert catalog.roots()[0].path == photos


def test_the_root_of_the_file_system_does_not_move(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "a" / "library", create=True) as catalog:
        catalog.add_root(Path("/"))
    shutil.move(tmp_path / "a" / "library", tmp_path / "library")
    with Catalog.open(tmp_path / "library") as catalog:
        assert catalog.roots()[0].path == Path("/")
