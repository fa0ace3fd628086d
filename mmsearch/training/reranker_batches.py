"""What the fusion model learns from in one step: photos that are hard to tell apart, their captions, and wrong ones."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.training.captions import CaptionedImages
from mmsearch.training.reranker_inputs import SeenPhotos, SentenceStates

__all__ = ["RerankBatch", "RerankBatches", "neighbours"]

_ORDER, _DRAW = 31, 32  # what a random number is for, beside seed, epoch and step
_AT_ONCE = 2048


@dataclass(frozen=True, slots=True)
class RerankBatch:
    """What one step learns from.

    Attributes:
        patches: (b, places, width).
        states: (w, words) of the words of b captions, the i-th of the i-th photo.
        owners: (w,) the caption of each.
        ignored: (b, b) where a caption stands beside another photo of the batch too.
        wrong_states, wrong_owners: Of d distorted captions.
        wrong_photos: (d,) the photo, and caption, that each is a distortion of.
    """

    patches: Tensor
    states: Tensor
    owners: Tensor
    ignored: Tensor
    wrong_states: Tensor
    wrong_owners: Tensor
    wrong_photos: Tensor

    def to(self, device: torch.device) -> RerankBatch:
        """The same on a device."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in self.__slots__}
        return replace(self, **moved)


def neighbours(images: NDArray[np.float32], captions: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """For each photo those that the dual encoder's shortlists put beside it: (n, count), nearest first.

    Args:
        images: (n, dim) embeddings of the photos.
        captions: (n, dim) means of the embeddings of each one's captions; zeros for one without.
        count: At most n - 1.
    """
    both = images + captions
    both /= np.maximum(np.linalg.norm(both, axis=1, keepdims=True), 1e-9)
    count = min(count, len(both) - 1)
    found = np.empty((len(both), count), np.int64)
    for start in range(0, len(both), _AT_ONCE):
        near = both[start : start + _AT_ONCE] @ both.T
        near[np.arange(len(near)), np.arange(start, start + len(near))] = -np.inf
        best = np.argpartition(-near, count - 1, axis=1)[:, :count] if count else near[:, :0].astype(np.int64)
        order = np.argsort(-np.take_along_axis(near, best, axis=1), axis=1, kind="stable")
        found[start : start + _AT_ONCE] = np.take_along_axis(best, order, axis=1)
    return found


class RerankBatches:
    """The batches of each epoch; each follows from the seed, the epoch and the step alone.

    A part of a batch is drawn at random; the rest are neighbours of these, drawn from their shortlists: so negatives
    are of every hardness, from a photo that has nothing to do with a caption to one that the dual encoder takes for it.

    Args:
        data: Photos and captions; photos without captions are only wrong answers.
        photos: What the encoder sees in them.
        sentences: For each view of the captions, the words of all.
        wrong: The words of distorted captions.
        wrong_of: (d,) of which caption each is a distortion.
        near: (n, count) see `neighbours`; count may be 0.
        batch: Photos a batch.
        hard: Share of a batch that are neighbours of the others.
        share: Share of the captions that are drawn in another view than the first.
        distorted: Distorted captions a batch at most.
        seed: Of everything random.
    """

    def __init__(
        self,
        data: CaptionedImages,
        photos: SeenPhotos,
        sentences: list[SentenceStates],
        wrong: SentenceStates,
        wrong_of: NDArray[np.int64],
        near: NDArray[np.int64],
        *,
        batch: int,
        hard: float,
        share: float,
        distorted: int,
        seed: int,
    ) -> None:
        self._photos, self._sentences, self._wrong, self._near = photos, sentences, wrong, near
        order = np.argsort(data.owners, kind="stable")
        bounds = np.searchsorted(data.owners[order], np.arange(len(data.images) + 1))
        self._own = [order[bounds[at] : bounds[at + 1]] for at in range(len(data.images))]
        self._captioned = np.array([at for at, own in enumerate(self._own) if len(own)], np.int64)
        self._is_captioned = np.array([len(own) > 0 for own in self._own])
        self._wrong_at = {int(caption): at for at, caption in enumerate(wrong_of)}
        _, self._texts = np.unique([text.casefold() for text in data.captions] or [""], return_inverse=True)
        self.batch = min(batch, len(self._captioned))
        self._hard = hard if near.shape[1] else 0.0
        self._share, self._distorted, self.seed = share, distorted, seed

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch: as many as show every captioned photo once."""
        return len(self._captioned) // self.batch

    def epoch(self, number: int, start: int = 0) -> Iterator[RerankBatch]:
        """The batches of an epoch from one on, each prepared while the one before is learned from."""
        order = np.random.default_rng((self.seed, _ORDER, number)).permutation(self._captioned)
        with ThreadPoolExecutor(1) as ahead:
            waiting = None
            for step in range(start, self.per_epoch):
                following = ahead.submit(self._batch, order, number, step)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def _batch(self, order: NDArray[np.int64], epoch: int, step: int) -> RerankBatch:
        rng = np.random.default_rng((self.seed, _DRAW, epoch, step))
        photos = self._drawn(order[step * self.batch : (step + 1) * self.batch], rng)
        captions = np.array([rng.choice(self._own[photo]) for photo in photos])
        views = rng.integers(0, len(self._photos.patches), len(photos))
        other = rng.random(len(photos)) < self._share
        said = np.where(other, rng.integers(0, len(self._sentences), len(photos)), 0)
        states, owners = self._words(captions, said)
        ignored = np.zeros((len(photos), len(photos)), np.bool_)
        for at, photo in enumerate(photos):
            ignored[:, at] = np.isin(self._texts[captions], self._texts[self._own[photo]])
        np.fill_diagonal(ignored, False)
        known = [at for at, caption in enumerate(captions.tolist()) if caption in self._wrong_at]
        places = rng.permutation(np.array(known, np.int64))[: self._distorted]
        distorted = np.array([self._wrong_at[int(captions[at])] for at in places], np.int64)
        wrong_states, wrong_owners = (
            self._wrong.rows(distorted) if len(distorted) else (states[:0], np.zeros(0, np.int64))
        )
        return RerankBatch(
            torch.from_numpy(self._photos.rows(photos, views)),
            torch.from_numpy(states),
            torch.from_numpy(owners),
            torch.from_numpy(ignored),
            torch.from_numpy(wrong_states),
            torch.from_numpy(wrong_owners),
            torch.from_numpy(places),
        )

    def _drawn(self, seeds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Some of the seeds, and neighbours of them in place of the others, no photo twice."""
        taken = list(seeds[: max(1, len(seeds) - round(self._hard * len(seeds)))])
        known = set(taken)
        each = -(-(len(seeds) - len(taken)) // max(1, len(taken)))
        for seed in taken[:]:
            for near in rng.permutation(self._near[seed])[: each + 2]:
                if len(taken) < len(seeds) and near not in known and self._is_captioned[near]:
                    taken.append(near)
                    known.add(near)
        spare = (seed for seed in seeds if seed not in known)
        while len(taken) < len(seeds) and (more := next(spare, None)) is not None:
            taken.append(more)
        return np.array(taken)

    def _words(
        self, captions: NDArray[np.int64], views: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The words of captions, each in one view."""
        rows = [self._sentences[view].rows(captions[at : at + 1])[0] for at, view in enumerate(views.tolist())]
        return np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])
