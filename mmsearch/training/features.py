"""Photos and captions go in; what the learning part of each tower takes comes out, batch by batch.

Where a part of a tower is frozen, what it gives for a number of views of each photo is computed once and kept in files.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.config import processors
from mmsearch.files import whole, written
from mmsearch.training.augmentation import PhotoChanges, photo_view, sentence_view
from mmsearch.training.captions import CaptionedImages
from mmsearch.training.datasets import read_photo
from mmsearch.training.sampling import BatchSampler
from mmsearch.training.towers import DualEncoder, ImageTower, TextTower
from mmsearch.training.trainer import Batch
from mmsearch.types import Progress

__all__ = ["CaptionInputs", "DevSet", "PairBatches", "PhotoInputs", "ProgressCallback"]

_AT_ONCE = 32
_HINT = "Make room, or choose another --out."
_PHOTOS, _CAPTIONS = 11, 12  # what a random number is for, beside seed, epoch and step

ProgressCallback = Callable[[Progress], None] | None


class PhotoInputs:
    """What an image tower takes, for any view of any photo.

    Args:
        tower: Its frozen part is run at once where its outputs are kept, and is not needed afterwards.
        photos: Readable files (see `datasets.check_images`).
        views: How many views of each there are to draw from; 0 is the photo as it is. Where nothing is kept, each
            epoch draws views of its own and the number only says whether there are others than the photo itself.
        folder: Where outputs are kept.
        seed: Of the views.
        changes: How far views differ from the photo.
        progress: Called as photos are looked at.

    Raises:
        StorageError: There is no room for what shall be kept.
        MediaError: A photo cannot be read any more.
    """

    def __init__(
        self,
        tower: ImageTower,
        photos: Sequence[Path],
        views: int,
        folder: Path,
        *,
        seed: int = 0,
        changes: PhotoChanges = PhotoChanges(),  # noqa: B008 - it is frozen
        progress: ProgressCallback = None,
    ) -> None:
        self.tower = tower
        self.photos = tuple(photos)
        self.views = views
        self.seed = seed
        self.changes = changes
        self.kept: list[NDArray[Any]] = []
        if tower.cached:
            name = hashlib.sha256(repr((tower.key, seed, changes, *map(_stamp, photos))).encode()).hexdigest()[:16]
            began = time.monotonic()
            for view in range(views):
                file = folder / f"photos-{name}-{view}.npy"
                if not file.exists():
                    self._keep(file, view, began, progress)
                self.kept.append(np.load(file, mmap_mode="r"))

    def rows(self, chosen: Sequence[int] | NDArray[Any], views: Sequence[int] | NDArray[Any]) -> Tensor:
        """(n, ...) what the tower takes for n photos, each in one view, in float32 where it is kept as halves."""
        if not self.kept:
            return _aligned(self.tower.frozen(self._prepared(list(zip(chosen, views, strict=True)))))
        rows = np.stack([self.kept[view][photo] for photo, view in zip(chosen, views, strict=True)])
        return _aligned(rows.astype(np.float32) if rows.dtype == np.float16 else rows)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[Any]:
        """Views at random."""
        if self.views == 1:
            return np.zeros(count, np.int64)
        return rng.integers(0, self.views if self.kept else 1 << 30, count)

    def _prepared(self, chosen: Sequence[tuple[int, int]]) -> NDArray[Any]:
        def look(one: tuple[int, int]) -> NDArray[Any]:
            photo, view = int(one[0]), int(one[1])
            image = read_photo(self.photos[photo], self.tower.side)
            if view == 0:
                return self.tower.prepare(image)
            from PIL import Image

            pixels = photo_view(image, image.size, view, (self.seed, photo), self.changes)
            return self.tower.prepare(Image.fromarray(pixels))

        with ThreadPoolExecutor(processors()) as threads:
            return np.stack(list(threads.map(look, chosen)))

    def _keep(self, file: Path, view: int, began: float, progress: ProgressCallback) -> None:
        with whole(file, hint=_HINT) as part:
            kept: Any = None
            for start in range(0, len(self.photos), _AT_ONCE):
                places = range(start, min(len(self.photos), start + _AT_ONCE))
                rows = self.tower.frozen(self._prepared([(photo, view) for photo in places]))
                rows = rows.astype(np.float16) if rows.dtype.kind == "f" else rows
                if kept is None:
                    shape = (len(self.photos), *rows.shape[1:])
                    kept = np.lib.format.open_memmap(part, "w+", rows.dtype, shape)
                kept[places.start : places.stop] = rows
                if progress is not None:
                    done, total = view * len(self.photos) + places.stop, self.views * len(self.photos)
                    progress(Progress("look", done, total, time.monotonic() - began))
            if kept is not None:
                kept.flush()


class CaptionInputs:
    """What a text tower takes, for any view of any caption.

    Args:
        tower: Its frozen part is run at once where it has one that ends in features.
        captions: Sentences.
        views: How many views of each there are to draw from; 0 is the sentence as it is, others are as people type.
        share: Share of the captions that are drawn in another view than the first.
        folder: Where features are kept.
        seed: Of the views.
        progress: Called as captions are read.
    """

    def __init__(
        self,
        tower: TextTower,
        captions: Sequence[str],
        views: int,
        folder: Path,
        *,
        share: float = 0.25,
        seed: int = 0,
        progress: ProgressCallback = None,
    ) -> None:
        self.tower = tower
        self.views = views
        self.share = share
        said = [list(captions)] + [
            [sentence_view(caption, view, (seed, place)) for place, caption in enumerate(captions)]
            for view in range(1, views)
        ]
        self.tokens = [tower.tokenise(view) for view in said]
        self.kept: list[NDArray[Any]] = []
        if tower.cached:
            name = hashlib.sha256(repr((tower.key, seed, said)).encode()).hexdigest()[:16]
            for view, tokens in enumerate(self.tokens):
                file = folder / f"captions-{name}-{view}.npy"
                if not file.exists():
                    tokens_read = self._read(tokens, progress)
                    with written(file, hint=_HINT) as stream:
                        np.save(stream, tokens_read)
                self.kept.append(np.load(file, mmap_mode="r"))

    def rows(self, chosen: Sequence[int] | NDArray[Any], views: Sequence[int] | NDArray[Any]) -> Any:
        """What the tower's `forward` takes for n captions, each in one view."""
        both = list(zip(chosen, views, strict=True))
        if self.kept:
            return _aligned(np.stack([self.kept[view][caption] for caption, view in both]).astype(np.float32))
        return [self.tokens[view][caption] for caption, view in both]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[Any]:
        """Views at random, most of them the first."""
        if self.views == 1:
            return np.zeros(count, np.int64)
        return np.where(rng.random(count) < self.share, rng.integers(1, self.views, count), 0)

    def _read(self, tokens: Sequence[Sequence[int]], progress: ProgressCallback) -> NDArray[Any]:
        """Features of sentences, those of like length together."""
        began = time.monotonic()
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        parts = []
        for start in range(0, len(order), 4 * _AT_ONCE):
            parts.append(self.tower.frozen([tokens[i] for i in order[start : start + 4 * _AT_ONCE]]))
            if progress is not None:
                done = min(len(order), start + 4 * _AT_ONCE)
                progress(Progress("read", done, len(order), time.monotonic() - began))
        return np.asarray(np.concatenate(parts)[np.argsort(order)])


class PairBatches:
    """Batches of photos and captions, prepared while the step before is computed.

    Args:
        sampler: Which photos and captions belong to a step.
        photos, captions: What the towers take for them.
    """

    def __init__(self, sampler: BatchSampler, photos: PhotoInputs, captions: CaptionInputs) -> None:
        self.sampler = sampler
        self.photos = photos
        self.captions = captions

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch."""
        return len(self.sampler)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from one on."""
        with ThreadPoolExecutor(1) as ahead:
            waiting = None
            for step, drawn in enumerate(self.sampler.epoch(number, start), start):
                following = ahead.submit(self._batch, drawn, number, step)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def _batch(self, drawn: Any, epoch: int, step: int) -> Batch:
        seed = self.sampler.seed
        views = self.photos.draw(len(drawn.images), np.random.default_rng((seed, _PHOTOS, epoch, step)))
        said = self.captions.draw(len(drawn.captions), np.random.default_rng((seed, _CAPTIONS, epoch, step)))
        return Batch(
            photos=torch.from_numpy(drawn.images),
            images=self.photos.rows(drawn.images, views),
            texts=self.captions.rows(drawn.captions, said),
            owners=torch.from_numpy(drawn.owners),
            ignored=torch.from_numpy(self.sampler.shared(drawn)),
            step=epoch * self.per_epoch + step,
        )


class DevSet:
    """Photos and captions that training has not seen, and how well a model finds them.

    Args:
        model: Its frozen parts are run at once.
        images: The set.
        folder: Where features are kept.
        progress: Called as photos are looked at.
    """

    def __init__(
        self, model: DualEncoder, images: CaptionedImages, folder: Path, progress: ProgressCallback = None
    ) -> None:
        self.owners = images.owners
        self.count = len(images.images)
        self.photos = PhotoInputs(model.images, images.images, 1, folder, progress=progress)
        self.captions = CaptionInputs(model.texts, images.captions, 1, folder, progress=progress)

    @torch.inference_mode()
    def embed(self, model: DualEncoder) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n, dim) embeddings of the photos and (m, dim) of the captions."""
        device = model.log_scale.device
        photos, captions = [], []
        for start in range(0, self.count, _AT_ONCE):
            chosen = range(start, min(self.count, start + _AT_ONCE))
            photos.append(model.images(self.photos.rows(chosen, [0] * len(chosen)).to(device)).float().cpu().numpy())
        for start in range(0, len(self.owners), 4 * _AT_ONCE):
            chosen = range(start, min(len(self.owners), start + 4 * _AT_ONCE))
            rows = self.captions.rows(chosen, [0] * len(chosen))
            rows = rows.to(device) if isinstance(rows, Tensor) else rows
            captions.append(model.texts(rows).float().cpu().numpy())
        return np.concatenate(photos), np.concatenate(captions)

    def figures(self, model: DualEncoder) -> dict[str, dict[str, float]]:
        """Both directions of retrieval."""
        from mmsearch.training.evaluate import caption_metrics

        there, back = caption_metrics(*self.embed(model), self.owners)
        return {"text_to_image": there.to_dict(), "image_to_text": back.to_dict()}


def _aligned(rows: NDArray[Any]) -> Tensor:
    """A tensor in memory of torch's own.

    NumPy's begins anywhere, and products of matrices are summed up in another order, with other last bits, where it
    begins elsewhere: two runs would not end alike.
    """
    return torch.from_numpy(np.ascontiguousarray(rows)).clone()


def _stamp(path: Path) -> tuple[str, int, int]:
    """A file as it is now."""
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns
