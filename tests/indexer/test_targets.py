from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.targets import Target, plan_targets
from mmsearch.errors import UsageError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (root / "c").mkdir()
    for name in ("a/x.jpg", "a/b/y.jpg", "c/z.jpg"):
        (root / name).write_bytes(b"content")
    return root


def test_a_folder_is_a_root(tree: Path) -> None:
    assert plan_targets([tree]) == [Target(tree)]


def test_a_file_makes_a_root_of_its_folder(tree: Path) -> None:
    assert plan_targets([tree / "a" / "x.jpg"]) == [Target(tree / "a", "x.jpg")]


def test_the_same_folder_twice_is_looked_through_once(tree: Path) -> None:
    assert plan_targets([tree, tree / "a" / "..", tree]) == [Target(tree)]


def test_a_folder_inside_another_is_a_part_of_it_in_either_order(tree: Path) -> None:
    for paths in ([tree / "a", tree], [tree, tree / "a"], [tree / "a" / "x.jpg", tree]):
        assert plan_targets(paths) == [Target(tree)]


def test_two_files_of_one_folder_share_its_root(tree: Path) -> None:
    (tree / "a" / "w.jpg").write_bytes(b"content")
    assert plan_targets([tree / "a" / "x.jpg", tree / "a" / "w.jpg"]) == [
        Target(tree / "a", "w.jpg"),
        Target(tree / "a", "x.jpg"),
    ]


def test_a_path_inside_a_known_root_is_a_part_of_it(tree: Path) -> None:
    assert plan_targets([tree / "a" / "b"], [tree]) == [Target(tree, "a/b")]
    assert plan_targets([tree / "a" / "b" / "y.jpg"], [tree]) == [Target(tree, "a/b/y.jpg")]


def test_the_innermost_root_is_the_one_that_counts(tree: Path) -> None:
    assert plan_targets([tree / "a" / "b"], [tree, tree / "a"]) == [Target(tree / "a", "b")]


def test_a_known_root_inside_a_new_one_stays_a_root(tree: Path) -> None:
    assert plan_targets([tree], [tree / "a"]) == [Target(tree), Target(tree / "a")]
    assert plan_targets([tree / "a"], [tree, tree / "a" / "b"]) == [Target(tree, "a"), Target(tree / "a" / "b")]


def test_a_link_to_a_folder_is_that_folder(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    assert plan_targets([tmp_path / "link", tree]) == [Target(tree)]
    assert plan_targets([tmp_path / "link" / "a"], [tree]) == [Target(tree, "a")]
    assert plan_targets([tree], [tmp_path / "link"]) == [Target(tree)]


def test_names_that_only_begin_alike_are_different_folders(tree: Path) -> None:
    (tree / "ab").mkdir()
    assert plan_targets([tree / "a", tree / "ab"]) == [Target(tree / "a"), Target(tree / "ab")]


def test_a_path_that_is_not_there_is_wrong_usage(tree: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        plan_targets([tree / "missing"])
    with pytest.raises(UsageError, match="does not exist"):
        plan_targets([tree / "a" / "x.jpg" / "below a file"])


def test_a_missing_path_of_a_known_root_may_be_an_unmounted_disk(tree: Path) -> None:
    assert plan_targets([tree / "usb"], [tree / "usb"]) == [Target(tree / "usb")]


def test_the_working_directory_is_a_folder_like_any_other(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert plan_targets([Path("."), Path("a")]) == [Target(tree)]


FOLDERS = ["", "a", "a/b", "a/b/c", "a/d", "e", "e/f"]


@given(st.sets(st.sampled_from(FOLDERS)), st.lists(st.sampled_from(FOLDERS), min_size=1))
def test_every_named_path_is_covered_and_none_twice(
    tmp_path_factory: pytest.TempPathFactory, roots: set[str], named: list[str]
) -> None:
    top = tmp_path_factory.getbasetemp().resolve() / "covered"
    for folder in FOLDERS:
        (top / folder).mkdir(parents=True, exist_ok=True)
    targets = plan_targets([top / name for name in named], [top / root for root in roots])
    for folder in FOLDERS:
        # A folder belongs to the innermost root that is known or looked through, and to one target of that root.
        path = top / folder
        all_roots = {top / root for root in roots} | {target.root for target in targets}
        wanted = any(path.is_relative_to(top / name) for name in named)
        owner = max((root for root in all_roots if path.is_relative_to(root)), key=lambda p: len(p.parts), default=None)
        covering = [target for target in targets if target.root == owner and path.is_relative_to(target.absolute)]
        assert len(covering) == (1 if wanted else 0)
