"""A hit -> the picture that stands for it: the photo, the frame at its time, or its sound drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import MediaError
from mmsearch.types import MediaInfo, Modality

if TYPE_CHECKING:
    from PIL import Image

    from mmsearch.types import Hit

__all__ = ["picture_of"]

# How much of a sound is drawn: where no window of it is known, and at most.
_STRETCH_MS, _LONGEST_MS = 10_000, 30_000


def picture_of(hit: Hit, target_side: int) -> tuple[Image.Image, MediaInfo] | None:
    """Decode the picture of a hit, with what its file says about itself.

    Args:
        hit: Any hit.
        target_side: Length in pixels of the shorter side, roughly.

    Returns:
        An RGB picture; None for a text, and where the file cannot be read.
    """
    if hit.path is None:
        return None
    try:
        match hit.modality:
            case Modality.IMAGE:
                from mmsearch.media.image import read_image

                decoded = read_image(hit.path, target_side=target_side)
                return decoded.image, decoded.info
            case Modality.VIDEO:
                return _of_video(hit, hit.path, target_side)
            case Modality.AUDIO:
                return _of_sound(hit, hit.path)
            case _:
                return None
    except (MediaError, OSError):
        return None


def _of_video(hit: Hit, path: Path, target_side: int) -> tuple[Image.Image, MediaInfo]:
    from mmsearch.media.video import read_frame, read_video_info

    try:
        info = read_video_info(path)
    except MediaError:
        if hit.matched != Modality.AUDIO:
            raise
        return _of_sound(hit, path)  # a video without pictures
    # Many videos begin in black: one without a time is shown a little later.
    time_ms = (info.duration_ms or 0) // 10 if hit.start_ms is None else hit.start_ms
    return read_frame(path, time_ms, target_side=target_side), info


def _of_sound(hit: Hit, path: Path) -> tuple[Image.Image, MediaInfo]:
    from mmsearch.media.audio import read_sound_info
    from mmsearch.media.stretch import read_stretch
    from mmsearch.present.spectrogram import RATE, spectrogram

    start = hit.start_ms or 0
    end = start + _STRETCH_MS if hit.start_ms is None or hit.end_ms is None or hit.end_ms <= start else hit.end_ms
    samples = read_stretch(path, start, min(end, start + _LONGEST_MS), rate=RATE)
    return spectrogram(samples), MediaInfo(duration_ms=read_sound_info(path).duration_ms)
