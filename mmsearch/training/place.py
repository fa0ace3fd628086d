"""What a training is given and what it leaves behind: its data, its folder, its report."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmsearch.errors import UsageError
from mmsearch.training.captions import CaptionedImages
from mmsearch.training.features import ProgressCallback
from mmsearch.training.recipe import Recipe
from mmsearch.training.trainer import Figures, Outcome

__all__ = ["Data", "Place", "Report"]


@dataclass(frozen=True, slots=True)
class Data:
    """What to learn from, and what to measure with.

    Attributes:
        train: Photos and captions.
        dev: Others, never learned from; the best epoch and the figures come from them.
    """

    train: CaptionedImages
    dev: CaptionedImages

    def names(self) -> list[Any]:
        """The photos' names and the captions: whether it is the same data."""
        photos = (path.name for path in self.train.images)
        parts = [*photos, *self.train.captions, *(path.name for path in self.dev.images)]
        return [len(self.train.images), hashlib.sha256("\n".join(parts).encode()).hexdigest()]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training happens.

    Attributes:
        out: Folder for the model, the figures, the plot and what is kept to go on from.
        device: ``cpu``, ``cuda`` and so on.
        fresh: Begin anew, whatever `out` holds.
        progress: Called as photos, captions and steps are done.
        notify: Called with a sentence before something that takes long.
    """

    out: Path
    device: str = "cpu"
    fresh: bool = False
    progress: ProgressCallback = None
    notify: Callable[[str], None] | None = None

    @property
    def work(self) -> Path:
        """Folder of what is kept to go on from; it can be deleted when the training is done."""
        return self.out / "work"

    @property
    def model(self) -> Path:
        """Folder of the model."""
        return self.out / "model"

    def prepare(self) -> None:
        """Make the folder, empty of an earlier run if that is wanted.

        Raises:
            UsageError: There is something that is no folder, or it holds something else.
        """
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is no folder.", hint="Choose another --out.")
        if self.fresh:
            for path in (self.work, self.model):
                shutil.rmtree(path, ignore_errors=True)
            for path in (self.metrics, self.plot, self.report):
                path.unlink(missing_ok=True)
        self.work.mkdir(parents=True, exist_ok=True)

    @property
    def metrics(self) -> Path:
        """Figures of each step and epoch, one JSON object a line."""
        return self.out / "metrics.jsonl"

    @property
    def plot(self) -> Path:
        """Picture of loss and recall."""
        return self.out / "training.png"

    @property
    def report(self) -> Path:
        """What came out, in JSON."""
        return self.out / "report.json"


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of a training.

    Attributes:
        model: Id to use it by.
        folder: Where it lies.
        photos, captions: What was learned from.
        stages: How each stage ended.
        before: Figures on the dev set before training; None for a new model.
        trained: After training, as it was trained.
        exported: As it was written: in integers for a model in the built-in format.
        parity: Least cosine between trained and written embeddings, of photos and of captions, before integers.
        recipes: How each stage learned.
        in_integers: Figures of a new model's image tower in integers, before its head was fitted to them.
    """

    model: str
    folder: Path
    photos: int
    captions: int
    stages: dict[str, Outcome]
    before: Figures | None
    trained: Figures
    exported: Figures
    parity: dict[str, float]
    recipes: dict[str, Recipe] = field(default_factory=dict)
    in_integers: Figures | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {
            "model": self.model,
            "photos": self.photos,
            "captions": self.captions,
            "before": self.before,
            "trained": self.trained,
            "in_integers": self.in_integers,
            "exported": self.exported,
            "parity": self.parity,
            "stages": {
                name: {"epochs": end.epochs, "best_epoch": end.best_epoch, "stopped_early": end.stopped_early}
                for name, end in self.stages.items()
            },
            "recipes": {name: asdict(recipe) for name, recipe in self.recipes.items()},
        }
