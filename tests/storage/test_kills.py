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
from tests.storage.killed_writer import files_after, write_batch
from tests.storage.making import RECORD, image_source

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
        counted = connection.execute("SELECT count(*), max(segment_id) FROM vectors").fetchone()
    with Catalog.open(calm, create=True) as catalog:
        catalog.register_encoders([RECORD])
        root = catalog.add_root(Path("/photos"))
        for number in range(batches):
            write_batch(catalog, root.id, number)
        expected = catalog.known_files(root.id), image_source(catalog).watermark()
    with Catalog.open(killed) as catalog:
        mark = image_source(catalog).watermark()
        known = catalog.known_files(1)
    assert (mark.count, mark.last_segment_id) == counted
    assert set(known) == files_after(batches)
    # Interrupted or not, the library is the same, ids included: a batch that did not commit leaves no trace.
    assert (known, mark) == expected
