"""Captioned pictures as the training commands are given them -> what is learned from, and what is measured with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.output import note, notes
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.training.place import Data

__all__ = ["BatchSize", "Dev", "DevImages", "Images", "Rate", "Views", "read_data", "read_lines"]

Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", show_default=False, help="The pictures, if not beside the captions."),
]
Dev = Annotated[
    Path | None,
    typer.Option(
        "--dev", metavar="DATA", show_default=False, help="What to measure with. Otherwise a tenth is kept apart."
    ),
]
DevImages = Annotated[
    Path | None, typer.Option("--dev-images", metavar="DIR", show_default=False, help="The pictures of --dev.")
]
Rate = Annotated[float | None, typer.Option("--rate", metavar="X", show_default=False, help="Highest learning rate.")]
BatchSize = Annotated[int | None, typer.Option("--batch", metavar="N", show_default=False, help="Pictures a batch.")]
Views = Annotated[
    int | None,
    typer.Option("--views", metavar="N", show_default=False, help="Views of a picture: crops, mirrored; 1: as is."),
]


def read_data(sources: list[Path], images: Path | None, dev: Path | None, dev_images: Path | None, seed: int) -> Data:
    """The pictures and captions, without those that cannot be read."""
    from mmsearch.present.report import failure_lines
    from mmsearch.training.datasets import check_images, join, read_dataset, split
    from mmsearch.training.place import Data

    found = join(read_dataset(source, images) for source in sources)
    if dev is None:
        found, measured = split(found, min(0.1, 1000 / max(1, len(found.images))), seed)
    else:
        measured = read_dataset(dev, dev_images)
    kept = []
    for part in (found, measured):
        good, failures = check_images(part)
        if failures:
            notes([f"Left out, since it cannot be read: {line}" for line in failure_lines(failures)])
        kept.append(good)
    if len(kept[0].images) < 2 or not kept[1].images:
        raise UsageError("There are too few readable pictures to train on.", hint="Give more, or a set with --dev.")
    note(
        f"Learning from {len(kept[0].images):,} pictures with {len(kept[0].captions):,} captions, "
        f"measuring with {len(kept[1].images):,} others."
    )
    return Data(kept[0], kept[1])


def read_lines(file: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} cannot be read as text: {error}.", hint="Give a text file with one a line."
        ) from error
