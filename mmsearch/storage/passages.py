"""Full-text search: the user's words in; segments that hold some of them, or items that are called so, out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.storage.characters import whole
from mmsearch.storage.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.storage.selection import Condition

__all__ = ["match_items", "match_text", "phrase", "terms_of"]

# A whole document may be the query; its first words say what it is about.
MOST_TERMS = 64
# In fewer texts than these, all matches are ranked in no time.
MANY_TEXTS = 10_000

# Words that a hyphen, an apostrophe or a point joins, as in e-mail, are found side by side only.
_TERM = re.compile(r'"([^"]*)"|([^\s",;:!?()\[\]{}<>|/\\*^~+=“”„«»…、。，]+)')


def match_text(
    session: Session, query: str, k: int, condition: Condition | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k segments that match best; see `CatalogReader.match_text`."""
    return _match(session, "passages", "JOIN segments s ON s.id = passages.rowid", query, k, condition)


def match_items(
    session: Session, query: str, k: int, condition: Condition | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the k items that match best; see `CatalogReader.match_items`."""
    # An item passes with any of its segments, and it need not have any.
    join = "LEFT JOIN segments s ON s.item_id = about.rowid"
    return _match(session, "about", join, query, k, condition)


def _match(
    session: Session, table: str, segments: str, query: str, k: int, condition: Condition | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    with session.snapshot():
        wanted = " OR ".join(_telling(session, table, terms_of(query)))
        if not wanted:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        join, where, values = "", "", []
        if condition is not None:
            item = "s.item_id" if table == "passages" else "about.rowid"
            join = f"{segments} JOIN items i ON i.id = {item}"
            where, values = f"AND ({condition.text})", list(condition.values)
        # FTS5 gives BM25 as numbers below zero, the best first (https://www.sqlite.org/fts5.html#the_bm25_function).
        rows: list[Any] = session.rows(
            f"SELECT DISTINCT {table}.rowid, -rank FROM {table} {join} WHERE {table} MATCH ? {where}"
            " ORDER BY rank LIMIT ?",
            [wanted, *values, k],
        )
    ids, scores = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [])
    return np.array(ids, np.int64), np.array(scores, np.float32)


def terms_of(query: str) -> list[str]:
    """The words and quoted phrases of a query, each once, as strings of FTS5 in which nothing has a meaning."""
    terms: dict[str, str] = {}
    for term in _terms(query):
        terms.setdefault(term.casefold(), f'"{term}"')
    return list(islice(terms.values(), MOST_TERMS))


def phrase(words: str) -> str:
    """Words that stand side by side, as a string of FTS5 in which nothing has a meaning; empty where there is none."""
    clean = whole(words.replace("\0", " ").replace('"', " "))
    return f'"{clean}"' if any(character.isalnum() for character in clean) else ""


def _telling(session: Session, table: str, terms: list[str]) -> list[str]:
    """The terms without those in half of all texts or more, unless all are such.

    FTS5 gives them no weight beside others, and yet looks at every text that has one: "the" alone would take most of
    the time.
    """
    ((texts,),) = session.rows(f"SELECT count(*) FROM {table}_docsize")
    if len(terms) < 2 or texts < MANY_TEXTS:
        return terms
    count = f"SELECT count(*) FROM {table} WHERE {table} MATCH ?"
    return [term for term in terms if 2 * session.rows(count, (term,))[0][0] < texts] or terms


def _terms(query: str) -> Iterator[str]:
    # A NUL would end the expression for SQLite, and half characters do not reach it.
    clean = whole(query.replace("\0", " "))
    for found in _TERM.finditer(clean):
        term = found[1] or found[2] or ""
        # A term without any letter or digit holds no word for FTS5.
        if any(character.isalnum() for character in term):
            yield term
