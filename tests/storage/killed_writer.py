"""Writes batches in a process that is killed at random moments; `python -m tests.storage.killed_writer LIBRARY ROUNDS`.

Prints one JSON line a round: how many batches had been acknowledged when the writer was killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from mmsearch.errors import LibraryNotFoundError
from mmsearch.storage import additions, batch, writing  # noqa: F401  (loaded once, before the writers are forked)
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.changes import Completion, Copy, FailedFile, Move, Part
from mmsearch.types import Modality, NewItem
from tests.storage.making import OTHER_RECORD, RECORD, content_hash, mixed_segment, new_item

SIZE = 24


def files_after(batches: int) -> set[str]:
    """What a root holds after so many whole batches."""
    files: set[str] = set()
    for number in range(batches):
        files |= {f"{number}/{n}" for n in range(SIZE)}
        if number:
            files -= {f"{number - 1}/{n}" for n in range(5)}
            files |= {f"{number - 1}/moved", f"{number - 1}/copy", f"{number - 1}/bad"}
        if number % 4 == 0:
            files.add(f"{number}/grown")
    return files


def grown_after(batches: int) -> dict[str, tuple[int, bool]]:
    """How many segments the items have that were stored over four batches each, and whether they are whole."""
    return {f"{first}/grown": (2 * min(batches - first, 4), batches - first >= 4) for first in range(0, batches, 4)}


def write_batch(catalog: Catalog, root_id: int, number: int) -> None:
    """Add a batch; of the one before it remove four files, move one, copy one and mark one as bad.

    Beside that, every fourth batch begins an item with two segments, and those between add two each.
    """
    items = [new_item(root_id, f"{number}/{n}", n, metadata={"filling": "x" * 300}) for n in range(SIZE)]
    turn = number % 4
    more = tuple(mixed_segment(number, ordinal) for ordinal in (1, 3))
    known = catalog.known_files(root_id)
    growing = 0
    if turn == 0:
        items.append(NewItem(Modality.VIDEO, more, root_id, f"{number}/grown", complete=False))
    else:
        growing = known[f"{number - turn}/grown"].item_id or 0
    if number == 0:
        catalog.write(items=items)
        return
    ids = [known[f"{number - 1}/{n}"].item_id or 0 for n in range(SIZE)]
    catalog.write(
        items=items,
        parts=[Part(growing, more)] if growing else [],
        completed=[Completion(growing, content_hash(number), 7)] if turn == 3 else [],
        removed=ids[:4],
        moves=[Move(ids[4], root_id, f"{number - 1}/moved", 1)],
        copies=[Copy(ids[5], root_id, f"{number - 1}/copy", 1, 1)],
        failures=[FailedFile(root_id, f"{number - 1}/bad", 1, 1, "bad")],
    )


def write_until_killed(library: Path, started: int, pipe: int) -> None:
    with Catalog.open(library, create=True) as catalog:
        catalog.register_encoders([RECORD, OTHER_RECORD])
        root = catalog.add_root(Path("/photos"))
        for number in range(started, 10**9):
            write_batch(catalog, root.id, number)
            os.write(pipe, b".")


def files_in(library: Path) -> set[str]:
    try:
        with Catalog.open(library) as catalog:
            return {path for root in catalog.roots() for path in catalog.known_files(root.id)}
    except LibraryNotFoundError:  # killed before there was one
        return set()


def main() -> None:
    library, rounds = Path(sys.argv[1]), int(sys.argv[2])
    choose = random.Random(int(sys.argv[3]))
    batches = 0
    for _ in range(rounds):
        reading, writing_end = os.pipe()
        child = os.fork()
        if child == 0:
            write_until_killed(library, batches, writing_end)
        os.close(writing_end)
        acknowledged = sum(len(os.read(reading, 1)) for _ in range(choose.randrange(4)))
        moment = time.perf_counter() + choose.uniform(0, 0.03)
        while time.perf_counter() < moment:
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(reading, 4096):
            acknowledged += len(more)
        os.close(reading)
        least = batches + acknowledged
        known = files_in(library)
        batches = next((n for n in (least, least + 1) if files_after(n) == known), -1)
        print(json.dumps({"least": least, "batches": batches}), flush=True)
        if batches < 0:
            return


if __name__ == "__main__":
    main()
