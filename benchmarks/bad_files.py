"""200 bad files among 200 good ones: all good ones indexed, every bad one listed once with its reason, memory bounded.

    python benchmarks/bad_files.py
    python benchmarks/bad_files.py --hashing

The bad ones: truncated, zero bytes, text named .jpg, 30,000 x 30,000 pixels, without permission (files and folders),
FIFOs, dangling links, link loops (files and folders), names with newlines, emoji and invalid UTF-8, other damage. Some
good ones have such names, too. `mmsearch index` runs as its users do; to whom permissions do not apply (a superuser)
gives that right up first. The peak memory is compared with that of the same run over the good files alone.
``--hashing`` takes the hashing encoder instead of the built-in model, without the command line.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import random
import shutil
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from processes import Run, mmsearch_command, run
from record import record, work_folder

EACH = 20
GOOD = 200
ODD_NAMES = (b"new\nline %d", "\N{PILE OF POO} %d".encode(), b"latin \xe9\xff %d", b"-rf ~ '\" $(x) %d", b"tab\t%d ")
EXTRA_MB = 150
RNG = random.Random(20260801)
DROP_CAPABILITY = 24  # prctl's PR_CAPBSET_DROP
OVERRIDE = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def photo(number: int, side: int = 320) -> Image.Image:
    """A picture of its own."""
    noise = Image.frombytes("RGB", (16, 12), RNG.randbytes(16 * 12 * 3))
    return noise.resize((side, side * 3 // 4 + number % 7), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """An image as a file's content."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(side: int = 30_000) -> bytes:
    """A 1-bit PNG of 30,000 x 30,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(1 + side // 8)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def damaged() -> Iterator[tuple[str, bytes, str]]:
    """Suffix, content and a word of the reason."""
    large = photo(0, 640)
    while True:
        for kind, suffix in (("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("AVIF", "avif")):
            data = encoded(large, kind)
            yield suffix, data[: len(data) // 2], "d "
        data = encoded(large, progressive=True)
        yield "jpg", data[: len(data) * 2 // 3], "truncated JPEG"
        yield "jpg", data[: len(data) // 2] + bytes(len(data) // 2), "truncated JPEG"
        yield "jpg", data[:300] + RNG.randbytes(5000), "JPEG"
        data = encoded(large, "TIFF", compression="tiff_lzw")
        yield "tif", data[: len(data) // 2] + RNG.randbytes(len(data) // 2), "damaged TIFF"
        yield "heic", b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + RNG.randbytes(500), "HEIF"


def make_good(folder: Path) -> None:
    """200 pictures, every tenth with an odd name."""
    folder.mkdir(parents=True)
    for number in range(GOOD):
        name = os.fsdecode(ODD_NAMES[number // 10 % 5] % number) if number % 10 == 0 else f"good {number}"
        (folder / f"{name}.jpg").write_bytes(encoded(photo(number)))


def make_bad(folder: Path) -> dict[bytes, str]:
    """200 bad files, among them folders that cannot be entered; returns a part of each one's reason."""
    expected: dict[bytes, str] = {}
    one = bomb()
    damage = damaged()

    def place(group: str, name: str, reason: str) -> Path:
        path = folder / group / name
        path.parent.mkdir(parents=True, exist_ok=True)
        expected[os.fsencode(path)] = reason
        return path

    for number in range(EACH):
        half = encoded(photo(number))
        place("truncated", f"{number}.jpg", "truncated").write_bytes(half[: len(half) * (number + 1) // (EACH + 2)])
        place("zero", f"{number}.jpg", "empty file").touch()
        place("text", f"{number}.jpg", "not an image").write_text(f"This is text {number}.")
        place("bombs", f"{number}.png", "too many pixels").write_bytes(one + bytes([number]))
        if number % 4:
            path = place("secret", f"{number}.jpg", "permission denied")
            path.write_bytes(encoded(photo(number)))
            path.chmod(0)
        else:
            path = place("secret", f"folder {number}", "permission denied")
            path.mkdir()
            (path / "inside.jpg").write_bytes(encoded(photo(number)))
            path.chmod(0)
        os.mkfifo(place("fifos", f"{number}.jpg", "not a regular file"))
        place("dangling", f"{number}.jpg", "dangling link").symlink_to(folder / "nowhere" / f"{number}.jpg")
        path = place("loops", f"{number}.jpg" if number % 2 else f"folder {number}", "link loop")
        path.symlink_to(path if number % 2 else path.parent)
        name = os.fsdecode(ODD_NAMES[number % 5] % number)
        place("odd", f"{name}.jpg", "not an image").write_bytes(b"text %d" % number)
        suffix, data, reason = next(damage)
        place("damaged", f"{number}.{suffix}", reason).write_bytes(data)
    return expected


def give_up_rights() -> None:
    """Let permissions apply to the programs that are started from here on, also where a superuser starts them."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        for capability in OVERRIDE:
            if ctypes.CDLL(None).prctl(DROP_CAPABILITY, capability, 0, 0, 0) != 0:
                raise SystemExit("this superuser cannot give up the right to read everything")


def child(library: Path, folder: Path) -> None:
    """Index with the hashing encoder and print the summary."""
    from indexer.sync import sync
    from mmsearch.encoders.hashing import HashingEncoder
    from mmsearch.present.report import summary_dict
    from mmsearch.storage.catalog import Catalog
    from mmsearch.vectors.stores import VectorStores

    encoder = HashingEncoder()
    with Catalog.open(library, create=True) as catalog:
        stores = VectorStores(library / "vectors")
        print(json.dumps(summary_dict(sync([folder], catalog, [encoder], stores))))


def index(folder: Path, library: Path, *, hashing: bool) -> tuple[Run, dict[str, object]]:
    """Index a folder in a process of its own, which must end with status 0."""
    if hashing:
        command = [sys.executable, __file__, "--child", library, folder]
    else:
        command = [mmsearch_command(), "index", folder, "--library", library, "--json"]
    done = run(command)
    if "Traceback" in done.stderr:
        raise SystemExit(done.stderr)
    return done, json.loads(done.stdout)


def remove(folder: Path) -> None:
    """Remove a folder with whatever is in it."""
    if folder.exists():
        for path in (folder / "mixed" / "secret").glob("folder *"):
            path.chmod(0o700)
        shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hashing", action="store_true", help="without a model")
    parser.add_argument("--no-record", action="store_true", help="only print the figures")
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child)
        return
    scratch = work_folder().resolve() / f"bad-files-{os.getpid()}"
    try:
        make_good(scratch / "good")
        shutil.copytree(scratch / "good", scratch / "mixed")
        expected = make_bad(scratch / "mixed")
        give_up_rights()
        clean, _ = index(scratch / "good", scratch / "library-good", hashing=arguments.hashing)
        done, summary = index(scratch / "mixed", scratch / "library-mixed", hashing=arguments.hashing)
        _, again = index(scratch / "mixed", scratch / "library-mixed", hashing=arguments.hashing)
    finally:
        remove(scratch)
    problems: list[str] = []
    if summary["new"] != GOOD or again["unchanged"] != GOOD:
        problems.append(f"{summary['new']} of {GOOD} good files were indexed, {again['unchanged']} found again")
    for name, run_summary in (("first", summary), ("second", again)):
        skipped = run_summary["skipped"]
        assert isinstance(skipped, list)
        listed = [os.fsencode(entry["path"]) for entry in skipped]
        if sorted(listed) != sorted(expected):
            odd = set(listed) ^ set(expected)
            problems.append(f"the {name} run lists {len(listed)} files, {len(expected)} are bad: {sorted(odd)[:5]}")
        wrong = [entry for entry in skipped if expected.get(os.fsencode(entry["path"]), "") not in entry["reason"]]
        if wrong:
            problems.append(f"the {name} run gives other reasons than expected: {wrong[:5]}")
    extra_mb = (done.peak_bytes - clean.peak_bytes) / 1e6
    if extra_mb > EXTRA_MB:
        problems.append(f"the bad files cost {extra_mb:.0f} MB of memory")
    figures = {
        "encoder": "hashing" if arguments.hashing else "mini",
        "good": GOOD,
        "bad": len(expected),
        "indexed": summary["new"],
        "listed": len(summary["skipped"]),  # type: ignore[arg-type]
        "peak_mb_good_alone": round(clean.peak_bytes / 1e6),
        "peak_mb": round(done.peak_bytes / 1e6),
        "wall_s_good_alone": round(clean.wall_s, 2),
        "wall_s": round(done.wall_s, 2),
        "problems": problems,
    }
    record("bad_files", figures, keep=not arguments.no_record)
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
