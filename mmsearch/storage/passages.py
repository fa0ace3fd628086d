"""Full-text search: the user's words in, segments that hold some of them out, best first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.storage.session import Session
from mmsearch.types import Filters

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["expression", "match_text"]

# A whole document may be the query; its first words say what it is about.
MOST_TERMS = 64

_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')


def match_text(session: Session, query: str, k: int, filters: Filters) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k segments that match best; see `CatalogReader.match_text`."""
    wanted = expression(query)
    if not wanted or (filters.modalities is not None and not filters.modalities):
        return np.empty(0, np.int64), np.empty(0, np.float32)
    join, values = "", [wanted]
    if filters.modalities is not None:
        names = sorted(modality.value for modality in filters.modalities)
        among = ",".join("?" * len(names))
        join = f"JOIN segments s ON s.id = passages.rowid AND (s.modality IN ({among}) OR s.item_modality IN ({among}))"
        values = [*names, *names, wanted]
    # FTS5 gives BM25 as numbers below zero, the best first (https://www.sqlite.org/fts5.html#the_bm25_function).
    rows: list[Any] = session.rows(
        f"SELECT passages.rowid, -rank FROM passages {join} WHERE passages MATCH ? ORDER BY rank LIMIT ?",
        [*values, k],
    )
    ids, scores = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [])
    return np.array(ids, np.int64), np.array(scores, np.float32)


def expression(query: str) -> str:
    """The expression of FTS5 that asks for any of the words and quoted phrases; empty where there are none."""
    terms: dict[str, str] = {}
    for term in _terms(query):
        terms.setdefault(term.casefold(), term)
    return " OR ".join(f'"{term}"' for term in islice(terms.values(), MOST_TERMS))


def _terms(query: str) -> Iterator[str]:
    # A NUL would end the expression for SQLite, and half characters do not reach it.
    clean = query.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
    for found in _TERM.finditer(clean):
        term = found[1] or found[2] or ""
        # A term without any letter or digit holds no word for FTS5.
        if any(character.isalnum() for character in term):
            yield term
