from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.errors import StorageError
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Root
from tests.storage.making import DIM, new_item

REPOSITORY = Path(__file__).resolve().parents[2]

# Writes until the disk refuses; then what was stored before must be whole, and after room is made writing goes on.
FILL = """
import json, sys
from pathlib import Path
from mmsearch.errors import StorageError
from mmsearch.storage.catalog import Catalog
from tests.storage.making import DIM, RECORD, image_source, new_item
prepare = sys.argv[2]
with Catalog.open(Path(sys.argv[1]), create=True) as catalog:
    catalog.register_encoders([RECORD])
    root = catalog.add_root(Path("/photos"))
    if prepare == "limit":
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    stored, error = 0, None
    while error is None:
        items = [new_item(root.id, f"{stored}/{n}", n, metadata={"filling": "x" * 500}) for n in range(50)]
        try:
            catalog.write(items=items)
            stored += 1
        except StorageError as caught:
            error = caught
    known = catalog.known_files(root.id)
    assert len(known) == 50 * stored, (len(known), stored)
    assert image_source(catalog).watermark().count == 50 * stored
with Catalog.open(Path(sys.argv[1]), read_only=True) as catalog:
    assert len(catalog.known_files(root.id)) == 50 * stored
    assert sum(len(ids) for ids, _ in image_source(catalog).read()) == 50 * stored
print(json.dumps({"stored": stored, "message": error.message, "hint": error.hint}))
"""


def test_a_full_database_keeps_what_was_stored_and_takes_more_when_there_is_room(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "first", 1)])
    with catalog._writing().transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 30")
    many = [new_item(root.id, f"{number}", number, metadata={"filling": "x" * 2000}) for number in range(500)]
    with pytest.raises(StorageError, match="disk is full") as caught:
        catalog.write(items=many)
    assert caught.value.hint and "Free some space" in caught.value.hint
    assert set(catalog.known_files(root.id)) == {"first"}
    with catalog._writing().transaction() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    catalog.write(items=many)
    assert len(catalog.known_files(root.id)) == 501


def test_a_disk_that_really_fills_up_loses_nothing(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare command")
    script = f'mount -t tmpfs -o size=2m tmpfs "{tmp_path}" || exit 77; exec "$@"'
    flags = "-m" if os.geteuid() == 0 else "-rm"
    command = [sys.executable, "-c", FILL, str(tmp_path / "library"), "tmpfs"]
    done = subprocess.run(
        [unshare, flags, "sh", "-c", script, "sh", *command], cwd=REPOSITORY, capture_output=True, text=True
    )
    if done.returncode != 0 and ("Operation not permitted" in done.stderr or done.returncode == 77):
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "disk is full" in done.stdout
    assert '"stored": 0' not in done.stdout


def test_a_quota_is_as_harmless_as_a_full_disk(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "library"), "limit"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "space" in done.stdout


def test_a_library_that_cannot_grow_can_still_be_opened_and_read(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[new_item(root.id, "first", 1)])
    with Catalog.open(catalog.path) as again:
        assert again.encoders()[0].dim == DIM
