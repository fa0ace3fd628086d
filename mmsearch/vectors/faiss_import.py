"""The one door through which FAISS is imported, on use: it costs 0.2 s and, with its CUDA code, 170 MB."""

from __future__ import annotations

from typing import Any

__all__ = ["load_faiss"]


def load_faiss() -> Any:
    """The faiss module, untyped: its stubs, where there are any, miss half of what it offers."""
    import faiss

    return faiss
