"""Batches go in, a model that has learned from them comes out; a run can be cut off anywhere and taken up again.

All chance comes from the seed and the number of the step alone, so a run that was killed and repeated gives the weights
of one that was not: bit for bit on one machine, as far as the libraries below add up in the same order.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from mmsearch.errors import EncoderError
from mmsearch.training.checkpoints import Checkpoints
from mmsearch.training.metrics import Metrics
from mmsearch.training.towers import Learner
from mmsearch.types import Progress

__all__ = ["Batch", "Batches", "Figures", "Outcome", "Schedule", "Trainer", "recall_sum"]

Figures = Mapping[str, Mapping[str, float]]
"""Two directions such as ``text_to_image``, each with ``recall@1`` and so on: see `RetrievalMetrics.to_dict`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step learns from.

    Attributes:
        photos: (b,) indices of the photos.
        images: (b, ...) what the image tower's `forward` takes.
        texts: Of m captions, what the text tower's `forward` takes.
        owners: (m,) for each caption the place of its photo within the batch.
        step: Number of the step that it is for.
        ignored: (m, b) where a caption stands beside another photo too, so that it is neither right nor wrong for it.
    """

    photos: Tensor
    images: Tensor
    texts: Any
    owners: Tensor
    step: int
    ignored: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        held = {name: getattr(self, name) for name in ("photos", "images", "texts", "owners", "ignored")}
        moved: dict[str, Any] = {name: value.to(device) for name, value in held.items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class Step(Protocol):
    """What one step of any training learns from."""

    def to(self, device: torch.device) -> Any:
        """The same on a device."""


S = TypeVar("S", bound=Step)
S_co = TypeVar("S_co", bound=Step, covariant=True)
M = TypeVar("M", bound=Learner)


class Batches(Protocol[S_co]):
    """What a run learns from."""

    @property
    def per_epoch(self) -> int:
        """Batches in one epoch."""

    def epoch(self, number: int, start: int = 0) -> Iterator[S_co]:
        """The batches of an epoch from one on: always the same for the same numbers."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long, how fast and with how many bits a run learns.

    Attributes:
        epochs: At most so many.
        rates: Highest learning rate of the parameters whose names begin so; the longest beginning counts. A rate that
            climbs for `warmup` of the steps and falls as a cosine to nearly nothing (Loshchilov and Hutter,
            arXiv 1608.03983).
        decay: Weight decay of matrices (AdamW; Loshchilov and Hutter, arXiv 1711.05101); biases and norms have none.
        clip: Longest gradient.
        average: Share that the running average of the weights keeps at each step; 0 takes the last weights as they
            are. The average is what is evaluated and kept.
        patience: Stop after so many epochs without a better figure on the dev set; 0 never stops early, and keeps the
            last epoch's weights instead of the best one's.
        precision: ``fp32``, ``bf16`` or ``fp16`` (CUDA only) where the tower lets autocast work.
    """

    epochs: int = 16
    rates: Mapping[str, float] = field(default_factory=lambda: {"": 1e-3})
    decay: float = 0.1
    warmup: float = 0.1
    clip: float = 1.0
    average: float = 0.0
    patience: int = 0
    precision: str = "fp32"
    seed: int = 0

    def factor(self, step: int, steps: int) -> float:
        """Share of the highest rate at a step."""
        rising = max(1, round(self.warmup * steps))
        if step < rising:
            return (step + 1) / rising
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        epochs: How many were run.
        best_epoch: The one whose weights the model has now.
        figures: Of the dev set with those weights; None without a dev set.
        stopped_early: Whether `patience` ran out.
    """

    epochs: int
    best_epoch: int
    figures: Figures | None
    stopped_early: bool


def recall_sum(figures: Figures) -> float:
    """Mean of recall at 1, 5 and 10 in both directions: what the best epoch is chosen by."""
    shares = [side[f"recall@{k}"] for side in figures.values() for k in (1, 5, 10)]
    return sum(shares) / len(shares)


class Trainer(Generic[M, S]):
    """One run of one model.

    Args:
        model: Changed in place; only what requires a gradient is.
        batches: What to learn from.
        objective: Model and batch -> what shall become small.
        schedule: See there.
        checkpoints: Where the state is kept.
        metrics: Where the figures go.
        stage: Name of the run in the figures.
        evaluate: The dev set's figures; None without a dev set.
        device: Where it runs.
        progress: Called after each step.
        checkpoint_every_s: Seconds between checkpoints within an epoch.
    """

    def __init__(
        self,
        model: M,
        batches: Batches[S],
        objective: Callable[[M, S], Tensor],
        schedule: Schedule,
        checkpoints: Checkpoints,
        metrics: Metrics,
        *,
        stage: str = "train",
        evaluate: Callable[[M], Figures] | None = None,
        device: torch.device | str = "cpu",
        progress: Callable[[Progress], None] | None = None,
        checkpoint_every_s: float = 60.0,
    ) -> None:
        self.model = model.to(device)
        self.batches = batches
        self.objective = objective
        self.schedule = schedule
        self.checkpoints = checkpoints
        self.metrics = metrics
        self.stage = stage
        self.evaluate = evaluate
        self.device = torch.device(device)
        self.progress = progress
        self.checkpoint_every_s = checkpoint_every_s
        self.steps = schedule.epochs * batches.per_epoch
        self.learned = dict(model.learned())
        self.optimizer = torch.optim.AdamW(self._groups())
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=schedule.precision == "fp16")
        self.average = {name: value.detach().clone() for name, value in self.learned.items()}
        self.best: dict[str, Any] = {"value": -1.0, "epoch": -1, "figures": None, "weights": None}
        self.step = 0
        self.since_best = 0
        self.done = False

    def run(self) -> Outcome:
        """Learn until the epochs or the patience are at an end, from the last checkpoint on.

        Raises:
            EncoderError: The loss is no number any more.
            StorageError: A checkpoint cannot be written.
            UsageError: The checkpoint belongs to another run.
        """
        self._resume()
        began, first, saved = time.monotonic(), self.step, time.monotonic()
        while not self.done and self.step < self.steps:
            number, start = divmod(self.step, self.batches.per_epoch)
            for batch in self.batches.epoch(number, start):
                loss = self._learn(batch.to(self.device))
                self._note(loss, number)
                if self.progress is not None:
                    elapsed = time.monotonic() - began
                    self.progress(Progress("train", self.step - first, self.steps - first, elapsed, self._words(loss)))
                # The last state of an epoch is kept only with the epoch's figures.
                if time.monotonic() - saved > self.checkpoint_every_s and self.step % self.batches.per_epoch:
                    self._save()
                    saved = time.monotonic()
            self._end_epoch(number)
            self._save()
            saved = time.monotonic()
        if self.best["weights"] is not None:
            self._put(self.best["weights"])
        self.model.eval()
        epochs = -(-self.step // self.batches.per_epoch)
        return Outcome(epochs, self.best["epoch"], self.best["figures"], self.done and self.step < self.steps)

    def _words(self, loss: float) -> str:
        said = f"loss {loss:.3f}"
        if self.best["figures"] is not None:
            said += f", best dev recall {100 * self.best['value']:.1f} %"
        return said

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by rate and decay; each group remembers its highest rate."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.learned.items():
            prefix = max((p for p in self.schedule.rates if name.startswith(p)), key=len, default=None)
            if prefix is None:
                raise ValueError(f"the schedule has no rate for {name}")
            decay = self.schedule.decay if parameter.ndim > 1 else 0.0
            groups.setdefault((self.schedule.rates[prefix], decay), []).append(parameter)
        return [
            {"params": own, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), own in groups.items()
        ]

    def _learn(self, batch: S) -> float:
        """One step; returns its loss."""
        self.model.train()
        torch.manual_seed(int(np.random.SeedSequence((self.schedule.seed, self.step)).generate_state(1)[0]))
        factor = self.schedule.factor(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group["peak"]
        with self._autocast():
            loss = self.objective(self.model, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise EncoderError(
                f"The loss is {value} at step {self.step + 1} of {self.steps}.",
                hint="Try a lower --rate, or --precision fp32.",
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call, unused-ignore]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.learned.values(), self.schedule.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        with torch.no_grad():
            # At first the average is of few steps, so that it does not drag along the weights from before training.
            kept = min(self.schedule.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.average.values()), list(self.learned.values()), 1 - kept)
        self.step += 1
        return value

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.schedule.precision == "fp32":
            return contextlib.nullcontext()
        kind = torch.bfloat16 if self.schedule.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, kind)

    def _note(self, loss: float, epoch: int) -> None:
        self.metrics.write(
            {
                "stage": self.stage,
                "epoch": epoch + 1,
                "step": self.step,
                "loss": round(loss, 5),
                "rate": self.optimizer.param_groups[0]["lr"],
                "scale": round(float(self.model.scale.detach()), 3),
            }
        )

    def _end_epoch(self, number: int) -> None:
        """Evaluate the averaged weights, remember them if they are the best, and see whether it is time to stop."""
        learning = {name: value.detach().clone() for name, value in self.learned.items()}
        self._put(self.average)
        self.model.eval()
        figures, value = None, float(number)
        if self.evaluate is not None:
            figures = {side: dict(values) for side, values in self.evaluate(self.model).items()}
            value = recall_sum(figures)
            self.metrics.write({"stage": self.stage, "epoch": number + 1, "step": self.step, "dev": figures})
        if value > self.best["value"] or not self.schedule.patience:
            weights = {name: value.detach().cpu().clone() for name, value in self.average.items()}
            self.best = {"value": value, "epoch": number + 1, "figures": figures, "weights": weights}
            self.since_best = 0
        else:
            self.since_best += 1
            self.done = self.since_best >= self.schedule.patience
        self._put(learning)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.learned.items():
                parameter.copy_(weights[name])

    def _save(self) -> None:
        self.checkpoints.save(
            {
                "step": self.step,
                "since_best": self.since_best,
                "done": self.done,
                "weights": {name: value.detach() for name, value in self.learned.items()},
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "best": self.best,
            }
        )

    def _resume(self) -> None:
        state = self.checkpoints.load()
        step = 0 if state is None else int(state["step"])
        self.metrics.keep(lambda line: line["stage"] != self.stage or line["step"] <= step)
        if state is None:
            return
        self._put(state["weights"])
        for name, value in self.average.items():
            value.copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.since_best = step, int(state["since_best"])
        self.done, self.best = bool(state["done"]), dict(state["best"])
