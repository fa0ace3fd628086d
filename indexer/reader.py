"""A file -> its segments, decoded and laid out for the towers: the one door for files that are indexed and queried.

A photo is one segment, and each of its captions another. Texts are split into passages, sounds into windows; a video
gives frames, windows of its sound and passages of its subtitles. Whatever may be long is decoded as it is taken.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.prepared import PreparedSegment, Reading
from mmsearch.errors import MediaError
from mmsearch.types import MediaInfo, Modality

if TYPE_CHECKING:
    from PIL import Image

    from mmsearch.media.passages import Passage
    from mmsearch.protocols import Encoder
    from mmsearch.types import SoundFormat

__all__ = ["SegmentReader", "salt_of"]

MAX_FRAMES = 256
"""Frames of one video at most."""
MAX_WINDOWS = 2048
"""Windows of one sound at most."""

_SUBTITLE_PIECES = 32  # a sentence or two, so that what is said is found to a few seconds


class SegmentReader:
    """Reads files for the towers of some encoders; safe to call from many threads.

    Args:
        encoders: Each gets what it can encode.
        captions: Read what is written about photos, beside them and in them, the tags of sounds, and the subtitles of
            videos.
        max_frames, max_windows: Of one file, spread over it; fewer are enough to ask by than to index.
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        *,
        captions: bool = True,
        max_frames: int = MAX_FRAMES,
        max_windows: int = MAX_WINDOWS,
    ) -> None:
        self.captions = captions
        self._seeing = [encoder for encoder in encoders if Modality.IMAGE in encoder.modalities]
        self._hearing: dict[SoundFormat, list[Encoder]] = {}
        for encoder in encoders:
            if encoder.sound is not None:
                self._hearing.setdefault(encoder.sound, []).append(encoder)
        reading = [encoder for encoder in encoders if Modality.TEXT in encoder.modalities]
        self._pieces = min((encoder.text_pieces for encoder in reading), default=0)
        self._max_frames, self._max_windows = max_frames, max_windows

    @property
    def modalities(self) -> frozenset[Modality]:
        """The kinds of files that at least one encoder can make something of."""
        kinds = {Modality.IMAGE, Modality.VIDEO} if self._seeing else set()
        kinds |= {Modality.AUDIO, Modality.VIDEO} if self._hearing else set()
        return frozenset(kinds | ({Modality.TEXT} if self._pieces else set()))

    def read(self, path: Path, modality: Modality, data: bytes | None = None, *, beside: bool = False) -> Reading:
        """Begin to read a file.

        Args:
            path: The file.
            modality: What it holds.
            data: Its content, where that was read already.
            beside: Files with captions or subtitles may lie beside it.

        Raises:
            MediaError: It cannot be read; also while its segments are taken.
        """
        beside = beside and self.captions
        match modality:
            case Modality.IMAGE:
                return self._image(path, data, beside)
            case Modality.TEXT:
                return Reading(MediaInfo(), self._passages(_read_passages(path, data, self._pieces)))
            case Modality.AUDIO:
                return self._sound(path)
            case Modality.VIDEO:
                return self._video(path, beside)

    def passages(self, text: str) -> Iterator[PreparedSegment]:
        """Split a text that is in memory; none where no encoder takes texts, or there is nothing in it to read."""
        from mmsearch.media.blocks import plain_blocks
        from mmsearch.media.passages import split_passages

        if self._pieces:
            yield from self._passages(split_passages(plain_blocks([text]), max_pieces=self._pieces))

    def picture(self, image: Image.Image) -> PreparedSegment:
        """Lay out a picture that is in memory, upright and of any mode."""
        from mmsearch.media.pixels import shrink_to_rgb

        return self._picture(shrink_to_rgb(image, self._side), Modality.IMAGE)

    def written_beside(self, path: Path) -> tuple[bytes, ...]:
        """What the files beside a photo or video say, for its hash."""
        from mmsearch.media import modality_of
        from mmsearch.media.files import open_regular, stream_hash
        from mmsearch.media.sidecars import captions_beside, sidecar_files

        if not self.captions:
            return ()
        if modality_of(path) is Modality.IMAGE:
            return tuple(caption.text.encode("utf-8", "replace") for caption in captions_beside(path).captions)
        hashes = []
        for file in sidecar_files(path):
            with contextlib.suppress(OSError, MediaError), open_regular(file) as content:
                hashes.append(stream_hash(content))
        return tuple(hashes)

    def _image(self, path: Path, data: bytes | None, beside: bool) -> Reading:
        from mmsearch.media.descriptions import embedded_descriptions
        from mmsearch.media.image import read_image
        from mmsearch.media.sidecars import captions_beside, joined

        decoded = read_image(path if data is None else data, target_side=self._side, path=path)
        segments = [self._picture(decoded.image, Modality.IMAGE)]
        remarks: tuple[str, ...] = ()
        if self.captions and self._pieces:
            found = list(embedded_descriptions(path if data is None else data))
            if beside:
                written = captions_beside(path)
                found = [*written.captions, *found]
                remarks = tuple(f"{failure.path}: {failure.reason}" for failure in written.failures)
            segments += [PreparedSegment(Modality.TEXT, text=caption.text) for caption in joined(found)]
        return Reading(decoded.info, segments, remarks)

    def _sound(self, path: Path) -> Reading:
        from mmsearch.media.audio import read_sound_info

        info = read_sound_info(path)
        tags = [tag for tag in (info.title, info.artist, info.album) if tag] if self.captions and self._pieces else []
        titles = [PreparedSegment(Modality.TEXT, text=", ".join(tags))] if tags else []
        windows = self._windows(path)
        segments = chain(titles, windows) if titles else _heard(path, windows)
        return Reading(MediaInfo(duration_ms=info.duration_ms), segments)

    def _video(self, path: Path, beside: bool) -> Reading:
        from mmsearch.media.audio import read_sound_info
        from mmsearch.media.video import read_video_info

        try:
            info = read_video_info(path)
        except MediaError as unseen:
            try:  # a video without a picture
                info = MediaInfo(duration_ms=read_sound_info(path).duration_ms)
            except MediaError:
                raise unseen from None
        return Reading(info, self._shown_and_heard(path, beside))

    def _shown_and_heard(self, path: Path, beside: bool) -> Iterator[PreparedSegment]:
        parts: list[Iterator[PreparedSegment]] = []
        if self._seeing:
            parts.append(self._frames(path))
        parts.append(self._windows(path))
        if self._pieces and self.captions:
            parts += [self._subtitles(path), *(self._subtitles_beside(path) if beside else ())]
        problems: list[MediaError] = []
        found = False
        for part in parts:
            try:
                for segment in part:
                    found = True
                    yield segment
            except MediaError as error:  # what the others give is worth having
                problems.append(error)
        if not found:
            raise problems[0] if problems else MediaError(path, "neither a picture nor a sound in it")

    def _frames(self, path: Path) -> Iterator[PreparedSegment]:
        from mmsearch.media.video import read_video

        for frame in read_video(path, target_side=self._side, max_frames=self._max_frames):
            yield self._picture(frame.image, Modality.VIDEO, start_ms=frame.time_ms, shot=frame.shot)

    def _windows(self, path: Path) -> Iterator[PreparedSegment]:
        from mmsearch.media.audio import read_audio

        for form, encoders in self._hearing.items():
            for window in read_audio(
                path, rate=form.rate, window_ms=form.window_ms, hop_ms=form.hop_ms, max_windows=self._max_windows
            ):
                inputs = {encoder.id: encoder.prepare_sound(window.samples) for encoder in encoders}
                yield PreparedSegment(Modality.AUDIO, inputs, start_ms=window.start_ms, end_ms=window.end_ms)

    def _subtitles(self, path: Path) -> Iterator[PreparedSegment]:
        from mmsearch.media.passages import split_passages
        from mmsearch.media.subtitles import cue_blocks
        from mmsearch.media.video import read_subtitles

        tracks = sorted(read_subtitles(path), key=lambda line: (line.track, line.start_ms))
        for _, lines in groupby(tracks, key=lambda line: line.track):
            yield from self._passages(split_passages(cue_blocks(lines), max_pieces=min(self._pieces, _SUBTITLE_PIECES)))

    def _subtitles_beside(self, path: Path) -> Iterator[Iterator[PreparedSegment]]:
        from mmsearch.media.sidecars import sidecar_files

        for file in sidecar_files(path):
            yield self._passages(_read_passages(file, None, self._pieces))

    def _passages(self, passages: Iterable[Passage]) -> Iterator[PreparedSegment]:
        for passage in passages:
            yield PreparedSegment(
                Modality.TEXT,
                text=passage.text,
                start_ms=passage.start_ms,
                end_ms=passage.end_ms,
                start_char=passage.start_char,
                end_char=passage.end_char,
                page=passage.page,
            )

    def _picture(self, image: Any, modality: Modality, **place: Any) -> PreparedSegment:
        inputs = {encoder.id: encoder.prepare_image(image) for encoder in self._seeing}
        return PreparedSegment(modality, inputs, **place)

    @property
    def _side(self) -> int:
        return max(encoder.image_size for encoder in self._seeing)


def _heard(path: Path, windows: Iterator[PreparedSegment]) -> Iterator[PreparedSegment]:
    silent = True
    for window in windows:
        silent = False
        yield window
    if silent:
        raise MediaError(path, "nothing to hear in it")


def _read_passages(path: Path, data: bytes | None, pieces: int) -> Iterator[Passage]:
    from mmsearch.media.text import read_passages

    timed = os.path.splitext(path)[1].lower() in (".srt", ".vtt")
    most = min(pieces, _SUBTITLE_PIECES) if timed else pieces
    return read_passages(path if data is None else data, path=path, max_pieces=most)


def salt_of(path: Path, modality: Modality) -> bytes:
    """What tells equal bytes apart that are read in another way: a text by its suffix, a sound from a video."""
    if modality is Modality.IMAGE:
        return b""
    suffix = os.path.splitext(path)[1].lower() if modality is Modality.TEXT else ""
    return f"{modality}{suffix}".encode()
