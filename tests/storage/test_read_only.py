from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmsearch.errors import StorageError
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.lock import WriterLock
from mmsearch.types import Root
from tests.storage.making import image_source, library_with, new_item
from tests.storage.permissions import bound_by_permissions, read_only

REPOSITORY = Path(__file__).resolve().parents[2]


def _read_all(library: Path, *, only: bool = True) -> set[str]:
    with Catalog.open(library, read_only=only) as catalog:
        ids = [id_ for found, _ in image_source(catalog).read() for id_ in found.tolist()]
        return {record.item.path.name for record in catalog.segments(ids).values() if record.item.path}


def test_a_library_in_a_read_only_folder_can_be_read(tmp_path: Path) -> None:
    library = library_with(tmp_path / "library", ["a.jpg", "b.jpg"])
    before = sorted(library.iterdir())
    with read_only(library):
        assert _read_all(library) == {"a.jpg", "b.jpg"}
        assert _read_all(library, only=False) == {"a.jpg", "b.jpg"}
    assert sorted(library.iterdir()) == before


def test_writing_to_a_read_only_library_is_one_clear_error(tmp_path: Path) -> None:
    library = library_with(tmp_path / "library", ["a.jpg"])
    with read_only(library), Catalog.open(library) as catalog:
        with pytest.raises(StorageError, match=r"read-only|cannot be opened|cannot be written") as caught:
            catalog.write(items=[new_item(1, "b.jpg")])
        assert caught.value.hint
        assert set(catalog.known_files(1)) == {"a.jpg"}
        with pytest.raises(StorageError, match="cannot be written to") as caught, WriterLock(library, "test"):
            pass
        assert caught.value.hint
    assert _read_all(library) == {"a.jpg"}


def test_a_folder_that_refuses_a_new_library_is_one_clear_error(tmp_path: Path) -> None:
    with read_only(tmp_path), pytest.raises(StorageError, match="cannot be made"):
        Catalog.open(tmp_path / "library", create=True)
    (tmp_path / "there").mkdir()
    with read_only(tmp_path / "there"), pytest.raises(StorageError):
        Catalog.open(tmp_path / "there", create=True)


def test_a_folder_that_may_not_be_entered_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    library = library_with(tmp_path / "library", ["a.jpg"])
    library.chmod(0)
    try:
        with bound_by_permissions(), pytest.raises(StorageError, match="cannot be opened") as caught:
            Catalog.open(library, create=True)
        assert caught.value.hint
    finally:
        library.chmod(0o755)
    assert _read_all(library) == {"a.jpg"}


def test_commits_that_wait_in_the_log_are_never_left_out_silently(catalog: Catalog, root: Root, tmp_path: Path) -> None:
    catalog.write(items=[new_item(root.id, "a.jpg")])
    copy = tmp_path / "copy"
    # As after a crash, and then copied to a read-only medium: the log, but no shared memory.
    copy.mkdir()
    for name in ("catalog.sqlite3", "catalog.sqlite3-wal"):
        shutil.copy(catalog.path / name, copy / name)
    assert (copy / "catalog.sqlite3-wal").stat().st_size > 0
    with read_only(copy):
        try:
            names = _read_all(copy)
        except StorageError as error:
            assert error.hint and "Copy the folder" in error.hint
        else:
            assert names == {"a.jpg"}
    assert _read_all(copy) == {"a.jpg"}


def test_a_reader_keeps_reading_while_a_writer_in_a_crash_left_a_log(
    catalog: Catalog, root: Root, tmp_path: Path
) -> None:
    catalog.write(items=[new_item(root.id, "a.jpg")])
    shutil.copytree(catalog.path, tmp_path / "copy")
    assert _read_all(tmp_path / "copy") == {"a.jpg"}


def test_a_read_only_medium_can_be_read(tmp_path: Path) -> None:
    library = library_with(tmp_path / "library", ["a.jpg", "b.jpg"])
    script = (
        f'mount --bind "{library}" "{library}" && mount -o remount,ro,bind "{library}" || exit 77\n'
        f'touch "{library}/x" 2>/dev/null && exit 78\n'
        f'exec "{sys.executable}" -c "import sys; from pathlib import Path\n'
        "from tests.storage.test_read_only import _read_all\n"
        "assert _read_all(Path(sys.argv[1])) == {'a.jpg', 'b.jpg'}\n"
        f'" "{library}"'
    )
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare command")
    flags = "-m" if os.geteuid() == 0 else "-rm"
    done = subprocess.run([unshare, flags, "sh", "-c", script], cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode != 0 and ("Operation not permitted" in done.stderr or done.returncode == 77):
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in library.iterdir()) == ["catalog.sqlite3"]
