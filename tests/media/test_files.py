from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.errors import MediaError
from mmsearch.media.files import CHUNK_BYTES, HASH_BYTES, content_hash, open_regular, reason_of, stream_hash


def test_a_regular_file_is_opened_for_reading(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"content")
    with open_regular(file) as stream:
        assert stream.read() == b"content"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_without_a_writer_is_refused_without_waiting(tmp_path: Path) -> None:
    fifo = tmp_path / "a.jpg"
    os.mkfifo(fifo)
    with pytest.raises(MediaError) as raised:
        open_regular(fifo)
    assert raised.value.reason == "not a regular file"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises((MediaError, OSError)):
        open_regular(tmp_path)


def test_no_descriptor_is_left_open_when_a_file_is_refused(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        with pytest.raises((MediaError, OSError)):
            open_regular(tmp_path)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert after == before


@given(st.binary(max_size=200))
def test_hashing_a_stream_equals_hashing_its_content(data: bytes) -> None:
    assert stream_hash(io.BytesIO(data)) == content_hash(data)
    assert len(content_hash(data)) == HASH_BYTES


def test_a_stream_longer_than_one_chunk_is_hashed_as_a_whole() -> None:
    data = os.urandom(1000) * (2 * CHUNK_BYTES // 1000 + 7)
    assert stream_hash(io.BytesIO(data)) == content_hash(data)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory"), "no such file"),
        (PermissionError(13, "Permission denied"), "permission denied"),
        (IsADirectoryError(21, "Is a directory"), "not a regular file"),
        (OSError(5, "Input/output error"), "input/output error"),
    ],
)
def test_the_reason_of_the_operating_system_is_said_in_a_phrase(error: OSError, reason: str) -> None:
    assert reason_of(error) == reason
