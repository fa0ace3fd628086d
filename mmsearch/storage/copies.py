"""Reads which items have the same content, and how large their files are."""

from __future__ import annotations

from collections.abc import Iterable

from mmsearch.storage.session import Session

__all__ = ["content_hashes", "copies"]


def content_hashes(session: Session, item_ids: Iterable[int]) -> dict[int, bytes]:
    """Item ids -> what identifies their content, of those that have a file which was read as a whole."""
    rows = session.grouped_rows(
        "SELECT id, content_hash FROM items WHERE content_hash IS NOT NULL AND id IN ({ids})", item_ids
    )
    return {int(id_): bytes(content) for id_, content in rows}


def copies(session: Session) -> list[tuple[int, ...]]:
    """Groups of items whose content is the same, each in the order of their ids."""
    groups: dict[bytes, list[int]] = {}
    for id_, content in session.rows(
        "SELECT id, content_hash FROM items WHERE content_hash IN"
        " (SELECT content_hash FROM items WHERE content_hash IS NOT NULL GROUP BY content_hash HAVING COUNT(*) > 1)"
        " ORDER BY id"
    ):
        groups.setdefault(bytes(content), []).append(int(id_))
    return list(map(tuple, groups.values()))
