"""A place in a sound, or in the sound of a video -> its samples, reached by seeking."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.media.container import only, open_container
from mmsearch.media.samples import SampleReader, sound_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_stretch"]


def read_stretch(source: Path, start_ms: int, end_ms: int, *, rate: int = 16_000) -> NDArray[np.float32]:
    """Decode one stretch of a sound.

    Args:
        source: A sound or a video.
        start_ms: Where it begins, on the clock that a player shows.
        end_ms: Where it ends, exclusive; what lies behind the end of the sound is left out.
        rate: Sample rate that comes out, in Hz.

    Returns:
        (n,) float32 mono, full scale at -1 and 1.

    Raises:
        MediaError: No sound in the file, nothing of it can be decoded there, or not readable.
        ValueError: An empty stretch, or a rate that is not positive.
    """
    if min(rate, end_ms - start_ms) <= 0:
        raise ValueError("the rate and the stretch must be positive")
    with open_container(source) as container:
        stream = sound_of(container)
        only(container, stream)
        pieces: list[NDArray[np.float32]] = []
        missing = max(1, (end_ms - start_ms) * rate // 1000)
        for samples, _ in SampleReader(container, stream, rate).samples_from(max(0, start_ms) / 1000):
            pieces.append(samples[:missing])
            missing -= len(pieces[-1])
            if not missing:
                break
        if not pieces:
            raise MediaError(source, "no sound can be decoded")
        return np.concatenate(pieces)
