"""A video -> the frames that stand for it, each with its time and shot, and what the file says about itself.

A video is looked at twice, both times by seeking. First key frames on a grid of times are decoded alone and compared;
where two neighbours differ, key frames between them are, so that the border of a shot is known to a key frame. Only
where key frames lie too far apart is the video decoded from one of them on. Then the frames that were chosen are
decoded again as pictures, so that no more than one is held in memory. Both depend on the number of frames that are
wanted and not on the length: about four key frames for each at most, or `WALK_FACTOR` frames where there are no key
frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media.container import MAX_PIXELS, date_of, duration_of, last_time, only, open_container, tag_of
from mmsearch.media.frame_images import FrameScaler
from mmsearch.media.frames import FrameReader
from mmsearch.media.probes import probe
from mmsearch.media.shots import choose, find_shots
from mmsearch.media.subtitle_tracks import Subtitle, read_subtitles
from mmsearch.types import MediaInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["Subtitle", "VideoFrame", "read_frame", "read_subtitles", "read_video", "read_video_info"]

_MAX_WALK = 1_000
"""Frames that `read_frame` decodes at most on its way from a key frame to the wanted one."""

_HALF_A_MS = 0.0005
"""Times in milliseconds are rounded: the frame that has one begins up to half a millisecond later."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """A frame that stands for a part of a video.

    Attributes:
        image: RGB, upright, square pixels; its shorter side is `target_side`, or less in a smaller video.
        time_ms: When it is shown, on the clock that a player shows.
        shot: Number of the shot it lies in, from 0; shots of which no frame is shown are counted too.
        shot_start_ms, shot_end_ms: Where that shot begins and, exclusive, ends.
    """

    image: Image.Image
    time_ms: int
    shot: int
    shot_start_ms: int
    shot_end_ms: int


def read_video(
    source: Path, *, target_side: int, max_frames: int = 256, max_gap_ms: int = 10_000
) -> Iterator[VideoFrame]:
    """Choose and decode the frames that stand for a video, in the order of time.

    Each shot gives at least one frame, another every `max_gap_ms`, and others that show something else (at most four
    in that time); black and blurred frames, and those that repeat the one before, are left out. With more than
    `max_frames` of them, that many are spread over the whole video.

    A file that breaks off or is damaged in the middle gives what can be decoded. Closing the iterator closes the file.

    Args:
        source: A video.
        target_side: Length in pixels to which the shorter side is shrunk.
        max_frames: How many frames come out at most.
        max_gap_ms: How long a shot may go on without another frame that looks different.

    Yields:
        Frames; at least one.

    Raises:
        MediaError: While iterating: no picture stream (a cover is none), nothing can be decoded, or not readable.
        ValueError: A side, number or gap that is not positive.
    """
    if min(target_side, max_frames, max_gap_ms) <= 0:
        raise ValueError("target_side, max_frames and max_gap_ms must be positive")
    return _frames(source, target_side, max_frames, max_gap_ms / 1000)


def _frames(source: Path, target_side: int, max_frames: int, gap: float) -> Iterator[VideoFrame]:
    with open_container(source) as container:
        stream = _pictures_of(container)
        only(container, stream)
        reader = FrameReader(container, stream)
        scaler = FrameScaler(stream.sample_aspect_ratio)
        seconds = _length(container, stream)
        gap = max(gap, seconds / max_frames)
        probes = probe(
            reader,
            scaler,
            seconds,
            frames_a_second=_rate(stream),
            gap=gap,
            count=max_frames,
            picture=lambda frame: scaler.image(frame, target_side),
        )
        if not probes.times:
            raise MediaError(source, "no picture can be decoded")
        shots = find_shots(probes.times, probes.signatures, probes.end)
        chosen = choose(probes.times, probes.signatures, shots, gap=gap, count=max_frames)
        count = 0
        for at, number in chosen:
            place = probes.places[at]
            image = probes.pictures.get(place)
            if image is None:
                frame = reader.fetch(place)
                if frame is None:
                    continue
                image = scaler.image(frame, target_side)
            count += 1
            shot = shots[number]
            yield VideoFrame(
                image=image,
                time_ms=round(probes.times[at] * 1000),
                shot=number,
                shot_start_ms=round(shot.start * 1000),
                shot_end_ms=round(shot.end * 1000),
            )
        if not count:
            raise MediaError(source, "no picture can be decoded")


def read_frame(source: Path, time_ms: int, *, target_side: int) -> Image.Image:
    """Decode the frame that a video shows at a time: the last one that begins at that time or before it.

    Only the frames from the key frame before it on are decoded. Before the beginning and behind the end it is the first
    and the last frame; where key frames lie further apart than 1,000 frames, it may be an earlier one.

    Args:
        source: A video.
        time_ms: On the clock that a player shows.
        target_side: Length in pixels to which the shorter side is shrunk.

    Returns:
        RGB, upright, square pixels.

    Raises:
        MediaError: No picture stream, nothing can be decoded there, or not readable.
        ValueError: A side that is not positive.
    """
    if target_side <= 0:
        raise ValueError("target_side must be positive")
    with open_container(source) as container:
        stream = _pictures_of(container)
        only(container, stream)
        reader = FrameReader(container, stream)
        seconds = max(0.0, time_ms / 1000) + _HALF_A_MS
        # Seeking rounds to the stream's unit, which is a whole frame in some formats: never to a later one.
        key = reader.find_key(max(0.0, seconds - 0.499 * float(stream.time_base or 0)))
        if key is None and (end := last_time(container, stream, from_start=False)) is not None:
            key = reader.find_key(max(0.0, end))
        if key is None:
            raise MediaError(source, "no picture can be decoded")
        shown = None
        for frame, place in islice(reader.walk(), _MAX_WALK):
            if shown is not None and place.seconds > seconds:
                break
            shown = frame
        if shown is None:
            raise MediaError(source, "no picture can be decoded")
        return FrameScaler(stream.sample_aspect_ratio).image(shown, target_side)


def read_video_info(source: Path) -> MediaInfo:
    """Read what people filter by; width and height are as shown. One frame is decoded, since it says how to turn it.

    Raises:
        MediaError: No picture stream, nothing can be decoded, or not readable.
    """
    with open_container(source) as container:
        stream = _pictures_of(container)
        only(container, stream)
        seconds = _length(container, stream)
        reader = FrameReader(container, stream)
        decoded = None if reader.find_key(0.0) is None else reader.decode_key()
        if decoded is None:
            raise MediaError(source, "no picture can be decoded")
        width, height = FrameScaler(stream.sample_aspect_ratio).size(decoded[0])
        latitude, longitude = _position(container)
        return MediaInfo(
            width=width,
            height=height,
            taken_at=date_of(container),
            camera=_camera(container),
            latitude=latitude,
            longitude=longitude,
            duration_ms=round(seconds * 1000) or None,
        )


def _pictures_of(container: InputContainer) -> VideoStream:
    from av.stream import Disposition

    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    streams = [stream for stream in container.streams.video if not stream.disposition & stills]
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise MediaError(None, "pictures of an unknown kind" if streams else "no picture stream in it")
    best = container.streams.best("video")
    stream = next((stream for stream in known if best is not None and stream.index == best.index), known[0])
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        raise MediaError(None, f"too many pixels ({width} x {height})")
    return stream


def _length(container: InputContainer, stream: VideoStream) -> float:
    """Seconds; a file is not believed to be longer than where its last packets are."""
    claimed = duration_of(container, stream)
    end = last_time(container, stream, from_start=False)
    if end is None:
        end = last_time(container, stream, from_start=True)
    if end is None or end <= 0:
        return claimed or 0.0
    return end if claimed is None or end < 0.9 * claimed else max(end, claimed)


def _rate(stream: VideoStream) -> float:
    rate = stream.average_rate or stream.guessed_rate
    return float(rate) if rate is not None and 0 < rate < 1000 else 25.0


def _camera(container: InputContainer) -> str | None:
    make = tag_of(container, "com.apple.quicktime.make", "com.android.manufacturer", "make")
    model = tag_of(container, "com.apple.quicktime.model", "com.android.model", "model")
    if make and model and not model.lower().startswith(make.lower()):
        return f"{make} {model}"
    return model or make


def _position(container: InputContainer) -> tuple[float | None, float | None]:
    """ISO 6709 in decimal degrees, as phones write it: ``+48.8577+002.2950+035/``."""
    text = tag_of(container, "com.apple.quicktime.location.iso6709", "location", "location-eng")
    match = re.match(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)", text or "")
    if match is None:
        return None, None
    latitude, longitude = float(match[1]), float(match[2])
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else (None, None)
