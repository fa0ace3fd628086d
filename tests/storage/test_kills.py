from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import UNFINISHED_NS
from mmsearch.types import Watermark
from tests.storage.full_text import check_full_text
from tests.storage.killed_writer import files_after, grown_after, write_batch
from tests.storage.making import OTHER_RECORD, RECORD

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_writer_killed_at_random_moments_leaves_whole_batches_only(tmp_path: Path) -> None:
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    done = subprocess.run(
        [sys.executable, "-m", "tests.storage.killed_writer", str(killed), str(ROUNDS), "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == ROUNDS
    assert all(entry["batches"] - entry["least"] in (0, 1) for entry in rounds), rounds
    batches = rounds[-1]["batches"]
    assert batches > 5
    with closing(sqlite3.connect(killed / "catalog.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        counted = connection.execute("SELECT count(*) FROM vectors").fetchone()
        grown = connection.execute(
            "SELECT CAST(path AS TEXT), count(*), complete, content_hash IS NOT NULL"
            " FROM items i JOIN segments s ON s.item_id = i.id"
            " WHERE CAST(path AS TEXT) LIKE '%/grown' GROUP BY path"
        ).fetchall()
    check_full_text(killed)
    with Catalog.open(calm, create=True) as catalog:
        catalog.register_encoders([RECORD, OTHER_RECORD])
        root = catalog.add_root(Path("/photos"))
        for number in range(batches):
            write_batch(catalog, root.id, number)
        expected = catalog.known_files(root.id), _watermarks(catalog)
    with Catalog.open(killed) as catalog:
        known, marks = catalog.known_files(1), _watermarks(catalog)
    assert (sum(mark.count for mark in marks),) == counted
    assert len(marks) == 4
    assert set(known) == files_after(batches)
    # An item that was being stored over several batches has those that were committed, and looks changed until all are.
    assert {path: (count, bool(whole)) for path, count, whole, _ in grown} == grown_after(batches)
    assert all(whole == hashed for _, _, whole, hashed in grown)
    assert all((known[path].mtime_ns == UNFINISHED_NS) != whole for path, _, whole, _ in grown)
    # Interrupted or not, the library is the same, ids included: a batch that did not commit leaves no trace.
    assert (known, marks) == expected


def _watermarks(catalog: Catalog) -> list[Watermark]:
    return [catalog.vector_source(held.encoder_id, held.modality).watermark() for held in catalog.collections()]
