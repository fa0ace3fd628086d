"""Kills folds at every step that touches the disk; `python -m tests.vectors.killed_folds FOLDER KIND NEW`.

Prints one JSON line for each step: whether the fold was killed, and what the files were good for afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.vectors import arrays
from mmsearch.vectors.exact import ExactIndex
from mmsearch.vectors.faiss_import import load_faiss
from mmsearch.vectors.manifest import MANIFEST_NAME
from mmsearch.vectors.store import VectorStore
from tests.vectors.worlds import MemorySource, clustered

DIM = 16


def source_with(new: int) -> MemorySource:
    source = MemorySource(DIM)
    source.add(clustered(600, DIM))
    if new:
        source.add(clustered(new, DIM, seed=1))
        source.remove([1, 2, 3])
    return source


def kill_at(step: int, writes: int) -> None:
    """Arrange for this process to be killed before its `step`-th sync, rename, removal or run of so many writes."""
    left = [step]

    def deadly(call: Callable[..., Any], every: int = 1) -> Callable[..., Any]:
        calls = [0]

        def counted(*values: Any, **named: Any) -> Any:
            calls[0] += 1
            left[0] -= calls[0] % every == 0
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*values, **named)

        return counted

    arrays.zlib.crc32 = deadly(arrays.zlib.crc32, every=writes)
    os.fsync = deadly(os.fsync)
    os.replace = deadly(os.replace)
    Path.unlink = deadly(Path.unlink)


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a fork; 0, or the signal that ended it. FAISS's threads would not survive a fork of their own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            load_faiss().omp_set_num_threads(1)
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit("a child failed")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def examine(folder: Path, new: int, step: int, killed: bool) -> None:
    """Search what the killed fold left, fold again, search that."""
    source = source_with(new)
    store = VectorStore(folder, "test", DIM)
    oracle = ExactIndex(DIM)
    oracle.add(*source.fetch(source.ids))
    queries, allowed = clustered(5, DIM, seed=3), source.ids[::2]

    def right() -> bool:
        everything = store.search(source, queries, len(source.ids))[0]
        some = store.search(source, queries, 7, allowed=allowed)[0]
        return np.array_equal(everything, oracle.search(queries, len(source.ids))[0]) and np.array_equal(
            some, oracle.search(queries, 7, allowed=allowed)[0]
        )

    usable, before = store.manifest is not None, right()
    held = store.fold(source)
    expected = {MANIFEST_NAME, *(stamp.name for stamp in held.files)}
    clean = {path.name for path in store.folder.iterdir()} == expected
    print(
        json.dumps({"step": step, "killed": killed, "usable": usable, "right": before, "then": right(), "clean": clean})
    )


def main(folder: Path, kind: str, new: int) -> None:
    first = folder / "first"
    in_child(lambda: VectorStore(first, "test", DIM).fold(source_with(0), kind=kind))
    for step in range(1000):
        copy = folder / f"step-{step}"
        shutil.copytree(first, copy)

        def fold(copy: Path = copy, step: int = step) -> None:
            kill_at(step, writes=150 if new > 1000 else 5)
            VectorStore(copy, "test", DIM).fold(source_with(new))

        killed = in_child(fold) == signal.SIGKILL
        in_child(lambda copy=copy, step=step, killed=killed: examine(copy, new, step, killed))
        shutil.rmtree(copy)
        if not killed:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
