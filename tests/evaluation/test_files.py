from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmsearch.errors import StorageError, UsageError
from mmsearch.evaluation.files import check_place
from mmsearch.files import written


def test_a_good_place_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "old.PNG").write_bytes(b"old")
    check_place(tmp_path / "old.PNG", (".png",))
    check_place(tmp_path / "new.png", (".png",))
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("old.PNG", b"old")]


def test_what_cannot_become_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"what to write to .*x\.gif.*in \.png or \.svg"):
        check_place(tmp_path / "x.gif", (".png", ".svg"))
    with pytest.raises(UsageError, match=r"There is no folder .*nowhere"):
        check_place(tmp_path / "nowhere" / "x.png", (".png",))
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_place(tmp_path / "folder.png", (".png",))


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that refuses even the superuser")
def test_a_folder_that_refuses_files_is_told_before_the_work() -> None:
    with pytest.raises(StorageError, match=r"/proc/self/x\.png cannot be written"):
        check_place(Path("/proc/self/x.png"), (".png",))


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with written(tmp_path / "x.png") as stream:
        stream.write(b"new")
        assert not (tmp_path / "x.png").exists()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x.png", b"new")]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(RuntimeError), written(tmp_path / "x.png") as stream:
        stream.write(b"half")
        raise RuntimeError
    with pytest.raises(StorageError, match="No space left"), written(tmp_path / "x.png"):
        raise OSError(28, "No space left on device")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("x.png", b"old")]


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    with written(tmp_path / "gone" / "x.png") as stream:
        stream.write(b"new")
    assert (tmp_path / "gone" / "x.png").read_bytes() == b"new"


def test_a_place_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").write_bytes(b"a file")
    with pytest.raises(StorageError, match="cannot be written"), written(tmp_path / "gone" / "x.png"):
        pass
    assert os.listdir(tmp_path) == ["gone"]
