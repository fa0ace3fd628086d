"""Indexes texts in a process of its own; `python -m tests.indexer.grower FOLDER LIBRARY [--kill N] [--limit BYTES]`.

Kills itself (SIGKILL) when N texts have been embedded, or lets no file grow beyond so many bytes. Prints one JSON
line: the numbers of the summary, and how much memory reading and storing took beyond what had been taken before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from mmsearch.types import Progress
from tests.indexer.shelf import Shelf, counts, put


def resident_bytes() -> int:
    """The most memory that this process has held."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def main() -> None:
    folder, library = Path(sys.argv[1]), Path(sys.argv[2])
    options = dict(zip(sys.argv[3::2], map(int, sys.argv[4::2]), strict=True))
    # What is imported on first use is no part of what a file costs.
    warm = folder.parent / "warm"
    put(warm / "warm.txt", "Warm. " * 5000)
    Shelf(warm / "library").sync(warm)
    shelf = Shelf(library)
    if "--kill" in options:

        def kill(texts: int) -> None:
            if texts >= options["--kill"]:
                os.kill(os.getpid(), signal.SIGKILL)

        shelf.encoder.before_texts = kill
    if "--limit" in options:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (options["--limit"], resource.RLIM_INFINITY))
    before = most = resident_bytes()

    def measure(event: Progress) -> None:
        nonlocal most
        if event.stage == "embed":  # the vector index, made afterwards, grows with its vectors
            most = resident_bytes()

    summary = shelf.sync(folder, progress=measure)
    print(json.dumps({**counts(summary), "grown_bytes": most - before}))


if __name__ == "__main__":
    main()
