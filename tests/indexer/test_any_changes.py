"""Whatever happens to a folder between runs: the library ends up as if the folder had been indexed afresh."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.types import IndexSummary
from tests.indexer.projecting import ProjectingReranker
from tests.indexer.shelf import Shelf, picture, put, touch

NAMES = ["a.png", "b.png", "x/c.png", "x/d.png", "x/y/e.png", "z/f.png", "g.png", "z/h.png"]
BAD = [b"text", b"", picture(0)[:50]]
CONTENTS = [picture(number) for number in range(5)] + BAD

names = st.sampled_from(NAMES)
operations = st.one_of(
    st.tuples(st.just("write"), names, st.sampled_from(CONTENTS)),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("touch"), names),
    st.tuples(st.just("move"), names, names),
    st.tuples(st.just("swap"), names, names),
    st.tuples(st.just("copy"), names, names),
    st.tuples(
        st.just("rename folder"), st.sampled_from(["x", "z", "x/y"]), st.sampled_from(["x", "z", "new", "z/new"])
    ),
    st.tuples(st.just("link"), names, names),
)


def _apply(root: Path, operation: tuple[str, ...]) -> None:
    name, *values = operation
    if name == "write":
        path = root / values[0]
        path.unlink(missing_ok=True)
        put(path, values[1])  # type: ignore[arg-type]
        return
    source, target = root / values[0], root / values[-1]
    if not source.exists() or source.is_symlink():
        source.unlink(missing_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    match name:
        case "delete":
            source.unlink()
        case "touch":
            touch(source)
        case "move":
            source.replace(target)
        case "copy" if source != target:
            target.unlink(missing_ok=True)
            shutil.copy2(source, target)
        case "swap" if target.is_file() and source != target and not target.is_symlink():
            source.rename(root / "swapping")
            target.rename(source)
            (root / "swapping").rename(target)
        case "rename folder" if not target.exists() and not target.is_relative_to(source):
            source.rename(target)
        case "link" if not target.exists() and source != target:
            target.unlink(missing_ok=True)
            target.symlink_to(source)


def _contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*.png") if path.is_file()}


def _check(root: Path, shelf: Shelf, sync: Callable[[], IndexSummary], fresh: Path) -> None:
    known = {shelf_content for shelf_content in shelf.held}
    embedded_before = sum(shelf.encoder.batches)
    summary = sync()
    files = _contents(root)
    good = {path: content for path, content in files.items() if content not in BAD}
    expected = Shelf(fresh)
    expected.reranker = shelf.reranker
    expected.sync(root)
    # The same files with the same embeddings, tokens and failures as in a library made afresh ...
    assert shelf.vectors() == expected.vectors()
    assert shelf.tokens() == expected.tokens()
    assert set(shelf.vectors()) == set(shelf.tokens()) == set(good)
    assert all(None not in rows for rows in shelf.tokens().values())
    assert shelf.failures() == expected.failures()
    # ... every file counted once ...
    counted = summary.new + summary.changed + summary.moved + summary.copied + summary.unchanged
    assert counted == len(good)
    assert len(summary.skipped) == len({failure.path for failure in summary.skipped})
    # ... and nothing embedded whose content was there before, or twice.
    assert sum(shelf.encoder.batches) - embedded_before == len(set(good.values()) - known) == summary.embedded
    shelf.held = set(good.values())


class _Remembering(Shelf):
    """A shelf with the contents that its library should hold."""

    held: set[bytes]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(operations, min_size=1, max_size=8), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_a_run_after_any_changes_equals_a_fresh_index(
    rounds: list[list[tuple[str, ...]]], batch_size: int, threads: int
) -> None:
    # Hundreds of libraries are made and thrown away: not on a disk, if there is another place.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        top = Path(folder).resolve()
        root, shelf = top / "photos", _Remembering(top / "library")
        shelf.held = set()
        shelf.reranker = ProjectingReranker()
        root.mkdir()
        put(root / "always.png", 99)
        for number, changes in enumerate(rounds):
            for change in changes:
                _apply(root, change)
            _check(
                root,
                shelf,
                lambda: shelf.sync(root, batch_size=batch_size, threads=threads),
                top / f"fresh{number}",
            )
