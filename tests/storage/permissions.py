"""Runs parts of a test as a user whom permissions bind, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_VERSION_3 = 0x20080522
_OVERRIDES = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root passes by permissions with these


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Give up, for the calling thread and for the time being, what lets root ignore permissions."""
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("permissions do not bind root here")
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    if libc.capget(ctypes.byref(header), data) != 0:
        pytest.skip("capabilities cannot be read here")
    before = data[0].effective
    data[0].effective = before & ~_OVERRIDES
    assert libc.capset(ctypes.byref(header), data) == 0
    try:
        yield
    finally:
        data[0].effective = before
        assert libc.capset(ctypes.byref(header), data) == 0


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write from a folder and its files, and be bound by it."""
    files = [folder, *folder.iterdir()]
    modes = [file.stat().st_mode for file in files]
    for file, mode in zip(files, modes, strict=True):
        file.chmod(mode & ~0o222)
    try:
        with bound_by_permissions():
            yield
    finally:
        for file, mode in zip(files, modes, strict=True):
            file.chmod(mode)
