"""An unchanged library of 50,000 files, checked again: wall time of the whole process, and that nothing was written.

    python benchmarks/rescan.py
    python benchmarks/rescan.py --hashing --files 50000

The files are tiny PNGs of their own content in 500 folders; their embeddings are random vectors, stored through
`Catalog.write` and folded as `mmsearch index` does it, since checking looks at neither. Every run is a new process on
a warm page cache; the first one does not count. ``--hashing`` takes the hashing encoder, without the command line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from processes import mmsearch_command, run
from record import record, work_folder

from mmsearch.encoders import load_encoder
from mmsearch.encoders.hashing import HashingEncoder
from mmsearch.media.files import content_hash
from mmsearch.protocols import Encoder
from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, MediaInfo, Modality, NewItem, NewSegment
from mmsearch.vectors.store import VectorStore
from mmsearch.vectors.stores import VectorStores

SEED = 20260801
PER_FOLDER = 100
BATCH = 1000
TARGET_S = 3.0


def png(number: int) -> bytes:
    """A picture of 4 x 4 pixels that no other number has."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + number.to_bytes(12, "little") for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def make_files(count: int) -> Path:
    """The folder with the files, made now if it is not there yet."""
    folder = work_folder().resolve() / f"rescan-files-{count}"
    if not (folder / ".done").exists():
        for number in range(count):
            path = folder / f"{number // PER_FOLDER:04d}" / f"IMG_{number:06d}.png"
            if number % PER_FOLDER == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
        (folder / ".done").touch()
    return folder


def make_library(folder: Path, count: int, encoder: Encoder) -> Path:
    """A library that holds all the files as they are now."""
    library = work_folder() / f"rescan-library-{encoder.id}-{count}"
    shutil.rmtree(library, ignore_errors=True)
    rng = np.random.default_rng(SEED)
    with Catalog.open(library, create=True) as catalog:
        catalog.register_encoders([EncoderRecord(encoder.id, encoder.dim)])
        root = catalog.add_root(folder)
        for start in range(0, count, BATCH):
            vectors = rng.standard_normal((BATCH, encoder.dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            items = []
            for number, vector in zip(range(start, min(start + BATCH, count)), vectors, strict=False):
                path = f"{number // PER_FOLDER:04d}/IMG_{number:06d}.png"
                status = (folder / path).stat()
                items.append(
                    NewItem(
                        modality=Modality.IMAGE,
                        segments=(NewSegment(Modality.IMAGE, {encoder.id: vector}),),
                        root_id=root.id,
                        path=path,
                        size_bytes=status.st_size,
                        mtime_ns=status.st_mtime_ns,
                        content_hash=content_hash(png(number)),
                        info=MediaInfo(width=4, height=4),
                    )
                )
            catalog.write(items=items)
        source = catalog.vector_source(encoder.id, Modality.IMAGE)
        VectorStore(library / "vectors", source.encoder_id, source.dim).fold(source)
    return library


def child(library: Path, folder: Path) -> None:
    """Check with the hashing encoder and print the summary."""
    from indexer.sync import sync
    from mmsearch.present.report import summary_dict

    encoder = HashingEncoder()
    with Catalog.open(library) as catalog:
        stores = VectorStores(library / "vectors")
        print(json.dumps(summary_dict(sync([folder], catalog, [encoder], stores))))


def state(library: Path) -> dict[str, tuple[int, int]]:
    """Size and time of what a run would write to."""
    return {
        path.relative_to(library).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in library.rglob("*")
        if path.is_file() and not path.name.startswith("writer.") and not path.name.endswith(("-shm", "-wal"))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hashing", action="store_true", help="without a model and the command line")
    parser.add_argument("--no-record", action="store_true", help="only print the figures")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    folder = make_files(arguments.files)
    encoder = HashingEncoder() if arguments.hashing else load_encoder("mini")
    library = make_library(folder, arguments.files, encoder)
    if arguments.hashing:
        command = [sys.executable, __file__, "--child", library, folder]
    else:
        command = [mmsearch_command(), "index", folder, "--library", library, "--json"]
    run(command)
    before = state(library)
    runs = [run(command) for _ in range(arguments.runs)]
    summaries = [json.loads(done.stdout) for done in runs]
    if any(summary["unchanged"] != arguments.files for summary in summaries):
        raise SystemExit(f"not everything is unchanged: {summaries[0]}")
    if state(library) != before:
        raise SystemExit("a run over unchanged files wrote to the library")
    wall_s = np.array([done.wall_s for done in runs])
    record(
        "rescan",
        {
            "files": arguments.files,
            "encoder": encoder.id,
            "runs": arguments.runs,
            "wall_min_s": round(float(wall_s.min()), 3),
            "wall_p50_s": round(float(np.median(wall_s)), 3),
            "wall_max_s": round(float(wall_s.max()), 3),
            "cpu_p50_s": round(float(np.median([done.cpu_s for done in runs])), 3),
            "scan_p50_s": round(float(np.median([each["stage_seconds"]["scan"] for each in summaries])), 3),
            "decode_s": max(each["stage_seconds"]["decode"] for each in summaries),
            "peak_mb": round(max(done.peak_bytes for done in runs) / 1e6),
            "target_s": TARGET_S,
        },
        keep=not arguments.no_record,
    )


if __name__ == "__main__":
    main()
