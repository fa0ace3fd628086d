"""How well the recipe of the audio tower does on sounds that it has not heard: four trainings, each without one fold.

    python benchmarks/sound_quality.py --data ../shared/data
    python benchmarks/sound_quality.py --data ../shared/data --folds 1 --epochs 20 --dry

Each fold of ESC-10 is measured with a tower that learned from the other folds, from the captioned sounds of the stamps
and from made ones (recipe and data of `mmsearch train sound`), through the text tower and image tower of the product.

Figures: accuracy of zero-shot classification; the name of a class as a query over the sounds of the fold (recall@1 and
mean average precision); the same with words that no sentence of training was (`HELD_OUT`); sounds as queries over
Flickr8k's dev photos, and those photos as queries over the sounds, for what the captions name; and how often a sound of
the fold is nearer to its class than a made sound of no class is to the class that it is nearest to.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from record import record, work_folder

from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.encoders.mini_sound import spectrogram
from mmsearch.encoders.precision import choose_precision
from mmsearch.evaluation import read_captions
from mmsearch.media.image import read_image
from mmsearch.present.progress import progress_display
from mmsearch.present.terminal import describe
from mmsearch.training.memory import keep_freed_memory
from mmsearch.training.place import Place
from mmsearch.training.sound_data import read_sounds
from mmsearch.training.sound_figures import SoundFigures, mean_precision
from mmsearch.training.sound_learning import hear, learn
from mmsearch.training.sound_synthesis import make_sounds
from mmsearch.training.sound_targets import find_targets
from mmsearch.training.sounds import SoundRecipe, class_sentences

HELD_OUT = {
    "baby cry": ("baby", "an unhappy infant", "a little kid crying", "a bawling baby", "cry of a newborn"),
    "chainsaw": ("sawing", "a gasoline saw", "cutting down a tree", "a lumberjack sawing a log", "power tool"),
    "clock tick": ("alarm clock", "clock on the wall", "the tick of a clock", "wristwatch", "tick"),
    "dog bark": ("dog", "barking", "a hound barking", "my dog barks at the mailman", "puppy"),
    "fire crackling": ("burning", "open fire", "a bonfire at night", "firewood burning", "flame"),
    "helicopter": ("copter", "helicopter in flight", "rotor", "a helicopter over the city", "police helicopter"),
    "person sneeze": ("sneezing man", "he sneezes", "achoo!", "someone has a cold and sneezes", "sneezes"),
    "rain": ("rain on a roof", "storm and rain", "wet weather", "raining outside", "a rainy street"),
    "rooster": ("cock", "rooster in the morning", "a crowing cock", "farm bird crowing", "cockadoodledoo"),
    "sea waves": ("sea", "ocean surf", "waves at the beach", "coast", "the ocean at the shore"),
}
SEEN = {
    "baby cry": r"\b(baby|babies|infant|toddler)\b",
    "dog bark": r"\bdogs?\b",
    "fire crackling": r"\b(fire|campfire|bonfire|flames?)\b",
    "rain": r"\brain\w*\b",
    "sea waves": r"\b(waves?|ocean|surf\w*)\b",
}
UNRELATED = 12


def photos(data: Path, encoder: MiniEncoder) -> tuple[NDArray[np.float32], dict[str, NDArray[np.bool_]]]:
    """Embeddings of Flickr8k's dev photos, and which of them show what is heard in a class: two captions name it."""
    dev = read_captions(data / "flickr8k/dev/captions.csv", data / "flickr8k/dev/images")
    named = {name: np.zeros(len(dev.images), np.int64) for name in SEEN}
    for caption, owner in zip(dev.captions, dev.owners, strict=True):
        for name, pattern in SEEN.items():
            named[name][owner] += bool(re.search(pattern, caption, re.IGNORECASE))
    rows = []
    for start in range(0, len(dev.images), 64):
        some = dev.images[start : start + 64]
        rows.append(encoder.encode_images([encoder.prepare_image(read_image(p, target_side=260).image) for p in some]))
    return np.concatenate(rows), {name: count >= 2 for name, count in named.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", default="1,2,3,4")
    parser.add_argument("--epochs", type=int, default=SoundRecipe().epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=X", help="another number of the recipe")
    parser.add_argument("--work", type=Path, default=work_folder() / "sound_quality")
    parser.add_argument("--fresh", action="store_true", help="begin anew instead of going on")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    keep_freed_memory()
    encoder = MiniEncoder()
    chosen = {
        name: type(getattr(SoundRecipe(), name))(value) for name, value in (one.split("=") for one in arguments.set)
    }
    recipe = SoundRecipe(
        epochs=arguments.epochs, seed=arguments.seed, precision=choose_precision(None, torch.device("cpu")), **chosen
    )
    data = arguments.data
    sounds = read_sounds([data / "esc10"], [data / "stamps/captions.csv"], [data / "flickr8k/train", data / "coco1000"])
    phrases = tuple(
        tuple(said for said in own if said not in HELD_OUT.get(name, ()))
        for name, own in zip(sounds.names, sounds.phrases, strict=True)
    )
    sounds = dataclasses.replace(sounds, phrases=phrases)
    arguments.work.mkdir(parents=True, exist_ok=True)
    views, shown = photos(data, encoder)
    results = []
    with progress_display(sys.stderr, describe(sys.stderr)) as progress:
        heard = hear(sounds, recipe, progress)
        targets = find_targets(MODELS, heard.sounds, arguments.work, progress=progress)
        names = class_sentences(encoder, sounds)
        others = np.stack([spectrogram(samples) for _, samples in make_sounds(UNRELATED, 99)])
        for fold in arguments.folds.split(","):
            place = Place(arguments.work / f"fold-{fold}", fresh=arguments.fresh, progress=progress)
            place.prepare()
            out = sounds.matching([f"{fold}-*"])
            out = np.pad(out, (0, len(heard.powers) - len(out)))
            test, train = heard.select(np.flatnonzero(out)), heard.select(np.flatnonzero(~out))
            trained = learn(train, targets, recipe, place, held_out=test, figures=SoundFigures(names))
            assert trained.figures is not None
            z = trained.model.embed(torch.from_numpy(test.whole())).numpy()
            labels = test.sounds.labels
            np.savez(
                place.out / "heard.npz", embeddings=z, labels=labels, names=np.array(sounds.names[: labels.max() + 1])
            )
            own = [np.flatnonzero(labels == label) for label in range(sounds.classes)]
            figures = {
                "accuracy": trained.figures["sound_to_text"]["recall@1"],
                "recall@1": trained.figures["text_to_sound"]["recall@1"],
                "map": trained.figures["text_to_sound"]["map"],
            }
            said = np.stack([encoder.encode_texts([HELD_OUT[name][k] for name in sounds.names[:10]]) for k in range(5)])
            ranks = [one @ z.T for one in said]
            figures["other_words_accuracy"] = float(np.mean([(r.argmax(0) == labels).mean() for r in ranks]))
            figures["other_words_recall@1"] = float(np.mean([(labels[r.argmax(1)] == range(10)).mean() for r in ranks]))
            figures["other_words_map"] = float(np.mean([mean_precision(r, own) for r in ranks]))
            top = np.argsort(-z @ views.T, axis=1)[:, :10]
            seen = {name: list(sounds.names).index(name) for name in SEEN}
            figures["photos_precision@10"] = float(
                np.mean([shown[name][top[labels == label]].mean() for name, label in seen.items()])
            )
            figures["photo_to_sound_recall@1"] = float(
                np.mean([(labels[(views[shown[n]] @ z.T).argmax(1)] == label).mean() for n, label in seen.items()])
            )
            noise = (trained.model.embed(torch.from_numpy(others)).numpy() @ names[:10].T).max(1)
            figures["nearer_than_unrelated"] = float(((z * names[labels]).sum(1)[:, None] > noise).mean())
            results.append({name: round(value, 4) for name, value in figures.items()})
            print(fold, results[-1], flush=True)
    means = {name: round(float(np.mean([found[name] for found in results])), 4) for name in results[0]}
    for name, value in means.items():
        cells = "".join(f"{found[name]:8.3f}" for found in results)
        print(f"{name:26}{cells}   mean {value:.3f}")
    record(
        "sound_quality",
        {
            "folds": dict(zip(arguments.folds.split(","), results, strict=True)),
            "mean": means,
            "recipe": {name: value for name, value in dataclasses.asdict(recipe).items() if name != "changes"},
        },
        keep=not arguments.dry,
    )


if __name__ == "__main__":
    main()
