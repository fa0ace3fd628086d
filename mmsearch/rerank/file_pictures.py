"""Candidates of a shortlist in, the pictures that their files show out: through the door of the media, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmsearch.config import processors
from mmsearch.errors import MediaError
from mmsearch.types import Modality

if TYPE_CHECKING:
    from PIL import Image

    from mmsearch.types import SegmentRecord

__all__ = ["PICTURES", "batches_of", "picture_of_segment", "picture_of_term"]

PICTURES = frozenset({Modality.IMAGE, Modality.VIDEO})
"""Segments that a picture can be read of: photos, and frames of videos."""

_T = TypeVar("_T")
_S = TypeVar("_S")


def picture_of_segment(record: SegmentRecord, side: int) -> Image.Image | None:
    """The photo, or the frame at its time, with a shorter side of at least `side` where it has that.

    Returns:
        None where the file is gone or cannot be read, and where there never was one.
    """
    path, segment = record.item.path, record.segment
    if path is None:
        return None
    try:
        if segment.modality is Modality.VIDEO:
            from mmsearch.media.video import read_frame

            return read_frame(path, segment.start_ms or 0, target_side=side)
        from mmsearch.media.image import read_image

        return read_image(path, target_side=side).image
    except MediaError:
        return None


def picture_of_term(content: Path | bytes | Image.Image, side: int) -> Image.Image:
    """The picture that a query asks with.

    Raises:
        MediaError: It cannot be read.
    """
    if not isinstance(content, Path | bytes):
        return content.convert("RGB")
    from mmsearch.media.image import read_image

    return read_image(content, target_side=side).image


def batches_of(read: Callable[[_T], _S], things: Sequence[_T], size: int) -> Iterator[list[_S]]:
    """Call `read` with each of the things in threads, a batch ahead; yields what it returned, in order, by batches."""
    workers = min(processors(), size)
    with ThreadPoolExecutor(workers, "mmsearch-read") as pool:
        ahead = [pool.submit(read, thing) for thing in things[:size]]
        for start in range(0, len(things), size):
            following = islice(things, start + size, start + 2 * size)
            current, ahead = ahead, [pool.submit(read, thing) for thing in following]
            yield [task.result() for task in current]
