"""Fixtures of the vector tests."""

from __future__ import annotations

import pytest

from mmsearch.vectors.faiss_import import load_faiss


@pytest.fixture(scope="session", autouse=True)
def one_faiss_thread() -> None:
    """Small searches wait longer for each other's threads than they take, above all where tests run side by side."""
    load_faiss().omp_set_num_threads(1)
