"""Reading the tokens of a shortlist: the time for 100 of a million rows of 16 KB, and what of the files it touches.

    python benchmarks/token_store.py
    python benchmarks/token_store.py --rows 100000 --shortlist 1000

The file of rows is a sparse one: only rows that are going to be asked for are written, so that a million take a few
hundred megabytes. Cold means a process of its own with the files out of the page cache, as far as the system heeds the
request; warm is the median of many shortlists in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import record, work_folder

from mmsearch.rerank.token_manifest import write_manifest
from mmsearch.rerank.token_rows import pack, row_type
from mmsearch.rerank.token_store import TokenStore
from mmsearch.types import TokenFormat

FORMAT = TokenFormat(64, 256)
SEED = 5


def make(folder: Path, rows: int, wanted: np.ndarray) -> TokenStore:
    """A store with ids 1, 3, 5, ..., of which only the wanted rows hold anything."""
    store = TokenStore(folder, "mini")
    store.begin("benchmark", FORMAT)
    manifest = store.manifest
    assert manifest is not None
    store.close()
    kind = row_type(FORMAT)
    np.arange(1, 2 * rows, 2, dtype="<i8").tofile(store.folder / manifest.ids_name)
    tokens = np.random.default_rng(SEED).integers(-128, 128, (FORMAT.count, FORMAT.dim), np.int8)
    with (store.folder / manifest.rows_name).open("r+b") as file:
        file.truncate(rows * kind.itemsize)
        for id_ in wanted.tolist():
            file.seek(id_ // 2 * kind.itemsize)
            file.write(pack(np.array([id_]), tokens[None], kind).tobytes())
        file.flush()
        os.fsync(file.fileno())
    write_manifest(store.folder, manifest)
    return TokenStore(folder, "mini")


def forget(store: TokenStore) -> None:
    """Ask the system to drop the files from its cache."""
    for path in store.folder.glob("*.bin"):
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def read_cold(folder: Path, ids: np.ndarray) -> dict[str, float]:
    """Read one shortlist in a process of its own."""
    script = (
        "import json,sys,time,numpy as np\n"
        "from pathlib import Path\n"
        "from mmsearch.rerank.token_store import TokenStore\n"
        "ids=np.array(json.load(sys.stdin))\n"
        "def disk():\n"
        "    lines=Path('/proc/self/io').read_text().split()\n"
        "    return int(lines[lines.index('read_bytes:')+1])\n"
        "before,began=disk(),time.perf_counter()\n"
        f"found,_=TokenStore(Path({os.fspath(folder)!r}),'mini').read(ids)\n"
        "took=time.perf_counter()-began\n"
        "assert found.all()\n"
        "print(json.dumps({'ms':1000*took,'read_mb':(disk()-before)/1e6}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(ids.tolist()), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shortlist", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    shortlists = [
        rng.choice(arguments.rows, arguments.shortlist, replace=False).astype(np.int64) * 2 + 1
        for _ in range(arguments.rounds)
    ]
    with tempfile.TemporaryDirectory(prefix="token-store-", dir=work_folder()) as scratch:
        store = make(Path(scratch), arguments.rows, np.concatenate(shortlists))
        cold = []
        for ids in shortlists:
            forget(store)
            cold.append(read_cold(Path(scratch), ids))
        warm = []
        for ids in shortlists * 3:
            began = time.perf_counter()
            found, _ = store.read(ids)
            warm.append(1000 * (time.perf_counter() - began))
            assert found.all()
        began = time.perf_counter()
        count = len(store.ids())
        every = 1000 * (time.perf_counter() - began)
        assert count == arguments.rows
    record(
        "token_store",
        {
            "rows": arguments.rows,
            "row_bytes": row_type(FORMAT).itemsize,
            "shortlist": arguments.shortlist,
            "cold_ms": round(statistics.median(entry["ms"] for entry in cold), 2),
            "cold_read_mb": round(statistics.median(entry["read_mb"] for entry in cold), 2),
            "warm_ms": round(statistics.median(warm[len(shortlists) :]), 2),
            "all_ids_ms": round(every, 1),
        },
        keep=not arguments.dry,
    )


if __name__ == "__main__":
    main()
