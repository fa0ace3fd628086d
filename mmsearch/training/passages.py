"""Passages and a model in the built-in format go in, its smaller text tower for long passages comes out.

The smaller tower begins as a few layers of the text tower and learns by distillation (Hinton et al., arXiv 1503.02531):
for each passage, to give the embedding that the whole tower gives. It shares the vectors of the words with it.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmsearch.encoders.mini import MODELS
from mmsearch.encoders.mini_passages import PassageTower
from mmsearch.encoders.mini_text import HINT, TextTower, read_safetensors, read_shape
from mmsearch.encoders.model_folder import MINI_FILES, PASSAGE_GRAPH, SOUND_FILE, TEXT_GRAPH
from mmsearch.errors import ModelMissingError, UsageError
from mmsearch.training.export import export_text_tower
from mmsearch.training.heads import Head, head_of_arrays
from mmsearch.training.mini_texts import padded
from mmsearch.training.text_graphs import CALIBRATION, export_text_graph, write_text_graph
from mmsearch.training.text_tower import SentenceTransformer

__all__ = [
    "PassageRecipe",
    "SmallTower",
    "Trained",
    "export_passage_tower",
    "save_passages",
    "small_tower",
    "train_passages",
]

_SORTED_AT_ONCE = 32  # batches among which passages are sorted by length, so that little is padded
_MEASURED = 100


@dataclass(frozen=True, slots=True)
class PassageRecipe:
    """How the smaller tower learns.

    Attributes:
        layers: Those of the text tower that it begins as, from 0; its first and its last when None.
        least: Tokens of a passage at least; shorter ones never come to it.
        held_out: Passages that it is measured with instead.
        batch: Passages a step.
        steps: At most.
        minutes: At most; the learning rate falls with whichever of the two is nearer to its end.
        warmup: Steps over which the learning rate rises.
        rate: Highest learning rate.
        decay: Of the weights.
        half: Multiply in bfloat16 while training.
        seed: Of everything random.
    """

    layers: tuple[int, ...] | None = None
    least: int = 18
    held_out: int = 1000
    batch: int = 96
    steps: int = 1400
    minutes: float = math.inf
    warmup: int = 30
    rate: float = 6e-4
    decay: float = 0.01
    half: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it.

    Attributes:
        passages: How many it could learn from.
        steps: How many it made.
        cosine: Mean cosine between its embeddings of passages held out and those of the whole tower.
        lowest: The cosine that 95 of 100 of them exceed.
    """

    passages: int
    steps: int
    cosine: float
    lowest: float


class SmallTower(nn.Module):
    """A few layers of a text tower, and its head."""

    def __init__(self, sentences: SentenceTransformer, head: Head) -> None:
        super().__init__()
        self.sentences = sentences
        self.head = head
        sentences.words.weight.requires_grad_(False)

    def forward(self, tokens: Tensor, mask: Tensor, half: bool = False) -> Tensor:
        """(n, t) token ids and whether they stand -> (n, dim), rows L2-normalised."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=half):
            hidden = self.sentences.run(self.sentences.embed(tokens), mask)
        pooled = self.sentences.pool(hidden.float(), mask)
        embeddings: Tensor = self.head(nn.functional.normalize(pooled, dim=1))
        return embeddings


def save_passages(
    model: str,
    passages: Sequence[str],
    recipe: PassageRecipe,
    out: Path,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[str, Trained]:
    """Make a model anew with a smaller text tower for long passages, in place of the one that it may have.

    Args:
        model: ``mini``, or the folder of a model in its format.
        passages: To learn from, and to measure with.
        recipe: How.
        out: Gets the folder ``model``.
        progress: Called after each step with its number and its mean cosine.

    Returns:
        The id to use the model by, and what came of it.

    Raises:
        ModelMissingError: There is no such model.
        UsageError: There are too few passages, or the model has no such layers.
    """
    from mmsearch.encoders import load_encoder

    base = MODELS if model == "mini" else Path(model.removeprefix("mini/")).expanduser()
    missing = [name for name in MINI_FILES if not (base / name).is_file()]
    if missing:
        raise ModelMissingError(f"The model in {base} lacks {' and '.join(missing)}.", hint="Give its folder, or mini.")
    part, target = out / "model.part", out / "model"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name in (*MINI_FILES, SOUND_FILE):
        if (base / name).is_file():
            shutil.copyfile(base / name, part / name)
    export_text_graph(part)
    trained = train_passages(part, passages, recipe, progress=progress)
    settings = {"name": out.resolve().name, "passages": trained.passages, "steps": trained.steps}
    (part / "model.json").write_text(json.dumps(settings) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    return load_encoder(str(target.resolve())).id, trained


def small_tower(folder: Path, layers: Sequence[int] | None = None) -> SmallTower:
    """Some layers of a model's text tower, and its head, to begin with.

    Raises:
        UsageError: The tower has no such layers.
    """
    file = folder / "mini_text.safetensors"
    arrays, shape = read_safetensors(file)[0], read_shape(file)
    layers = sorted({0, shape.depth - 1}) if layers is None else layers
    if not layers or not all(0 <= layer < shape.depth for layer in layers):
        raise UsageError(f"The text tower in {folder} has the layers 0 to {shape.depth - 1}.")
    plain = {
        name: array * arrays[f"{name.removesuffix('weight')}scale"][:, None] if array.dtype == np.int8 else array
        for name, array in arrays.items()
        if name not in ("words", "words.scale") and not name.endswith(".scale")
    }
    state = {"words.weight": arrays["words"] * arrays["words.scale"][:, None], "places.weight": plain["places"]}
    state |= {f"norm.{kind}": plain[f"norm.{kind}"] for kind in ("weight", "bias")}
    for place, layer in enumerate(layers):
        prefix = f"layers.{layer}."
        state |= {f"layers.{place}.{n.removeprefix(prefix)}": a for n, a in plain.items() if n.startswith(prefix)}
    inner, width = plain["layers.0.up.weight"].shape
    sentences = SentenceTransformer(len(arrays["words"]), shape.limit, width, shape.heads, inner, len(layers))
    sentences.load_state_dict({name: torch.tensor(array).float() for name, array in state.items()})
    return SmallTower(sentences, head_of_arrays(plain))


def train_passages(
    folder: Path,
    passages: Sequence[str],
    recipe: PassageRecipe,
    *,
    progress: Callable[[int, float], None] | None = None,
) -> Trained:
    """Teach a smaller text tower, and put it into a model's folder.

    Args:
        folder: A model in the built-in format that has ``mini_texts.onnx``; gets ``mini_passages.onnx``.
        passages: To learn from, and to measure with.
        recipe: How.
        progress: Called after each step with its number and its mean cosine.

    Raises:
        UsageError: There are too few passages, or the model has no such layers.
    """
    torch.manual_seed(recipe.seed)
    texts = TextTower(folder)
    tokens = [ids for ids in texts.tokenise(passages) if len(ids) >= recipe.least]
    if len(tokens) < recipe.held_out + recipe.batch:
        raise UsageError(f"Of {len(passages):,} passages only {len(tokens):,} are long enough to learn from.")
    np.random.default_rng(recipe.seed).shuffle(tokens)
    wanted = _wanted(folder, texts, tokens)
    model = small_tower(folder, recipe.layers)
    learned = _learn(model, tokens, wanted, recipe, progress)
    near = np.concatenate(
        [
            _cosines(model, tokens[start : start + _MEASURED], wanted[start : start + _MEASURED]).numpy()
            for start in range(0, recipe.held_out, _MEASURED)
        ]
    )
    export_passage_tower(model, folder)
    return Trained(len(tokens) - recipe.held_out, learned, float(near.mean()), float(np.percentile(near, 5)))


def export_passage_tower(model: SmallTower, folder: Path) -> None:
    """Write a smaller text tower into the folder of the model that it belongs to, in integers."""
    limit = len(model.sentences.places.weight)
    with tempfile.TemporaryDirectory() as there:
        part = Path(there)
        shutil.copyfile(folder / "mini_vocabulary.txt", part / "mini_vocabulary.txt")
        export_text_tower(model.sentences, model.head, limit, part / "mini_text.safetensors", side=0, scale=1.0)
        target = folder / PASSAGE_GRAPH
        # The vectors of the words are those of the model, and are not written again.
        write_text_graph(part, target, folder, shared=("words", "words.scale"), calibration=CALIBRATION)


def _wanted(folder: Path, texts: TextTower, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """What the whole tower gives for texts in word pieces."""
    with tempfile.TemporaryDirectory() as there:
        part = Path(there)
        for name in ("mini_text.safetensors", TEXT_GRAPH):  # without the smaller tower that may be there
            shutil.copyfile(folder / name, part / name)
        return PassageTower(part, texts, hint=HINT).encode_tokens(tokens)


def _learn(
    model: SmallTower,
    tokens: Sequence[Sequence[int]],
    wanted: NDArray[np.float32],
    recipe: PassageRecipe,
    progress: Callable[[int, float], None] | None,
) -> int:
    """Train; returns the number of steps."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=recipe.rate, weight_decay=recipe.decay, betas=(0.9, 0.98))
    begun, step = time.monotonic(), 0
    for chosen in _batches(tokens, recipe):
        done = max(step / recipe.steps, (time.monotonic() - begun) / 60 / recipe.minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1, (step + 1) / recipe.warmup) * (0.505 + 0.5 * math.cos(math.pi * done))
        cosine = _cosines(model, [tokens[at] for at in chosen], wanted[chosen], recipe.half).mean()
        optimizer.zero_grad()
        (1 - cosine).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        step += 1
        if progress is not None:
            progress(step, float(cosine.detach()))
    model.eval().requires_grad_(False)
    return step


def _cosines(
    model: SmallTower, tokens: Sequence[Sequence[int]], wanted: NDArray[np.float32], half: bool = False
) -> Tensor:
    ids, mask = padded(tokens)
    cosines: Tensor = (model(ids, mask, half) * torch.from_numpy(wanted)).sum(1)
    return cosines


def _batches(tokens: Sequence[Sequence[int]], recipe: PassageRecipe) -> Iterator[list[int]]:
    """Places of passages of like length, without end; the first ones are held out."""
    draw = np.random.default_rng(recipe.seed)
    lengths = np.array([len(ids) for ids in tokens])
    while True:
        order = recipe.held_out + draw.permutation(len(tokens) - recipe.held_out)
        for start in range(0, len(order), recipe.batch * _SORTED_AT_ONCE):
            part = order[start : start + recipe.batch * _SORTED_AT_ONCE]
            part = part[np.argsort(lengths[part] + draw.uniform(0, 3, len(part)))]
            whole = [
                part[at : at + recipe.batch].tolist() for at in range(0, len(part) - recipe.batch + 1, recipe.batch)
            ]
            for at in draw.permutation(len(whole)):
                yield whole[at]
