"""Sounds with what is said of them and a model in the built-in format go in; the model with an audio tower comes out.

Only the audio tower learns: it finds the places that the model's text tower and image tower have for what is heard, so
everything that was indexed with them stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.encoders.model_folder import MINI_FILES
from mmsearch.errors import ModelMissingError, UsageError
from mmsearch.training.classes import fill_prompt
from mmsearch.training.metrics import Metrics, plot
from mmsearch.training.place import Place
from mmsearch.training.sound_data import SoundSet
from mmsearch.training.sound_export import save_sounds
from mmsearch.training.sound_figures import SoundFigures
from mmsearch.training.sound_learning import SoundRecipe, hear, learn
from mmsearch.training.sound_phrases import SOUND_PROMPTS
from mmsearch.training.sound_targets import find_targets
from mmsearch.training.trainer import Figures
from mmsearch.types import Failure

__all__ = ["SoundRecipe", "SoundReport", "class_sentences", "train_sounds"]


@dataclass(frozen=True, slots=True)
class SoundReport:
    """What came out of the training of an audio tower.

    Attributes:
        model: Id to use it by.
        folder: Where it lies.
        sounds: Files that were learned from.
        made: Made sounds that were learned from as well.
        names: Classes and captions that they have.
        held_out: Sounds that were measured with.
        figures: Of those, by the written tower; None without them.
        parity: Least cosine between trained and written embeddings.
        recipe: How it was trained.
        failures: Sounds that could not be read; they are left out.
    """

    model: str
    folder: Path
    sounds: int
    made: int
    names: int
    held_out: int
    figures: Figures | None
    parity: float
    recipe: SoundRecipe
    failures: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        kept = ("model", "sounds", "made", "names", "held_out", "figures", "parity")
        return {**{name: getattr(self, name) for name in kept}, "recipe": asdict(self.recipe)}


def train_sounds(
    model: str, sounds: SoundSet, recipe: SoundRecipe, place: Place, *, hold_out: Sequence[str] = ()
) -> SoundReport:
    """Train an audio tower for a model, in place of the one that it may have.

    Args:
        model: ``mini``, or the folder of a model in its format.
        sounds: What to learn from.
        recipe: How.
        place: Where.
        hold_out: Patterns such as ``4-*``; sounds whose names fit one are measured with and not learned from.

    Raises:
        MmsearchError: As the parts say.
    """
    base = MODELS if model == "mini" else Path(model.removeprefix("mini/")).expanduser()
    missing = [name for name in MINI_FILES if not (base / name).is_file()]
    if missing:
        raise ModelMissingError(f"The model in {base} lacks {' and '.join(missing)}.", hint="Give its folder, or mini.")
    if hold_out and not sounds.matching(hold_out).any():
        raise UsageError(f"No sound has a name that fits {' or '.join(hold_out)}.", hint="Write --hold-out '4-*'.")
    _enough(len(sounds.sounds) - int(sounds.matching(hold_out).sum()))
    encoder = MiniEncoder(models=base)
    place.prepare()
    heard = hear(sounds, recipe, place.progress)
    out = heard.sounds.matching(hold_out)
    train, test = heard.select(np.flatnonzero(~out)), heard.select(np.flatnonzero(out))
    made = sum(not isinstance(sound, Path) for sound in train.sounds.sounds)
    _enough(len(train.powers) - made)
    targets = find_targets(base, heard.sounds, place.work, seed=recipe.seed, progress=place.progress)
    names = np.concatenate([class_sentences(encoder, heard.sounds), targets.means[heard.sounds.classes :]])
    figures = SoundFigures(names)
    trained = learn(train, targets, recipe, place, held_out=test if out.any() else None, figures=figures)
    whole = heard.whole()
    id, parity = save_sounds(trained.model, base, place, whole, {"sounds": len(train.powers) - made})
    written = MiniEncoder(models=place.model).encode_sounds(list(whole[out]))
    report = SoundReport(
        id,
        place.model,
        sounds=len(train.powers) - made,
        made=made,
        names=len(heard.sounds.names),
        held_out=int(out.sum()),
        figures=figures.of(written, test.sounds.labels) if out.any() else None,
        parity=parity,
        recipe=recipe,
        failures=heard.failures,
    )
    place.report.write_text(json.dumps(report.to_dict(), indent=1, default=str) + "\n", encoding="utf-8")
    plot(Metrics(place.metrics).lines(), place.plot)
    return report


def _enough(count: int) -> None:
    if count < 2:
        raise UsageError("There are too few readable sounds to train on.", hint="Give more, or hold fewer of them out.")


def class_sentences(encoder: MiniEncoder, sounds: SoundSet) -> NDArray[np.float32]:
    """(n_classes, dim) the mean of the sentences that the name of each class is measured with, normalised."""
    said = [fill_prompt(prompt, name) for name in sounds.names[: sounds.classes] for prompt in SOUND_PROMPTS]
    rows = encoder.encode_texts(said).reshape(sounds.classes, len(SOUND_PROMPTS), -1).mean(1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
