"""From which cosine of their embeddings are two photos the same photo?

    python benchmarks/near_duplicates.py ../shared/data/flickr8k/dev/images ../shared/data/coco1000

Every third photo gets copies as people make them: smaller, recompressed, as another kind of file, brighter, cropped
a little. Copies of one photo should be found (recall, by kind of copy), pairs of different photos should not. Precision
is told for a library in which each photo has one of these copies, as its share of true pairs among all pairs found;
pairs of different photos grow with the square of the library, so their share of all such pairs is told too. Photos that
a camera took of one scene within seconds count as different here, and the closest of them are printed with --show. The
figures "with looks" are those with the looks of both pictures compared as well, as `mmsearch query --dups` does.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from record import record

from mmsearch import load_encoder
from mmsearch.media.image import read_image
from mmsearch.retrieval.looks import LIKENESS, look

COSINES = (0.80, 0.85, 0.88, 0.90, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
EVERY = 3
BATCH = 64


def smaller(side: int) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        copy = image.copy()
        copy.thumbnail((side, side))
        return copy

    return change


def cropped(share: float) -> Callable[[Image.Image], Image.Image]:
    """That share of width and height is lost at the right and at the bottom."""

    def change(image: Image.Image) -> Image.Image:
        return image.crop((0, 0, round(image.width * (1 - share)), round(image.height * (1 - share))))

    return change


def same(image: Image.Image) -> Image.Image:
    return image


# Name -> what is done to the picture, and how it is saved.
COPIES: dict[str, tuple[Callable[[Image.Image], Image.Image], dict[str, object]]] = {
    "resized to 320": (smaller(320), {"format": "JPEG", "quality": 85}),
    "resized to 160": (smaller(160), {"format": "JPEG", "quality": 85}),
    "jpeg quality 75": (same, {"format": "JPEG", "quality": 75}),
    "jpeg quality 40": (same, {"format": "JPEG", "quality": 40}),
    "jpeg quality 15": (same, {"format": "JPEG", "quality": 15}),
    "webp": (same, {"format": "WEBP", "quality": 75}),
    "10 % brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.1), {"format": "JPEG", "quality": 90}),
    "cropped 2 %": (cropped(0.02), {"format": "JPEG", "quality": 90}),
    "cropped 5 %": (cropped(0.05), {"format": "JPEG", "quality": 90}),
    "cropped 10 %": (cropped(0.10), {"format": "JPEG", "quality": 90}),
}
# A crop of a tenth is another picture to some people: it is told, and left out of the joint figure.
JOINT = tuple(name for name in COPIES if name != "cropped 10 %")


def saved(image: Image.Image, name: str) -> bytes:
    change, options = COPIES[name]
    buffer = io.BytesIO()
    change(image).save(buffer, **options)
    return buffer.getvalue()


def embeddings(encoder, sources: Iterator[Path | bytes]) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    batch: list[NDArray[np.uint8]] = []
    for source in sources:
        batch.append(encoder.prepare_image(read_image(source, target_side=encoder.image_size).image))
        if len(batch) == BATCH:
            rows.append(encoder.encode_images(batch))
            batch = []
    if batch:
        rows.append(encoder.encode_images(batch))
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="each is measured by itself")
    parser.add_argument("--model", default="mini")
    parser.add_argument(
        "--show", type=int, default=0, metavar="N", help="print the N closest pairs of different photos"
    )
    parser.add_argument("--no-record", action="store_true", help="only print")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.model, offline=True)
    for folder in arguments.folders:
        photos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        originals = embeddings(encoder, iter(photos))
        chosen = np.arange(0, len(photos), EVERY)
        pictures = [Image.open(photos[row]).convert("RGB") for row in chosen]
        looks = np.stack([look(path) for path in photos])
        alike, seen = {}, {}
        for name in COPIES:
            files = [saved(picture, name) for picture in pictures]
            alike[name] = np.einsum("nd,nd->n", embeddings(encoder, iter(files)), originals[chosen])
            seen[name] = np.einsum("nd,nd->n", np.stack([look(file) for file in files]), looks[chosen])
        rows, columns = np.triu_indices(len(photos), 1)
        different = (originals @ originals.T)[rows, columns]
        different_looks = (looks @ looks.T)[rows, columns]
        joint, joint_looks = (np.concatenate([of[name] for name in JOINT]) for of in (alike, seen))
        for place in np.argsort(-different)[: arguments.show]:
            print(f"{different[place]:.4f}  {photos[rows[place]]}  {photos[columns[place]]}")
        for cosine in COSINES:
            found = float(np.mean(joint >= cosine))
            wrong = int(np.count_nonzero(different >= cosine))
            true = found * len(photos)
            looked = float(np.mean((joint >= cosine) & (joint_looks >= LIKENESS)))
            looked_wrong = int(np.count_nonzero((different >= cosine) & (different_looks >= LIKENESS)))
            record(
                "near_duplicates",
                {
                    "model": arguments.model,
                    "folder": "/".join(folder.resolve().parts[-3:]),
                    "photos": len(photos),
                    "cosine": cosine,
                    "recall": round(found, 4),
                    "recall_by_copy": {name: round(float(np.mean(own >= cosine)), 4) for name, own in alike.items()},
                    "pairs_of_different_photos": wrong,
                    "share_of_different_pairs": float(f"{wrong / len(different):.3g}"),
                    "precision": round(true / (true + wrong), 4) if true + wrong else None,
                    "recall_with_looks": round(looked, 4),
                    "pairs_of_different_photos_with_looks": looked_wrong,
                    "mean_cosine_of_different": round(float(different.mean()), 4),
                    "deviation_of_different": round(float(different.std()), 4),
                },
                keep=not arguments.no_record,
            )


if __name__ == "__main__":
    main()
