"""Captioned photos and an encoder that yields patches go in, a reranker for its shortlists comes out.

The flow: `reranker_inputs` keeps what the encoder sees and what the words are, `reranker_batches` puts hard things
together, `fusion_network` learns by `reranker_objective` in `trainer`, `reranker_figures` measures it on a dev set and
fits how its logits are read, and this module joins them and writes the file that `mmsearch.rerank.fusion` reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.errors import EncoderError, UsageError
from mmsearch.files import whole, written
from mmsearch.rerank.adapter import side_of
from mmsearch.rerank.fusion import FusionReranker, FusionSettings
from mmsearch.rerank.query_bank import QueryBank
from mmsearch.rerank.words import WordReader
from mmsearch.training.augmentation import PhotoChanges, mirror_safe
from mmsearch.training.captions import CaptionedImages
from mmsearch.training.checkpoints import Checkpoints
from mmsearch.training.classes import class_names, fill_prompt
from mmsearch.training.fusion_network import FusionNetwork, FusionShape, Sentences
from mmsearch.training.metrics import Metrics, plot
from mmsearch.training.place import Data, Place
from mmsearch.training.reranker_batches import RerankBatch, RerankBatches, neighbours
from mmsearch.training.reranker_figures import SIZES, RerankDev, fit_reading
from mmsearch.training.reranker_inputs import SeenPhotos, SentenceStates, read_sentences, see_photos, typed, wrong
from mmsearch.training.reranker_objective import RerankObjective
from mmsearch.training.trainer import Outcome, Schedule, Trainer

if TYPE_CHECKING:
    from mmsearch.protocols import Encoder

__all__ = ["RerankRecipe", "RerankReport", "train_reranker"]

_READ_AT_ONCE = 1024
_BANK = 4096
_CHECKED = 64
_LEAST_DEVIATION = 0.1


@dataclass(frozen=True, slots=True)
class RerankRecipe:
    """Everything that the training of a reranker depends on besides its data.

    Attributes:
        epochs: How many.
        batch: Photos a batch.
        rate: Highest learning rate.
        decay, warmup, average, precision, seed: See `mmsearch.training.trainer.Schedule`.
        views: Views of each photo to draw from, the photo itself among them.
        caption_views: Views of each caption to draw from, the caption itself among them.
        caption_share: Share of the captions that are drawn in another view than the first.
        hard: Share of a batch that are neighbours of the others by the dual encoder.
        near: Neighbours of each photo to draw from.
        matching, weight_distorted: See `RerankObjective`.
        distorted: Distorted captions a batch.
        side: Rows and columns of tokens at most.
        dim, heads, layers, matched, pools, hidden, gate: See `FusionShape`.
        depths: For each reader, layers of the built-in text tower that words go through; 0 for all. Those that the
            tower's training left as they were tell a word from others, the last ones what it means in its sentence.
        dropout, blind: See `FusionNetwork`.
        shortlist: How many are reranked where figures are taken.
    """

    epochs: int = 20
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.05
    warmup: float = 0.06
    average: float = 0.998
    precision: str = "fp32"
    seed: int = 0
    views: int = 6
    caption_views: int = 2
    caption_share: float = 0.2
    hard: float = 0.5
    near: int = 39
    matching: float = 0.1
    weight_distorted: float = 0.5
    distorted: int = 32
    side: int = 7
    dim: int = 192
    heads: int = 2
    layers: int = 1
    matched: int = 128
    pools: int = 2
    hidden: int = 768
    gate: bool = True
    depths: tuple[int, ...] = (0, 2)
    dropout: float = 0.1
    blind: float = 0.3
    shortlist: int = 100

    def schedule(self) -> Schedule:
        """The part of it that the trainer needs."""
        return Schedule(
            self.epochs,
            {"": self.rate},
            self.decay,
            self.warmup,
            average=self.average,
            precision=self.precision,
            seed=self.seed,
        )

    def shape(self, width: int, count: int) -> FusionShape:
        """The network for patches of so many numbers, and so many tokens."""
        return FusionShape(
            width,
            count=count,
            dim=self.dim,
            heads=self.heads,
            layers=self.layers,
            matched=self.matched,
            pools=self.pools,
            readers=len(self.depths),
            hidden=self.hidden,
            gate=self.gate,
        )


@dataclass(frozen=True, slots=True)
class RerankReport:
    """What came out of a training.

    Attributes:
        reranker: Its id.
        file: Where it lies.
        photos, captions: What was learned from.
        outcome: How the run ended.
        before: Figures on the dev set without reranking.
        after: With it, by the size of the shortlist. Each half of the dev set is read in the way that was fitted on the
            other, so that nothing was fitted on what it is measured with.
        without_hubs: The same for the recipe's shortlist, with nothing known of hubs.
        alone: By the fusion model without the dual encoder's score or hubs, shortlist as the recipe has it.
        token_bytes: Bytes a picture in the token store.
        parity: Largest difference between trained and written logits over their standard deviation.
        recipe: How it learned.
    """

    reranker: str
    file: Path
    photos: int
    captions: int
    outcome: Outcome
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[int, Mapping[str, Mapping[str, float]]]
    without_hubs: Mapping[str, Mapping[str, float]]
    alone: Mapping[str, Mapping[str, float]]
    token_bytes: int
    parity: float
    recipe: RerankRecipe

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {
            "reranker": self.reranker,
            "photos": self.photos,
            "captions": self.captions,
            "epochs": self.outcome.epochs,
            "before": self.before,
            "after": {str(size): figures for size, figures in self.after.items()},
            "without_hubs": self.without_hubs,
            "alone": self.alone,
            "token_bytes": self.token_bytes,
            "parity": self.parity,
            "recipe": asdict(self.recipe),
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Inputs:
    """What is kept of a set: photos, captions in all views, and their embeddings."""

    photos: SeenPhotos
    sentences: list[SentenceStates]
    embeddings: NDArray[np.float32]


def train_reranker(
    encoder: Encoder, data: Data, recipe: RerankRecipe, place: Place, *, sentences: Sequence[str] = ()
) -> RerankReport:
    """Train a reranker for the shortlists of an encoder.

    Args:
        encoder: Stays as it is.
        data: What to learn from and what to measure with.
        recipe: How.
        place: Where.
        sentences: More that people may ask, for the bank of queries beside captions and names of things.

    Raises:
        UsageError: The encoder yields no patches, or no picture has a caption.
        MmsearchError: As the parts say.
    """
    if encoder.patches is None:
        raise UsageError(
            f"The image tower of {encoder.id} yields nothing but embeddings, so a reranker has nothing to read.",
            hint="Models that do: mini, and open_clip models with a ViT, ResNet or ConvNeXt.",
        )
    # A picture of the dev set that nobody described would be a query without an answer.
    data = Data(data.train, data.dev.select(np.unique(data.dev.owners)))
    if not data.train.captions or not data.dev.captions:
        raise UsageError("There are no captions to train on, or none to measure with.", hint="Give captions, or --dev.")
    place.prepare()
    wanted = side_of(encoder.patches, recipe.side)
    grid = (encoder.patches.rows, encoder.patches.columns)
    reader = WordReader(recipe.depths)
    train = _inputs(encoder, data.train, recipe, recipe.views, recipe.caption_views, wanted, reader, place, asked=False)
    dev = _inputs(encoder, data.dev, recipe, 1, 1, wanted, reader, place, asked=True)
    distorted, wrong_of = wrong(data.train.captions, recipe.seed)
    wrongs = read_sentences(reader, distorted, _reader_name(recipe), place.work, place.progress)
    torch.manual_seed(recipe.seed)
    shape = recipe.shape(encoder.patches.width, wanted[0] * wanted[1])
    model = FusionNetwork(shape, *_spread(train.photos, recipe.seed), recipe.dropout, recipe.blind)
    batches = RerankBatches(
        data.train,
        train.photos,
        train.sentences,
        wrongs,
        wrong_of,
        neighbours(train.photos.embeddings, _means(train.embeddings, data.train), recipe.near),
        batch=recipe.batch,
        hard=recipe.hard,
        share=recipe.caption_share if recipe.caption_views > 1 else 0.0,
        distorted=recipe.distorted,
        seed=recipe.seed,
    )
    bank = query_bank(encoder, data.train.captions, sentences, recipe.seed)
    measured = RerankDev(
        encoder.id,
        dev.photos,
        dev.embeddings,
        dev.sentences[0],
        data.dev.owners,
        bank=bank,
        device=place.device,
        precision=recipe.precision,
    )
    known = json.dumps([encoder.id, asdict(recipe), data.names()], default=str)
    trainer: Trainer[FusionNetwork, RerankBatch] = Trainer(
        model,
        batches,
        RerankObjective(recipe.matching, recipe.weight_distorted),
        recipe.schedule(),
        Checkpoints(place.work / "reranker.pt", hashlib.sha256(known.encode()).hexdigest()),
        Metrics(place.metrics),
        stage="reranker",
        evaluate=lambda learned: measured.quick(learned, recipe.shortlist),
        device=place.device,
        progress=place.progress,
    )
    outcome = trainer.run()
    return _finish(encoder, model.eval(), measured, dev, data, outcome, recipe, (grid, wanted), bank, place)


def query_bank(encoder: Encoder, captions: Sequence[str], sentences: Sequence[str], seed: int) -> NDArray[np.int8]:
    """Sentences that may be asked, as `mmsearch.rerank.query_bank.QueryBank` takes them: (n, dim), at most 4,096.

    The names of ImageNet's thousand classes, and of captions and other sentences as many of each as there is room for.
    """
    rng = np.random.default_rng((seed, 41))
    named = [fill_prompt("a photo of a {}", name) for name in class_names()]
    room = _BANK - len(named)
    others = list(dict.fromkeys(sentences))
    few = [others[at] for at in np.sort(rng.permutation(len(others))[: room * 2 // 3])]
    known = list(dict.fromkeys(captions))
    chosen = [known[at] for at in np.sort(rng.permutation(len(known))[: room - len(few)])]
    asked = [*named, *few, *chosen]
    parts = [
        encoder.encode_passages(asked[start : start + _READ_AT_ONCE]) for start in range(0, len(asked), _READ_AT_ONCE)
    ]
    return QueryBank.pack(np.concatenate(parts))


def _inputs(
    encoder: Encoder,
    data: CaptionedImages,
    recipe: RerankRecipe,
    views: int,
    caption_views: int,
    wanted: tuple[int, int],
    reader: WordReader,
    place: Place,
    *,
    asked: bool,
) -> _Inputs:
    # One mirror for all: where more than a tenth of the captions tell left from right, none is mirrored.
    mirrored = 0.5 if views == 1 or np.mean([mirror_safe(caption) for caption in data.captions]) > 0.9 else 0.0
    photos = see_photos(
        encoder,
        data.images,
        views,
        wanted,
        place.work,
        seed=recipe.seed,
        changes=PhotoChanges(mirror=mirrored),
        progress=place.progress,
    )
    sentences = [
        read_sentences(
            reader, typed(data.captions, view, recipe.seed), _reader_name(recipe), place.work, place.progress
        )
        for view in range(caption_views)
    ]
    embeddings = _embedded(encoder, data.captions, place.work, queries=asked)
    return _Inputs(photos, sentences, embeddings)


def _embedded(encoder: Encoder, captions: Sequence[str], folder: Path, *, queries: bool) -> NDArray[np.float32]:
    """(m, dim) embeddings of captions, as queries or as passages; those that are in the folder are not made again."""
    key = hashlib.sha256("\n".join([encoder.id, str(queries), *captions]).encode()).hexdigest()[:16]
    file = folder / f"captions-{key}.npy"
    if not file.exists():
        embed = encoder.encode_texts if queries else encoder.encode_passages
        parts = [embed(captions[start : start + _READ_AT_ONCE]) for start in range(0, len(captions), _READ_AT_ONCE)]
        with written(file) as stream:
            np.save(stream, np.concatenate(parts))
    return np.asarray(np.load(file), np.float32)


def _reader_name(recipe: RerankRecipe) -> str:
    return f"mini-{'-'.join(map(str, recipe.depths))}"


def _means(embeddings: NDArray[np.float32], data: CaptionedImages) -> NDArray[np.float32]:
    """(n, dim) mean embedding of each photo's captions; zeros for a photo without."""
    sums = np.zeros((len(data.images), embeddings.shape[1]), np.float32)
    np.add.at(sums, data.owners, embeddings)
    counts = np.maximum(np.bincount(data.owners, minlength=len(sums)), 1).astype(np.float32)
    return np.asarray(sums / counts[:, None], np.float32)


def _spread(photos: SeenPhotos, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the patches, of some photos."""
    rows = photos.patches[0]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:512])
    some = rows[chosen].astype(np.float32).reshape(-1, rows.shape[-1])
    return torch.from_numpy(some.mean(axis=0)), torch.from_numpy(some.std(axis=0) + 1e-3)


def _finish(
    encoder: Encoder,
    model: FusionNetwork,
    measured: RerankDev,
    dev: _Inputs,
    data: Data,
    outcome: Outcome,
    recipe: RerankRecipe,
    grids: tuple[tuple[int, int], tuple[int, int]],
    bank: NDArray[np.int8],
    place: Place,
) -> RerankReport:
    """Measure all of the dev set, fit how logits are read, write the file and see that it computes the same."""
    logits = measured.logits(model)
    back = np.ascontiguousarray(logits.T)
    sizes = sorted({size for size in (*SIZES, recipe.shortlist) if size <= logits.shape[1]} or {logits.shape[1]})
    settings = FusionSettings(
        encoder.id,
        recipe.heads,
        recipe.layers,
        recipe.depths,
        *grids,
        fit_reading(measured.text_to_image, logits, recipe.shortlist),
        fit_reading(measured.image_to_text, back, recipe.shortlist),
    )
    file = place.out / "reranker.safetensors"
    save_reranker(model, settings, bank, file)
    reranker = FusionReranker(file)
    report = RerankReport(
        reranker.id,
        file,
        len(data.train.images),
        len(data.train.captions),
        outcome,
        measured.before(),
        {
            size: {
                "text_to_image": measured.text_to_image.crossed(logits, size),
                "image_to_text": measured.image_to_text.crossed(back, size),
            }
            for size in sizes
        },
        {
            "text_to_image": measured.text_to_image.without_hubs().crossed(logits, recipe.shortlist),
            "image_to_text": measured.image_to_text.without_hubs().crossed(back, recipe.shortlist),
        },
        {
            "text_to_image": measured.text_to_image.crossed(logits, recipe.shortlist, alone=True),
            "image_to_text": measured.image_to_text.crossed(back, recipe.shortlist, alone=True),
        },
        model.shape.count * model.shape.dim,
        _parity(model, reranker, dev, data),
        recipe,
    )
    place.report.write_text(json.dumps(report.to_dict(), indent=1, default=str) + "\n", encoding="utf-8")
    plot(Metrics(place.metrics).lines(), place.plot)
    return report


def save_reranker(model: FusionNetwork, settings: FusionSettings, bank: NDArray[np.int8], file: Path) -> None:
    """Write a reranker: half precision, and what is needed to read it.

    Raises:
        StorageError: It cannot be written.
    """
    from safetensors.numpy import save

    state = {name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()}
    # The patches are divided by their spread, which may be small: both stay in full.
    exact = ("adapter.mean", "adapter.spread")
    arrays = {
        name: np.ascontiguousarray(value if name in exact else value.astype(np.float16))
        for name, value in state.items()
        if name != "log_scale"
    }
    arrays["bank"] = bank
    with whole(file, hint="Make room, or choose another --out.") as part:
        part.write_bytes(save(arrays, metadata=settings.to_metadata()))


def _parity(model: FusionNetwork, reranker: FusionReranker, dev: _Inputs, data: Data) -> float:
    """How far what was written is from what was trained, over some pairs.

    Raises:
        EncoderError: So far that something is wrong.
    """
    model = model.to("cpu").eval()
    photos = np.arange(min(_CHECKED, len(data.dev.images)))
    captions = np.arange(min(_CHECKED, len(data.dev.captions)))
    patches = dev.photos.rows(photos, np.zeros(len(photos), np.int64))
    states, owners = dev.sentences[0].rows(captions)
    with torch.inference_mode():
        tokens = model.tokens(torch.from_numpy(patches))
        trained = model.logits(
            tokens, Sentences(torch.from_numpy(states), torch.from_numpy(owners), len(captions))
        ).numpy()
    written = reranker.logits(reranker.compress_places(patches), [data.dev.captions[at] for at in captions])
    # A few pairs of a small dev set may differ too little to be a measure.
    difference = float(np.abs(trained - written).max() / max(trained.std(), _LEAST_DEVIATION))
    if not difference < 0.2:
        raise EncoderError(f"The written reranker differs from the trained one by {difference:.3f} deviations.")
    return difference
