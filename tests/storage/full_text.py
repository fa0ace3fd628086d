"""Checks full-text search against the texts that the catalog holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def check_full_text(library: Path) -> None:
    """Every text is in the index as it stands, and nothing else is."""
    with closing(sqlite3.connect(library / "catalog.sqlite3")) as connection:
        # With rank 1, FTS5 reads all texts again and compares.
        connection.execute("INSERT INTO passages (passages, rank) VALUES ('integrity-check', 1)")
        connection.rollback()
        indexed = connection.execute("SELECT id FROM passages_docsize ORDER BY id").fetchall()
        stored = connection.execute("SELECT id FROM segments WHERE text IS NOT NULL ORDER BY id").fetchall()
        assert indexed == stored
        words = "CREATE VIRTUAL TABLE temp.words{} USING fts5vocab({}, 'instance')"
        connection.execute(
            "CREATE VIRTUAL TABLE temp.fresh USING fts5(text, tokenize = 'unicode61 remove_diacritics 2')"
        )
        connection.execute("INSERT INTO fresh (rowid, text) SELECT id, text FROM segments WHERE text IS NOT NULL")
        connection.execute(words.format(0, "main, passages"))
        connection.execute(words.format(1, "temp, fresh"))
        kept, made = (connection.execute(f"SELECT * FROM words{number}").fetchall() for number in (0, 1))
        assert kept == made
        connection.execute("INSERT INTO about (about, rank) VALUES ('integrity-check', 1)")
        connection.rollback()
        assert (
            connection.execute("SELECT id FROM about_docsize ORDER BY id").fetchall()
            == connection.execute("SELECT id FROM items ORDER BY id").fetchall()
        )
