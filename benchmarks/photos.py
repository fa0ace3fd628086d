"""Real photographs -> any number of different JPEG files of one size, the same for the same seed.

Every file is a mosaic of random crops of the sample photographs and, where they are, of the research data beside the
checkout, mirrored and tinted at random, with sensor noise so that the files weigh what a camera's do (about 100 KB at
640 x 480, about 4 MB at 12 megapixels): decoding time depends on the coded size.

    python benchmarks/photos.py vga --count 1500
    python benchmarks/photos.py 12mp --count 250
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from record import REPOSITORY, work_folder

__all__ = ["SIZES", "photo_folder", "warm"]

SIZES = {"vga": (640, 480), "12mp": (4000, 3000)}
SEED = 20260801
VERSION = 3
QUALITY = 88
NOISE = {"vga": 5.0, "12mp": 7.0}
PER_FOLDER = 500
GRIDS = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (4, 3))
NOISE_SIDE = 1024


def photo_folder(kind: str, count: int) -> Path:
    """The folder with `count` photographs of that kind, made now if it is not there yet.

    Args:
        kind: ``vga`` or ``12mp``.
        count: Number of files.
    """
    folder = work_folder() / f"photos-{kind}-{count}"
    done = folder / ".done"
    stamp = json.dumps({"version": VERSION, "seed": SEED, "kind": kind, "count": count})
    if done.exists() and done.read_text(encoding="utf-8") == stamp:
        return folder
    sources = _sources()
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for number, _ in enumerate(pool.map(partial(_make, folder, kind, sources), range(count)), 1):
            if number % 100 == 0:
                print(f"{folder.name}: {number} of {count}", flush=True)
    done.write_text(stamp, encoding="utf-8")
    return folder


def warm(folder: Path) -> int:
    """Read all photographs once, so that no run pays for the disk; returns their size in bytes."""
    return sum(len(path.read_bytes()) for path in sorted(folder.rglob("*.jpg")))


def _sources() -> list[Path]:
    """Real photographs: the samples always, the research data where it lies beside the checkout."""
    shared = Path(os.environ.get("MMSEARCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    found = sorted((REPOSITORY / "data" / "samples").glob("*.jpg"))
    for name in ("coco1000", "flickr8k/dev", "scenes"):
        found += sorted((shared / name).rglob("*.jpg"))
    return found


def _make(folder: Path, kind: str, sources: list[Path], number: int) -> None:
    size = SIZES[kind]
    rng = np.random.default_rng([SEED, size[0], number])
    columns, rows = GRIDS[rng.integers(len(GRIDS))]
    canvas = Image.new("RGB", size)
    xs = np.linspace(0, size[0], columns + 1).astype(int)
    ys = np.linspace(0, size[1], rows + 1).astype(int)
    for top, bottom in pairwise(ys):
        for left, right in pairwise(xs):
            source = sources[rng.integers(len(sources))]
            canvas.paste(_cell(source, (int(right - left), int(bottom - top)), rng), (int(left), int(top)))
    noisy = np.asarray(canvas, dtype=np.int16) + _noise(size, NOISE[kind], rng)[..., None]
    target = folder / f"{number // PER_FOLDER:02d}" / f"IMG_{number:05d}.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(target, quality=QUALITY)


def _cell(source: Path, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A random part of a photograph, at least 60 % of each side, scaled to `size`."""
    with Image.open(source) as opened:
        image = opened.convert("RGB")
    width, height = (int(side * rng.uniform(0.6, 1.0)) for side in image.size)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    image = image.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    gains = rng.uniform(0.85, 1.15, 3)
    table = np.clip(np.arange(256)[None, :] * gains[:, None], 0, 255).astype(np.uint8)
    return image.point(table.ravel().tolist())


def _noise(size: tuple[int, int], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """(height, width) int16 sensor noise, repeated from one random tile."""
    tile = np.round(rng.normal(0, deviation, (NOISE_SIDE, NOISE_SIDE))).astype(np.int16)
    repeats = (-(-size[1] // NOISE_SIDE), -(-size[0] // NOISE_SIDE))
    return np.tile(tile, repeats)[: size[1], : size[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(SIZES))
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    folder = photo_folder(arguments.kind, arguments.count)
    size = warm(folder)
    print(f"{folder}: {arguments.count} files, {size / arguments.count / 1000:.0f} KB each")


if __name__ == "__main__":
    main()
