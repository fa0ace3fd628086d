from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.scan import DEFAULT_IGNORES, IgnoreRules, Scan, scan
from indexer.targets import Target
from mmsearch.types import Failure, ScannedFile
from tests.indexer.shelf import put


def _scan(
    folder: Path, *patterns: str, hidden: bool = False, roots: tuple[Path, ...] = ()
) -> tuple[list[str], dict[str, str]]:
    found = list(
        Scan(Target(folder.resolve()), IgnoreRules((*DEFAULT_IGNORES, *patterns), include_hidden=hidden), roots=roots)
    )
    files = [entry.path for entry in found if isinstance(entry, ScannedFile)]
    failed = {entry.path.name: entry.reason for entry in found if isinstance(entry, Failure)}
    return files, failed


def test_pictures_are_found_in_all_folders_in_a_fixed_order(photos: Path) -> None:
    for name in ("b.jpg", "a.PNG", "z/c.webp", "m/k/d.heic", "m/e.gif", "notes.xyz", "m/raw.dng"):
        put(photos / name, 1)
    assert _scan(photos)[0] == ["a.PNG", "b.jpg", "m/e.gif", "m/k/d.heic", "z/c.webp"]


def test_a_file_is_described_by_its_size_and_time(photos: Path) -> None:
    path = put(photos / "a.png", 1)
    (file,) = scan([photos])
    assert isinstance(file, ScannedFile)
    assert (file.size_bytes, file.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert file.absolute == path.resolve()


@pytest.mark.parametrize(
    "name",
    [".hidden.jpg", ".cache/a.jpg", ".git/a.jpg", "@eaDir/a.jpg", "x/node_modules/y/a.jpg", "._a.jpg", "x/._a.jpg"],
)
def test_what_no_one_wants_indexed_is_passed_over(photos: Path, name: str) -> None:
    put(photos / name, 1)
    assert _scan(photos) == ([], {})


def test_hidden_files_are_found_on_demand_but_never_libraries(photos: Path) -> None:
    for name in (".hidden.jpg", ".cache/a.jpg", ".mmsearch/a.jpg", ".git/a.jpg", "._a.jpg"):
        put(photos / name, 1)
    assert _scan(photos, hidden=True)[0] == [".hidden.jpg", ".cache/a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "passed_over"),
    [
        ("*.gif", {"a.gif", "x/b.gif", "x/y/c.gif"}),
        ("x", {"x/b.gif", "x/b.jpg", "x/y/c.gif"}),
        ("x/", {"x/b.gif", "x/b.jpg", "x/y/c.gif"}),
        ("./x/y", {"x/y/c.gif"}),
        ("x/*.gif", {"x/b.gif", "x/y/c.gif"}),
        ("[ab].gif", {"a.gif", "x/b.gif"}),
        ("?.jpg", {"d.jpg", "x/b.jpg"}),
        ("X", set()),
        ("", set()),
    ],
)
def test_globs_of_the_user_are_passed_over_as_well(photos: Path, pattern: str, passed_over: set[str]) -> None:
    names = {"a.gif", "d.jpg", "x/b.gif", "x/b.jpg", "x/y/c.gif"}
    for name in names:
        put(photos / name, 1)
    assert set(_scan(photos, pattern)[0]) == names - passed_over


def test_a_glob_may_be_an_absolute_path(photos: Path) -> None:
    put(photos / "x" / "a.jpg", 1)
    put(photos / "b.jpg", 1)
    assert _scan(photos, str(photos.resolve() / "x"))[0] == ["b.jpg"]


def test_a_link_to_its_own_parent_does_not_index_files_again(photos: Path) -> None:
    put(photos / "x" / "a.jpg", 1)
    (photos / "x" / "loop").symlink_to(photos)
    (photos / "x" / "self").symlink_to(photos / "x")
    (photos / "again").symlink_to(photos / "x")
    assert _scan(photos) == (["x/a.jpg"], {"loop": "link loop", "self": "link loop"})


def test_a_loop_through_a_folder_outside_ends(photos: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside / "b.jpg", 1)
    put(photos / "a.jpg", 1)
    (photos / "out").symlink_to(outside)
    (outside / "back").symlink_to(photos)
    (outside / "up").symlink_to(tmp_path)
    assert _scan(photos) == (["a.jpg", "out/b.jpg"], {"up": "link loop"})


def test_a_folder_outside_that_two_links_lead_to_is_entered_once(photos: Path, tmp_path: Path) -> None:
    put(tmp_path / "outside" / "a.jpg", 1)
    (photos / "one").symlink_to(tmp_path / "outside")
    (photos / "two").symlink_to(tmp_path / "outside")
    assert _scan(photos)[0] == ["one/a.jpg"]


def test_a_link_into_a_part_that_is_passed_over_is_followed(photos: Path) -> None:
    put(photos / ".hidden" / "a.jpg", 1)
    (photos / "shown").symlink_to(photos / ".hidden")
    assert _scan(photos)[0] == ["shown/a.jpg"]


def test_a_part_of_a_root_shows_the_same_files_as_the_whole(photos: Path, tmp_path: Path) -> None:
    put(photos / "x" / "a.jpg", 1)
    put(photos / "y" / "b.jpg", 1)
    put(tmp_path / "outside" / "c.jpg", 1)
    (photos / "x" / "sibling").symlink_to(photos / "y")
    (photos / "x" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(photos)
    whole = [path for path in _scan(photos)[0] if path.startswith("x/")]
    part = [
        entry.path for entry in Scan(Target(photos.resolve(), "x"), IgnoreRules()) if isinstance(entry, ScannedFile)
    ]
    assert part == whole == ["x/a.jpg", "x/out/c.jpg"]


def test_links_to_files_are_followed(photos: Path, tmp_path: Path) -> None:
    target = put(tmp_path / "elsewhere.jpg", 1)
    (photos / "a.jpg").symlink_to(target)
    (file,) = scan([photos])
    assert isinstance(file, ScannedFile)
    assert (file.path, file.size_bytes) == ("a.jpg", target.stat().st_size)


def test_broken_links_are_listed(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "self.jpg").symlink_to(photos / "self.jpg")
    (photos / "folder").symlink_to(tmp_path / "not mounted")
    (photos / "notes.xyz").symlink_to(tmp_path / "nowhere.xyz")
    assert _scan(photos) == ([], {"a.jpg": "dangling link", "self.jpg": "link loop", "folder": "dangling link"})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_regular_file_is_listed_and_never_opened(photos: Path) -> None:
    os.mkfifo(photos / "a.jpg")
    os.mkfifo(photos / "pipe")
    (photos / "null.jpg").symlink_to(os.devnull)
    assert _scan(photos) == ([], {"a.jpg": "not a regular file", "null.jpg": "not a regular file"})


def test_a_folder_with_the_suffix_of_a_picture_is_a_folder(photos: Path) -> None:
    put(photos / "album.jpg" / "a.jpg", 1)
    assert _scan(photos) == (["album.jpg/a.jpg"], {})


def test_an_empty_file_is_listed(photos: Path) -> None:
    put(photos / "a.jpg", b"")
    assert _scan(photos) == ([], {"a.jpg": "empty file"})


def test_a_folder_without_permission_is_listed_and_passed_over(unprivileged: Path) -> None:
    put(unprivileged / "secret" / "a.jpg", 1)
    put(unprivileged / "b.jpg", 1)
    (unprivileged / "secret").chmod(0)
    assert _scan(unprivileged) == (["b.jpg"], {"secret": "permission denied"})


@pytest.mark.parametrize(
    "name", [b"new\nline.jpg", "\N{PILE OF POO} e\u0301.jpg".encode(), b"latin-\xe9\xff.jpg", b"-rf *.jpg"]
)
def test_odd_names_are_names(photos: Path, name: bytes) -> None:
    try:
        put(photos / os.fsdecode(b"sub " + name.removesuffix(b".jpg")) / os.fsdecode(name), 1)
    except OSError:
        pytest.skip("this file system refuses the name")
    (file,) = scan([photos])
    assert isinstance(file, ScannedFile)
    assert os.fsencode(file.path).endswith(b"/" + name)
    assert file.absolute.exists()


def test_other_roots_are_left_to_their_own_scans(photos: Path) -> None:
    put(photos / "a.jpg", 1)
    put(photos / "inner" / "b.jpg", 1)
    assert _scan(photos, roots=((photos / "inner").resolve(),))[0] == ["a.jpg"]


def test_the_library_itself_is_never_entered(photos: Path) -> None:
    put(photos / "my library" / "thumbnail.jpg", 1)
    put(photos / "a.jpg", 1)
    found = Scan(Target(photos.resolve()), IgnoreRules(), library=photos / "my library")
    assert [entry.path for entry in found if isinstance(entry, ScannedFile)] == ["a.jpg"]


def test_a_scan_says_whether_there_was_anything(photos: Path) -> None:
    def state(path: Path) -> tuple[bool, bool]:
        made = Scan(Target(path), IgnoreRules())
        list(made)
        return made.missing, made.empty

    assert state(photos / "missing") == (True, True)
    assert state(photos) == (False, True)
    put(photos / ".DS_Store", b"only what is passed over anyway")
    assert state(photos) == (False, True)
    put(photos / "notes.txt", b"text")
    assert state(photos) == (False, False)
    (photos / "notes.txt").unlink()
    (photos / ".mmsearch").mkdir()
    assert state(photos) == (False, False)


def test_a_file_that_is_named_is_looked_at_whatever_its_name(photos: Path) -> None:
    put(photos / ".hidden.jpg", 1)
    put(photos / "notes.xyz", b"text")
    assert [entry.path for entry in scan([photos / ".hidden.jpg"]) if isinstance(entry, ScannedFile)] == [".hidden.jpg"]
    (failure,) = scan([photos / "notes.xyz"])
    assert isinstance(failure, Failure)
    assert failure.reason == "not a supported kind of file"


def test_a_deep_tree_needs_no_recursion(photos: Path) -> None:
    folder = photos
    for _ in range(150):
        folder = folder / "d"
    put(folder / "a.jpg", 1)
    assert len(_scan(photos)[0]) == 1


@given(st.lists(st.text("ab*?[]!-./\\", max_size=5), max_size=4), st.text("ab*[].", min_size=1, max_size=4))
def test_any_text_is_a_glob(patterns: list[str], name: str) -> None:
    assert IgnoreRules(patterns).match("/root", f"sub/{name}", name) in (True, False)
