"""A set of captioned pictures goes in, seeded batches come out that a resumed training meets again; NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import UsageError
from mmsearch.training.captions import CaptionedImages

__all__ = ["Batch", "BatchSampler"]

# Beside seed, epoch and step: what a random number is for.
_ORDER, _CAPTIONS, _TURNS = range(3)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Pictures and some of their captions, by their indices in the set.

    Attributes:
        images: (b,) each at most once.
        captions: (m,) grouped by picture, in the order of `images`.
        owners: (m,) for each caption the place of its picture in `images`.
    """

    images: NDArray[np.int64]
    captions: NDArray[np.int64]
    owners: NDArray[np.int64]


class BatchSampler:
    """Draws the batches of each epoch; every batch follows from the seed, the epoch and the step alone.

    With `alpha` 1 each picture comes once an epoch, in random order. Below it, sources that differ in size are
    balanced: a source of s pictures fills a share of every batch in proportion to s ** alpha, so that with 0 all
    sources are shown alike (as languages are in Conneau et al. 2020, arXiv 1911.02116). An epoch is as long as ever;
    within a source the pictures take turns across epochs, so that those of a large one are all shown in time. No
    picture is twice in a batch: a source too small for its share gives all that it has, and the others fill up.

    The last batch of an epoch is dropped where it would be short, unless the whole set is smaller than a batch.

    Args:
        images: The set; `sources` says what is balanced.
        batch: Pictures a batch.
        captions: Captions a picture. One with fewer gives all that it has and then some of them again; one with none
            is only a wrong answer to the captions of the others.
        seed: Of everything random.
        alpha: 1 as it is, 0 every source alike.

    Raises:
        UsageError: The set is empty, or a number makes no sense.
    """

    def __init__(
        self, images: CaptionedImages, batch: int, captions: int = 1, seed: int = 0, *, alpha: float = 1.0
    ) -> None:
        if not images.images:
            raise UsageError("There are no pictures to train on.")
        if batch < 1 or captions < 1 or seed < 0:
            raise UsageError(f"Batches of {batch} pictures with {captions} captions and the seed {seed} make no sense.")
        if not 0 <= alpha <= 1:
            raise UsageError(f"Sources are balanced by an exponent between 0 and 1, not {alpha}.")
        self.batch = min(batch, len(images.images))
        self.captions = captions
        self.seed = seed
        self.alpha = alpha
        self._images = images
        self._order = np.argsort(images.owners, kind="stable")
        self._bounds = np.searchsorted(images.owners[self._order], np.arange(len(images.images) + 1))
        members = [np.flatnonzero(images.sources == source) for source in np.unique(images.sources)]
        self._members = members
        self._shares = self._balanced([len(member) for member in members])
        _, self._texts = np.unique([text.casefold() for text in images.captions] or [""], return_inverse=True)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._images.images) // self.batch

    @property
    def shares(self) -> NDArray[np.float64]:
        """(sources,) pictures of each source in a batch, on average; sources without pictures are left out."""
        return self._shares.copy()

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from a step on; those before cost nothing."""
        order = self._plain_order(epoch) if self.alpha == 1 else self._balanced_order(epoch)
        for step in range(start, len(self)):
            yield self._with_captions(order[step * self.batch : (step + 1) * self.batch], epoch, step)

    def shared(self, batch: Batch) -> NDArray[np.bool_]:
        """(m, b) where a caption stands, word for word, beside another picture too: neither right nor wrong for it.

        So it is with captions that are made of the names of classes; see `ignored` in `mmsearch.training.losses`.
        """
        texts = self._texts[batch.captions]  # (m,)
        shared = np.zeros((len(texts), len(batch.images)), np.bool_)
        for place, image in enumerate(batch.images):
            shared[:, place] = np.isin(texts, self._texts[self._own(int(image))]) & (batch.owners != place)
        return shared

    def _own(self, image: int) -> NDArray[np.int64]:
        return self._order[self._bounds[image] : self._bounds[image + 1]]

    def _rng(self, purpose: int, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, *numbers))

    def _with_captions(self, images: NDArray[np.int64], epoch: int, step: int) -> Batch:
        rng = self._rng(_CAPTIONS, epoch, step)
        drawn, owners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for place, image in enumerate(images):
            own = self._own(int(image))
            if len(own):
                chosen = rng.permutation(own)[: self.captions]
                again = rng.choice(own, self.captions - len(chosen))
                drawn += [chosen, again]
                owners.append(np.full(self.captions, place))
        return Batch(images, np.concatenate(drawn), np.concatenate(owners))

    def _plain_order(self, epoch: int) -> NDArray[np.int64]:
        return self._rng(_ORDER, epoch).permutation(len(self._images.images))

    def _balanced(self, sizes: list[int]) -> NDArray[np.float64]:
        """Pictures of each source in a batch: in proportion to size ** alpha, and at most as many as there are."""
        most = np.array(sizes, np.float64)
        weights = most**self.alpha
        shares = np.zeros(len(sizes))
        open_ = np.ones(len(sizes), np.bool_)
        while open_.any():
            shares[open_] = (self.batch - shares[~open_].sum()) * weights[open_] / weights[open_].sum()
            over = open_ & (shares > most)
            if not over.any():
                break
            shares[over] = most[over]
            open_ &= ~over
        return shares

    def _balanced_order(self, epoch: int) -> NDArray[np.int64]:
        counts = self._counts()  # (steps, sources)
        parts = [
            self._turns(source, epoch * int(counts[:, source].sum()), counts[:, source])
            for source in range(len(self._members))
        ]
        steps = [np.concatenate([part[step] for part in parts]) for step in range(len(self))]
        rng = self._rng(_ORDER, epoch)
        return np.concatenate([steps[step][rng.permutation(self.batch)] for step in rng.permutation(len(self))])

    def _counts(self) -> NDArray[np.int64]:
        """(steps, sources) whole pictures of each source in each batch, whose sums follow the shares closely."""
        most = np.array([len(member) for member in self._members])
        counts = np.zeros((len(self), len(most)), np.int64)
        given = np.zeros(len(most), np.int64)
        for step in range(len(self)):
            due = (step + 1) * self._shares - given
            count = np.clip(np.floor(due + 1e-9).astype(np.int64), 0, most)
            while (left := self.batch - int(count.sum())) > 0:
                behind = np.where(count < most, due - count, -np.inf)
                chosen = np.argsort(-behind, kind="stable")[: min(left, int((count < most).sum()))]
                count[chosen] += 1
            while (over := int(count.sum()) - self.batch) > 0:
                ahead = np.where(count > 0, count - due, -np.inf)
                count[np.argsort(-ahead, kind="stable")[: min(over, int((count > 0).sum()))]] -= 1
            counts[step] = count
            given += count
        return counts

    def _turns(self, source: int, position: int, counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Pictures of one source for each step: rounds of all of them, from a place in the endless row of rounds."""
        members = self._members[source]
        turn, offset = divmod(position, len(members))
        left = self._rng(_TURNS, source, turn).permutation(members)[offset:]
        steps = []
        for count in counts:
            taken = left[:count]
            left = left[count:]
            if len(taken) < count:
                turn += 1
                fresh = self._rng(_TURNS, source, turn).permutation(members)
                # Those that the batch has already come later in this round.
                known = np.isin(fresh, taken)
                fresh = np.concatenate([fresh[~known], fresh[known]])
                missing = count - len(taken)
                taken, left = np.concatenate([taken, fresh[:missing]]), fresh[missing:]
            steps.append(taken)
        return steps
