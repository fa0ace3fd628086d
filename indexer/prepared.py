"""A segment that is decoded and laid out for the towers, on its way to be embedded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmsearch.types import MediaInfo, Modality, NewSegment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PreparedSegment", "Reading"]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedSegment:
    """A segment before it is embedded.

    Attributes:
        modality: What it is: an image, a text, a window of sound, or a frame of a video.
        inputs: For each encoder that takes it, by id, what its `prepare_image` or `prepare_sound` made of it; nothing
            for a text, which every encoder of texts takes as it is.
        text: The text.
        start_ms, end_ms, start_char, end_char, page, shot: Its place in the file.
    """

    modality: Modality
    inputs: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    start_char: int | None = None
    end_char: int | None = None
    page: int | None = None
    shot: int | None = None

    def embedded(self, embeddings: Mapping[str, NDArray[np.float32]]) -> NewSegment:
        """The segment as it is stored, with its embedding by each encoder that took it."""
        return NewSegment(
            modality=self.modality,
            embeddings=embeddings,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            start_char=self.start_char,
            end_char=self.end_char,
            text=self.text,
            page=self.page,
            shot=self.shot,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """A file that is being read.

    Attributes:
        info: What people filter by.
        segments: Its segments in order; those of a photo are there, those of other files are decoded as they are
            taken, and may end with a `MediaError` where the file is damaged further on.
        remarks: What is wrong with the files beside it, such as a table of captions that cannot be read.
    """

    info: MediaInfo
    segments: Iterable[PreparedSegment]
    remarks: tuple[str, ...] = ()
