"""Sounds, and where the towers that stay put what is said of them, go in; an audio tower that has learned comes out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.encoders.mini_sound import SOUND
from mmsearch.errors import UsageError
from mmsearch.training.checkpoints import Checkpoints
from mmsearch.training.features import ProgressCallback
from mmsearch.training.metrics import Metrics
from mmsearch.training.place import Place
from mmsearch.training.sound_data import SoundSet, decode, with_made_sounds
from mmsearch.training.sound_figures import SoundFigures
from mmsearch.training.sound_network import SoundLearner, SoundNetwork
from mmsearch.training.sound_objective import SoundBatch, SoundObjective
from mmsearch.training.sound_phrases import SYNTHETIC
from mmsearch.training.sound_synthesis import make_sounds
from mmsearch.training.sound_targets import SoundTargets
from mmsearch.training.sound_views import SPEEDS, SoundChanges, mixed_views, powers, whole_view
from mmsearch.training.trainer import Figures, Schedule, Trainer
from mmsearch.types import Failure, Progress

__all__ = ["Heard", "SoundRecipe", "Trained", "hear", "learn"]

_SETTLED = 24  # batches that the statistics of the normalisations are taken over
_SETTLING_EPOCH = 1_000_000  # of which chance they are


@dataclass(frozen=True, slots=True)
class SoundRecipe:
    """Everything that the training of an audio tower depends on besides its data.

    Attributes:
        epochs: How many.
        batch: Sounds a batch.
        rate: Highest learning rate.
        decay, warmup, average, precision, seed: See `mmsearch.training.trainer.Schedule`.
        dropout: Before the last layer.
        scale: Inverse temperature; it does not learn.
        balance: Sounds are drawn by the size of their class to the power of minus this: 0 as they are, 1 all alike.
        synthetic: Sounds of each kind that are made, see `mmsearch.training.sound_synthesis`.
        back, seen, near: See `mmsearch.training.sound_objective.SoundObjective`.
        changes: How training hears.
    """

    epochs: int = 100
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.05
    warmup: float = 0.1
    average: float = 0.985
    precision: str = "fp32"
    seed: int = 0
    dropout: float = 0.3
    scale: float = 20.0
    balance: float = 0.3
    synthetic: int = 12
    back: float = 0.5
    seen: float = 0.3
    near: float = 1.0
    changes: SoundChanges = field(default_factory=SoundChanges)

    def schedule(self) -> Schedule:
        """The part of it that the trainer needs."""
        return Schedule(
            self.epochs,
            {"": self.rate},
            self.decay,
            self.warmup,
            clip=2.0,
            average=self.average,
            precision=self.precision,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Sounds and their spectrograms.

    Attributes:
        sounds: Those that could be read, and those that were made.
        powers: For each its powers at all `SPEEDS`.
        failures: Those that could not be read.
    """

    sounds: SoundSet
    powers: tuple[tuple[NDArray[np.float32], ...], ...]
    failures: tuple[Failure, ...] = ()

    def select(self, chosen: NDArray[np.int64]) -> Heard:
        """Some of them; names stay."""
        return Heard(self.sounds.select(chosen), tuple(self.powers[i] for i in chosen))

    def whole(self) -> NDArray[np.float32]:
        """(n, bands, frames) what the network reads of each where it is used."""
        return np.stack([whole_view(own[0]) for own in self.powers])


def hear(sounds: SoundSet, recipe: SoundRecipe, progress: ProgressCallback = None) -> Heard:
    """Decode sounds, make those that the recipe wants, and compute their spectrograms.

    Raises:
        UsageError: None of them can be read.
    """
    began = time.monotonic()

    def told(done: int) -> None:
        if progress is not None:
            progress(Progress("look", done, len(sounds.sounds), time.monotonic() - began))

    read, samples, failures = decode(sounds, SOUND.rate, told)
    if not samples:
        raise UsageError(f"None of the sounds can be read, the first is {failures[0].path}: {failures[0].reason}.")
    if recipe.synthetic:
        made = make_sounds(recipe.synthetic, recipe.seed)
        read = with_made_sounds(read, made, SYNTHETIC)
        samples += [one for _, one in made]
    return Heard(read, tuple(tuple(powers(one, speed) for speed in SPEEDS) for one in samples), failures)


class SoundBatches:
    """Batches of mixed sounds, prepared while the step before is computed.

    Args:
        heard: The sounds.
        recipe: How they are drawn and changed.
    """

    def __init__(self, heard: Heard, recipe: SoundRecipe) -> None:
        self.heard = heard
        self.recipe = recipe
        self.size = min(recipe.batch, len(heard.powers))
        weights = np.bincount(heard.sounds.labels).astype(np.float64)[heard.sounds.labels] ** -recipe.balance
        self.chances = weights / weights.sum()

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch."""
        return max(1, len(self.heard.powers) // self.size)

    def epoch(self, number: int, start: int = 0) -> Iterator[SoundBatch]:
        """The batches of an epoch from one on: always the same for the same numbers."""
        rng = np.random.default_rng((self.recipe.seed, 53, number))
        count = len(self.chances)
        drawn = rng.choice(count, count, p=self.chances) if self.recipe.balance else rng.permutation(count)
        with ThreadPoolExecutor(1) as ahead:
            steps = range(start, self.per_epoch)
            waiting = [ahead.submit(self._batch, drawn, number, step) for step in steps[:1]]
            for step in steps:
                batch = waiting.pop().result()
                if step + 1 < self.per_epoch:
                    waiting.append(ahead.submit(self._batch, drawn, number, step + 1))
                yield batch

    def _batch(self, drawn: NDArray[np.int64], epoch: int, step: int) -> SoundBatch:
        chosen = drawn[step * self.size : (step + 1) * self.size]
        rng = np.random.default_rng((self.recipe.seed, 59, epoch, step))
        view = mixed_views([self.heard.powers[i] for i in chosen], rng, self.recipe.changes)
        labels = torch.from_numpy(self.heard.sounds.labels[chosen])
        return SoundBatch(
            heard=torch.from_numpy(view.heard).clone(),
            labels=labels,
            others=labels[torch.from_numpy(view.partners)],
            shares=torch.from_numpy(view.shares).clone(),
            step=epoch * self.per_epoch + step,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What a training ended with.

    Attributes:
        model: The network, ready to be used.
        figures: Of the sounds that were held out; None without them.
    """

    model: SoundLearner
    figures: Figures | None


def learn(
    heard: Heard,
    targets: SoundTargets,
    recipe: SoundRecipe,
    place: Place,
    *,
    held_out: Heard | None = None,
    figures: SoundFigures | None = None,
    stage: str = "sounds",
) -> Trained:
    """Train an audio tower.

    Args:
        heard: What to learn from.
        targets: What the names of its sounds stand for.
        recipe: How.
        place: Where.
        held_out: What to measure with.
        figures: How it is measured.
        stage: Name of the run in the figures.

    Raises:
        MmsearchError: As the parts say.
    """
    torch.manual_seed(recipe.seed)
    model = SoundLearner(SoundNetwork(targets.means.shape[1], dropout=recipe.dropout), recipe.scale)
    batches = SoundBatches(heard, recipe)
    evaluate: Callable[[SoundLearner], Figures] | None = None
    if held_out is not None and figures is not None:
        device, whole = torch.device(place.device), torch.from_numpy(held_out.whole())
        labels, measured = held_out.sounds.labels, figures

        def evaluate(model: SoundLearner) -> Figures:
            return measured.of(model.embed(whole.to(device)).cpu().numpy(), labels)

    Trainer(
        model,
        batches,
        SoundObjective(targets, seed=recipe.seed, back=recipe.back, seen=recipe.seen, near=recipe.near),
        recipe.schedule(),
        Checkpoints(place.work / f"{stage}.pt", _fingerprint(heard, targets, recipe)),
        Metrics(place.metrics),
        stage=stage,
        evaluate=evaluate,
        device=place.device,
        progress=place.progress,
    ).run()
    settling = islice(_endless(batches), min(_SETTLED, 4 * batches.per_epoch))
    model.settle([batch.heard.to(place.device) for batch in settling])
    end = evaluate(model) if evaluate is not None else None
    return Trained(model.to("cpu"), end)


def _endless(batches: SoundBatches) -> Iterator[SoundBatch]:
    number = _SETTLING_EPOCH
    while True:
        yield from batches.epoch(number)
        number += 1


def _fingerprint(heard: Heard, targets: SoundTargets, recipe: SoundRecipe) -> str:
    """Whether it is the same data and the same settings."""
    digest = hashlib.sha256(json.dumps(asdict(recipe), default=str).encode())
    arrays: Sequence[NDArray[Any]] = [targets.means, heard.sounds.labels, *(own[0] for own in heard.powers)]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
