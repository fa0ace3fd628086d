"""``mmsearch train reranker``: captioned pictures and a model -> what reads the best hits of that model again."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import Device, Fresh, Json, Offline, Seed, TrainingPrecision
from mmsearch.cli.output import note, notes, write_lines
from mmsearch.cli.train_sound import require_training
from mmsearch.cli.training_data import BatchSize, Dev, DevImages, Images, Rate, Views, read_data, read_lines
from mmsearch.config import DEFAULT_MODEL
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.training.reranker import RerankReport

__all__ = ["EXAMPLES", "train_reranker"]

_SEE = "See: mmsearch train reranker --help"

EXAMPLES = """\b
Examples:
  mmsearch train reranker captions.csv --images ./photos --out ./my-reranker
  mmsearch train reranker ./flickr8k/train --dev ./flickr8k/dev --out ./for-clip \\
      --model open_clip/ViT-B-32/laion2b_s34b_b79k
  mmsearch train reranker ./flickr8k/train --dev ./flickr8k/dev --out ./plain \\
      --layers 0 --epochs 8

\b
DATA is what mmsearch train dual-encoder takes. OUT gets reranker.safetensors
(for --reranker of index and query), metrics.jsonl, training.png and
report.json. Cut off? Run the same command again: it goes on where it was.
"""


def train_reranker(
    data: Annotated[list[Path], typer.Argument(metavar="DATA", show_default=False, hidden=True)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", show_default=False, help="Where the reranker goes.")],
    images: Images = None,
    dev: Dev = None,
    dev_images: DevImages = None,
    model: Annotated[
        str, typer.Option("--model", metavar="ID", help="Whose hits it reads: mini, open_clip/... or a folder.")
    ] = DEFAULT_MODEL,
    sentences: Annotated[
        list[Path] | None,
        typer.Option(
            "--sentences",
            metavar="FILE",
            show_default=False,
            help="What else people may ask, one a line: helps to know what is close to everything.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", show_default=False, help="How often it sees each picture.")
    ] = None,
    batch: BatchSize = None,
    rate: Rate = None,
    views: Views = None,
    caption_views: Annotated[
        int | None,
        typer.Option(
            "--caption-views", metavar="N", show_default=False, help="Views of a caption: as people type it; 1: as is."
        ),
    ] = None,
    hard: Annotated[
        float | None,
        typer.Option("--hard", metavar="X", show_default=False, help="Share of a batch from the others' shortlists."),
    ] = None,
    distorted: Annotated[
        int | None,
        typer.Option("--distorted", metavar="N", show_default=False, help="Captions a batch made wrong; 0: none."),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option("--side", metavar="N", show_default=False, help="Tokens of a picture: N x N at most."),
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", metavar="N", show_default=False, help="Numbers of a token, a byte each.")
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", metavar="N", show_default=False, help="Of cross-attention; 0 leaves it out."),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate/--no-gate", help="Mix what words found with the view of the whole.")
    ] = True,
    depths: Annotated[
        str | None,
        typer.Option(
            "--depths", metavar="N,...", show_default=False, help="Layers that words go through, by reader; 0: all."
        ),
    ] = None,
    seed: Seed = 0,
    precision: TrainingPrecision = None,
    device: Device = None,
    fresh: Fresh = False,
    offline: Offline = False,
    as_json: Json = False,
) -> int:
    """Train a reranker: it reads words and picture together.

    The model itself stays as it is. Of every picture some tokens are kept when it is indexed, and a query's best hits
    are put in a better order by them.
    """
    chosen = {
        "gate": gate,
        "seed": seed,
        "epochs": epochs,
        "batch": batch,
        "rate": rate,
        "views": views,
        "caption_views": caption_views,
        "hard": hard,
        "distorted": distorted,
        "side": side,
        "dim": dim,
        "layers": layers,
        "depths": None if depths is None else _numbers(depths),
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    _check(given)
    require_training()

    from mmsearch.encoders import load_encoder
    from mmsearch.encoders.precision import check_device, check_precision, choose_device, choose_precision
    from mmsearch.present.progress import progress_display
    from mmsearch.present.terminal import describe
    from mmsearch.training.memory import keep_freed_memory
    from mmsearch.training.place import Place
    from mmsearch.training.reranker import RerankRecipe
    from mmsearch.training.reranker import train_reranker as train

    where = choose_device(check_device(None if device == "auto" else device))
    number = check_precision(None if precision == "auto" else precision) or choose_precision(None, where)
    # Models in the built-in format run on the processor, whatever the reranker learns on.
    runs = device if model.startswith("open_clip/") else None
    encoder = load_encoder(model, device=runs, offline=offline, notify=note)
    recipe = RerankRecipe(precision=number, **given)  # type: ignore[arg-type]
    read = read_data(data, images, dev, dev_images, seed)
    asked = [line.strip() for file in sentences or () for line in read_lines(file) if line.strip()]
    keep_freed_memory()
    with progress_display(sys.stderr, describe(sys.stderr)) as progress:
        place = Place(out, str(where), fresh, progress, note)
        try:
            report = train(encoder, read, recipe, place, sentences=asked)
        except KeyboardInterrupt:
            note("The last checkpoint is kept. To go on, run the same command again.")
            raise
    if as_json:
        from mmsearch.present.jsonl import json_line

        write_lines([json_line(report.to_dict())])
    else:
        write_lines(_lines(report))
    notes([f"Figures of each step: {place.metrics}", f"Their plot: {place.plot}"])
    notes([f"To use it: mmsearch index ./photos --model {model} --reranker {report.file}"])
    return 0


def _numbers(listed: str) -> tuple[int, ...]:
    from mmsearch.encoders.mini import MODELS
    from mmsearch.encoders.mini_text import read_shape

    most = read_shape(MODELS / "mini_text.safetensors").depth
    try:
        numbers = tuple(int(part) for part in listed.split(","))
    except ValueError:
        numbers = (-1,)
    if not all(0 <= number <= most for number in numbers):
        raise UsageError(f"--depths takes numbers from 0 to {most} such as 0,2, not {listed!r}.", hint=_SEE)
    return numbers


_LEAST = {
    "epochs": 1,
    "batch": 2,
    "views": 1,
    "caption_views": 1,
    "distorted": 0,
    "side": 1,
    "dim": 2,
    "layers": 0,
    "seed": 0,
}


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything heavy is loaded."""
    for name, lowest in _LEAST.items():
        if given.get(name, lowest) < lowest:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option} must be at least {lowest}, not {given[name]}.", hint=_SEE)
    dim, rate, hard = given.get("dim", 2), given.get("rate", 1.0), given.get("hard", 0.0)
    if dim % 2:
        raise UsageError(f"--dim must be even, not {dim}: a word looks through two heads.", hint=_SEE)
    if not 0 < rate < math.inf:
        raise UsageError(f"--rate must be above 0, not {rate:g}.", hint=_SEE)
    if not 0 <= hard < 1:
        raise UsageError(f"--hard is a share, from 0 to below 1, not {hard:g}.", hint=_SEE)


def _lines(report: RerankReport) -> Iterator[str]:
    from mmsearch.present.report import columns

    yield f"{report.reranker}: learned from {report.photos:,} pictures, {report.captions:,} captions"
    yield f"{report.token_bytes:,} bytes of tokens a picture"
    rows: list[tuple[str, ...]] = [("on the dev set", "recall@1", "recall@5", "recall@10", "MRR")]
    for side in ("text_to_image", "image_to_text"):
        name = side.replace("_", " ")
        for when, figures in (
            ("not reranked", report.before),
            *((f"best {size} reranked", found) for size, found in report.after.items()),
            ("nothing known of hubs", report.without_hubs),
            ("by words and tokens alone", report.alone),
        ):
            own = figures[side]
            shares = [f"{100 * own[f'recall@{k}']:.1f} %" for k in (1, 5, 10)]
            rows.append((f"{name}, {when}", *shares, f"{own['mrr']:.3f}"))
    yield from columns(rows)
