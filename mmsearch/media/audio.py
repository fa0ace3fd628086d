"""A sound, or the sound of a video -> overlapping windows of mono samples, and what the file says about itself.

Memory does not depend on the length: samples are decoded, mixed, resampled and cut as they come. A sound with more
windows than are wanted is not decoded in full: windows spread evenly over it are reached by seeking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.media.container import duration_of, last_time, only, open_container, tag_of
from mmsearch.media.samples import SampleReader, sound_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from numpy.typing import NDArray

__all__ = ["AudioWindow", "SoundInfo", "loudness", "read_audio", "read_sound_info"]

FLOOR = 5e-4
"""Absolute floor of loudness, about -66 dB of full scale: the noise of a 16 bit recording with nothing in it."""

RELATIVE_FLOOR = 10 ** (-50 / 20)
"""Floor of loudness relative to the loudest window of the file: 50 dB below it, which speech beside music never is."""

_BLOCK_MS = 100
_MIN_TAIL_MS = 100
_SLACK_SECONDS = 0.1
_LOOK_AHEAD = 32

# Streams without a header: libav guesses their length from the first bit rates, which a variable rate makes wrong.
_GUESSED = frozenset({"aac", "ac3", "eac3", "amr", "mp3", "mpeg", "mpegts"})


@dataclass(frozen=True, slots=True, eq=False)
class AudioWindow:
    """A stretch of sound.

    Attributes:
        samples: (n,) float32 mono, full scale at -1 and 1; n is the window's length, less only where the whole sound
            is shorter or a damaged file breaks off. It is not padded: an encoder pads as it did in its training.
        start_ms: Its place on the clock that a player shows.
        end_ms: Where it ends, exclusive.
    """

    samples: NDArray[np.float32]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class SoundInfo:
    """What a file says about its sound; None where it does not say.

    Attributes:
        duration_ms: Length; for streams without a header an estimate.
        channels: Number of channels.
        sample_rate: Hz.
        title, artist, album: Tags.
    """

    duration_ms: int | None
    channels: int
    sample_rate: int
    title: str | None = None
    artist: str | None = None
    album: str | None = None


def read_sound_info(source: Path) -> SoundInfo:
    """Read what a file says about its sound, without decoding it.

    Raises:
        MediaError: No sound in it, or not readable.
    """
    with open_container(source) as container:
        stream = sound_of(container)
        seconds = duration_of(container, stream)
        return SoundInfo(
            duration_ms=None if seconds is None else round(seconds * 1000),
            channels=stream.codec_context.channels,
            sample_rate=stream.codec_context.sample_rate,
            title=tag_of(container, "title"),
            artist=tag_of(container, "artist", "album_artist", "author"),
            album=tag_of(container, "album"),
        )


def read_audio(
    source: Path,
    *,
    rate: int = 16_000,
    window_ms: int = 5_000,
    hop_ms: int = 2_500,
    max_windows: int = 2_048,
    skip_silence: bool = True,
) -> Iterator[AudioWindow]:
    """Cut the sound of a file into windows, in the order of time.

    A window starts every `hop_ms`. What is left over at the end (from 100 ms on) gets a last window that ends where the
    sound ends and overlaps the one before it more than usual; a sound shorter than a window is one short window. With
    more than `max_windows` of them, that many are spread evenly from the beginning to the end, each reached by seeking.

    A window is silent, and left out, when the loudest tenth of a second in it is below `FLOOR`, or `RELATIVE_FLOOR`
    below the loudest window read so far (at least the first 32 are read before any is given out). Loudness is the
    standard deviation of the samples, so a constant offset is silence, and a short click in a quiet window is not.

    A file that breaks off or is damaged in the middle gives what can be decoded. Closing the iterator closes the file.

    Args:
        source: A sound or a video.
        rate: Sample rate that comes out, in Hz.
        window_ms: Length of a window.
        hop_ms: From the start of one window to that of the next.
        max_windows: How many windows come out at most.
        skip_silence: Leave out silent windows; a sound that is silent throughout then gives none.

    Yields:
        Windows; memory holds 32 of them at a time.

    Raises:
        MediaError: While iterating: no sound in the file, nothing of it can be decoded, or not readable.
        ValueError: Lengths, rate or number that are not positive.
    """
    if min(rate, window_ms, hop_ms, max_windows) <= 0:
        raise ValueError("rate, window_ms, hop_ms and max_windows must be positive")
    windows = _windows(source, rate, window_ms, hop_ms, max_windows)
    return _audible(windows, rate) if skip_silence else windows


def loudness(samples: NDArray[np.float32], rate: int) -> float:
    """The greatest standard deviation of a tenth of a second in (n,) samples; 0 for silence, 0.7 for a full sine."""
    block = min(len(samples), max(1, rate * _BLOCK_MS // 1000))
    if block == 0:
        return 0.0
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    return float(max(blocks.std(axis=1).max(), samples[-block:].std()))


def _audible(windows: Iterable[AudioWindow], rate: int) -> Iterator[AudioWindow]:
    waiting: deque[tuple[AudioWindow, float]] = deque()
    loudest = 0.0
    for window in windows:
        level = loudness(window.samples, rate)
        loudest = max(loudest, level)
        waiting.append((window, level))
        if len(waiting) >= _LOOK_AHEAD:
            first, level = waiting.popleft()
            if level >= max(FLOOR, loudest * RELATIVE_FLOOR):
                yield first
    for window, level in waiting:
        if level >= max(FLOOR, loudest * RELATIVE_FLOOR):
            yield window


def _windows(source: Path, rate: int, window_ms: int, hop_ms: int, max_windows: int) -> Iterator[AudioWindow]:
    with open_container(source) as container:
        stream = sound_of(container)
        only(container, stream)
        reader = SampleReader(container, stream, rate)
        window, hop = (max(1, rate * length // 1000) for length in (window_ms, hop_ms))
        starts = _spread(container, stream, window_ms, hop_ms, max_windows)
        # The bound holds also where the file is longer than it claims.
        cut = _consecutive(reader, window, hop, max_windows) if starts is None else _scattered(reader, window, starts)
        count = 0
        for samples, seconds in cut:
            count += 1
            start_ms = max(0, round(seconds * 1000))
            yield AudioWindow(samples, start_ms, start_ms + round(len(samples) * 1000 / rate))
        if not count:
            raise MediaError(source, "no sound can be decoded")


def _spread(
    container: InputContainer, stream: AudioStream, window_ms: int, hop_ms: int, max_windows: int
) -> list[float] | None:
    """Seconds at which windows start when there are too many of them, None when every window is wanted."""
    seconds = duration_of(container, stream)
    if seconds is None or container.format.name in _GUESSED:
        if seconds is not None and _count(seconds, window_ms, hop_ms) <= max_windows // 2:
            return None  # an estimate is not as wrong as that
        seconds = last_time(container, stream, from_start=True)
    elif _count(seconds, window_ms, hop_ms) > max_windows:
        # A header that claims more than the file holds would put most windows behind its end.
        end = last_time(container, stream, from_start=False)
        if end is None or end < 0.9 * seconds:
            seconds = last_time(container, stream, from_start=True)
    else:
        return None
    container.seek(container.start_time or 0)
    if seconds is None or _count(seconds, window_ms, hop_ms) <= max_windows:
        return None
    last = max(0.0, seconds - window_ms / 1000)
    return [0.0] if max_windows == 1 else [float(start) for start in np.linspace(0.0, last, max_windows)]


def _count(seconds: float, window_ms: int, hop_ms: int) -> float:
    return 1 + max(0.0, seconds * 1000 - window_ms) / hop_ms


def _consecutive(
    reader: SampleReader, window: int, hop: int, max_windows: int
) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Windows from the present position to the end of the sound."""
    tail = reader.rate * _MIN_TAIL_MS // 1000
    held, at = np.empty(0, dtype=np.float32), 0  # samples from number `at` on
    waiting: list[NDArray[np.float32]] = []
    due, covered, count, end = 0, 0, 0, 0
    for samples in reader.samples():
        waiting.append(samples)
        end += len(samples)
        if end < due + window and end - at - len(held) < reader.rate:
            continue  # joining pieces copies what is held: once a second at most
        held = np.concatenate([held, *waiting])
        waiting.clear()
        while count < max_windows and end >= due + window:
            yield held[due - at : due - at + window].copy(), reader.time_of(due)
            covered, due, count = due + window, due + hop, count + 1
        if count == max_windows:
            return
        # What the next window needs is kept, and a window's length for the one at the end.
        drop = min(due, end - window) - at
        if drop > 0:
            held, at = held[drop:], at + drop
    held = np.concatenate([held, *waiting])
    if count == 0 and end > 0:
        yield held[:window].copy(), reader.time_of(0)
    elif end - covered >= max(1, tail):
        begin = max(at, end - window)
        yield held[begin - at :].copy(), reader.time_of(begin)


def _scattered(reader: SampleReader, window: int, starts: list[float]) -> Iterator[tuple[NDArray[np.float32], float]]:
    """One window at each of some times; where seeking fails, the sound in between is decoded."""
    for start in starts:
        samples, begin = _piece(reader, window, start)
        if missing := window - len(samples):  # the end came earlier than the file said
            earlier = max(0.0, start - missing / reader.rate - _SLACK_SECONDS)
            again, before = _piece(reader, window, earlier)
            if len(again) > len(samples):
                samples, begin = again, before
        if len(samples) >= reader.rate * _MIN_TAIL_MS // 1000:
            yield samples, begin


def _piece(reader: SampleReader, window: int, start: float) -> tuple[NDArray[np.float32], float]:
    got: list[NDArray[np.float32]] = []
    count, begin = 0, start
    for samples, seconds in reader.samples_from(start):
        if not got:
            begin = seconds
        got.append(samples)
        count += len(samples)
        if count >= window:
            break
    return (np.concatenate(got)[:window] if got else np.empty(0, dtype=np.float32)), begin
