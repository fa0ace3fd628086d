"""Texts as SQLite takes them."""

from __future__ import annotations

__all__ = ["whole"]


def whole(text: str) -> str:
    """A text without the half characters that files and their names can hold, which SQLite does not take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
