from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from mmsearch.errors import LibraryLockedError, StorageError
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.lock import WriterLock
from tests.storage.making import image_source, library_with

HOLD = """
import sys
from pathlib import Path
from mmsearch.storage.lock import WriterLock
with WriterLock(Path(sys.argv[1]), "mmsearch index photos"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _holder(library: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(library)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


def test_a_second_writer_is_told_who_writes_since_when(tmp_path: Path) -> None:
    with _holder(tmp_path) as holder, pytest.raises(LibraryLockedError) as caught, WriterLock(tmp_path, "second"):
        pass
    message = caught.value.message
    assert f"Process {holder.pid} (mmsearch index photos)" in message
    assert str(tmp_path) in message
    assert f"since {datetime.now():%Y-}" in message
    assert caught.value.hint


def test_the_lock_is_free_after_its_holder_is_done(tmp_path: Path) -> None:
    with _holder(tmp_path) as holder:
        holder.communicate("done\n")
        assert holder.returncode == 0
        with WriterLock(tmp_path, "second"):
            pass


def test_the_lock_is_free_after_its_holder_was_killed(tmp_path: Path) -> None:
    with _holder(tmp_path) as holder:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with WriterLock(tmp_path, "second"):
            assert json.loads((tmp_path / "writer.json").read_text())["command"] == "second"


def test_readers_need_no_lock(tmp_path: Path) -> None:
    library = library_with(tmp_path / "library", ["a.jpg"])
    with _holder(library), Catalog.open(library, read_only=True) as catalog:
        assert image_source(catalog).watermark().count == 1


def test_the_same_process_cannot_take_it_twice(tmp_path: Path) -> None:
    with (
        WriterLock(tmp_path, "first"),
        pytest.raises(LibraryLockedError, match=f"Process {os.getpid()} \\(first\\)"),
        WriterLock(tmp_path, "second"),
    ):
        pass
    with WriterLock(tmp_path, "third"):
        pass


def test_without_a_word_about_the_holder_the_message_still_makes_sense(tmp_path: Path) -> None:
    with WriterLock(tmp_path, "first"):
        for content in ("", "{}", '{"pid": "x", "command": 1, "since": "y"}', "[]"):
            (tmp_path / "writer.json").write_text(content)
            with pytest.raises(LibraryLockedError, match="Another process is writing"), WriterLock(tmp_path, "second"):
                pass


def test_the_lock_makes_the_folder_of_a_new_library(tmp_path: Path) -> None:
    with WriterLock(tmp_path / "new" / "library", "first"):
        assert (tmp_path / "new" / "library").is_dir()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written to"), WriterLock(tmp_path / "file" / "library", "first"):
        pass


def test_a_command_with_odd_names_is_no_trouble(tmp_path: Path) -> None:
    with (
        WriterLock(tmp_path, "mmsearch index caf\udce9 🐕"),
        pytest.raises(LibraryLockedError, match="mmsearch index caf"),
        WriterLock(tmp_path, "second"),
    ):
        pass


def test_releasing_twice_does_nothing(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path, "first")
    lock.acquire()
    lock.release()
    lock.release()
