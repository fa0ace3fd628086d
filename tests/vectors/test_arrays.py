"""Array files on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.errors import StorageError
from mmsearch.vectors.arrays import (
    DamagedFileError,
    FileStamp,
    atomic_write,
    is_intact,
    read_arrays,
    write_arrays,
)

ARRAYS = {
    "ids": np.arange(7),
    "halves": np.ones((7, 3), np.float16),
    "none": np.empty((0, 4), np.float32),
    "places": np.arange(5, dtype=np.int32),
}


def test_arrays_come_back_as_they_were_saved(tmp_path: Path) -> None:
    stamp = write_arrays(tmp_path / "new" / "a.arr", ARRAYS, {"kind": "flat", "n": 3})
    file = read_arrays(tmp_path / "new" / "a.arr", stamp.size_bytes)
    assert file.meta == {"kind": "flat", "n": 3}
    assert list(file.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert file.arrays[name].dtype == array.dtype
        assert np.array_equal(file.arrays[name], array)
        assert not file.arrays[name].flags.writeable
        assert file.arrays[name].ctypes.data % 64 == 0
    assert is_intact(tmp_path / "new", stamp)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.arr"]


def test_pieces_are_streamed_into_one_array_of_bytes_at_the_start_of_the_file(tmp_path: Path) -> None:
    pieces = (np.full(size, size, np.uint8) for size in (3, 0, 200))
    write_arrays(tmp_path / "a", {"lists": pieces, **ARRAYS}, {})
    assert read_arrays(tmp_path / "a").arrays["lists"].tolist() == [3] * 3 + [200] * 200
    assert (tmp_path / "a").read_bytes().startswith(b"\x03\x03\x03\xc8")


def test_types_and_shapes_are_checked_when_an_array_is_asked_for(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a", ARRAYS, {})
    file = read_arrays(tmp_path / "a")
    assert file.array("halves", "float16", -1, 3).shape == (7, 3)
    for name, dtype, *shape in (("x", "int64", -1), ("ids", "int32", -1), ("ids", "int64", 8), ("ids", "int64", 7, 1)):
        with pytest.raises(DamagedFileError):
            file.array(name, dtype, *shape)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_cut_or_changed_file_is_noticed_or_readable_but_never_crashes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a"
    stamp = write_arrays(path, ARRAYS, {"kind": "flat"})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(DamagedFileError):
            read_arrays(path, stamp.size_bytes)
        with pytest.raises(DamagedFileError):
            read_arrays(path)
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            for array in read_arrays(path, stamp.size_bytes).arrays.values():
                array.tobytes()
        except DamagedFileError:
            pass
    assert not is_intact(path.parent, stamp)


@pytest.mark.parametrize("content", [b"", b"x", b"garbage" * 1000, b"\xff" * 64, bytes(8) + b"mmsarr01"])
def test_what_is_no_array_file_is_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_arrays(tmp_path / "a")


def test_a_missing_file_is_damaged_too(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError):
        read_arrays(tmp_path / "a")
    assert not is_intact(tmp_path, FileStamp("a", 0, 0))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def pieces():
        yield np.zeros(100, np.uint8)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match="No space left on device") as caught:
        write_arrays(tmp_path / "a", {"lists": pieces()}, {})
    assert "mmsearch rebuild" in str(caught.value)
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a"):
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = Path.open

    def open_full(path: Path, mode: str = "r", *rest: object, **named: object):
        return real_open(Path("/dev/full") if "w" in mode else path, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(StorageError, match="No space left"):
        write_arrays(tmp_path / "a", {"zeros": np.zeros(10**6, np.float32)}, {})
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_a_storage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            write_arrays(tmp_path / "a", ARRAYS, {})
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(StorageError):
        write_arrays(tmp_path / "folder" / "a", ARRAYS, {})
