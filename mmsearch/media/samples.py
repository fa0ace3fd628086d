"""A sound stream -> runs of mono samples from any time on, each with its time on the player's clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.media.container import decode_packet, start_of
from mmsearch.media.mono import MonoResampler

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from numpy.typing import NDArray

__all__ = ["SampleReader", "sound_of"]

_GAP_SECONDS = 0.2
"""How far timestamps may run ahead of the samples before the clock is set anew: recordings have holes."""

_LATE_SECONDS = 0.05
"""A sound that begins so shortly after the beginning begins there: Vorbis counts a block that is never heard."""

_PREROLL_SECONDS = 0.25
"""What is decoded before the wanted start: MP3, AAC and Opus need some packets to come to themselves after a seek."""

_MAX_BAD_PACKETS = 200
"""Damaged packets in a row after which the rest is given up."""

_WALK_SECONDS = 2.0
"""Distances that are decoded through rather than jumped over."""


def sound_of(container: InputContainer) -> AudioStream:
    """The sound stream that a player would play.

    Raises:
        MediaError: There is none, or none that can be decoded.
    """
    sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
    if not sounds:
        raise MediaError(None, "no sound in it" if not container.streams.audio else "sound of an unknown kind")
    best = container.streams.best("audio")
    return next((stream for stream in sounds if best is not None and stream.index == best.index), sounds[0])


class SampleReader:
    """Reads one sound stream; the container must have been told to pass over the others.

    Args:
        container: The open file.
        stream: One of its sound streams.
        rate: Sample rate that comes out, in Hz.

    Attributes:
        rate: The same.
        decoded: Packets decoded so far.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, rate: int) -> None:
        self.rate = rate
        self.decoded = 0
        self._container = container
        self._stream = stream
        self._start = start_of(container)
        self._errors = [0]
        self._anchors: list[tuple[int, float]] = []  # sample number, seconds
        self._frames: Iterator[tuple[Any, float | None]] | None = None
        self._clock = 0.0  # seconds at which the next frame starts
        self._can_seek = True

    def samples(self) -> Iterator[NDArray[np.float32]]:
        """Everything from the present position on, in pieces of (n,) float32; `time_of` then counts from there."""
        resampler = MonoResampler(self.rate)
        pushed = 0.0  # samples that have gone in, counted at the rate that comes out
        self._anchors = []
        for frame, time in self._decode():
            expected = self._anchors[-1][1] + (pushed - self._anchors[-1][0]) / self.rate if self._anchors else None
            if expected is None or (time is not None and time - expected > _GAP_SECONDS):
                if expected is None and 0 <= (time or 0.0) < _LATE_SECONDS:
                    time = 0.0
                self._anchors.append((round(pushed), time or 0.0))
                del self._anchors[1:-1000]  # of a file that is nothing but holes
            pushed += frame.samples * self.rate / max(1, frame.sample_rate)
            if len(piece := resampler.push(frame)):
                yield piece
        if len(piece := resampler.flush()):
            yield piece

    def time_of(self, sample: int) -> float:
        """Seconds on the player's clock of a sample that `samples` gave, by its number."""
        for number, seconds in reversed(self._anchors):
            if number <= sample:
                return seconds + (sample - number) / self.rate
        return sample / self.rate

    def samples_from(self, seconds: float) -> Iterator[tuple[NDArray[np.float32], float]]:
        """The sound from a time on: pieces of (n,) float32 with the time of each; stop when there are enough.

        The first piece starts at the wanted time, or later where the file has nothing there.
        """
        self._go_to(seconds - _PREROLL_SECONDS)
        resampler = MonoResampler(self.rate)
        begin: float | None = None
        taken = 0
        for frame, time in self._decode():
            length = frame.samples / max(1, frame.sample_rate)
            time = self._clock if time is None else time
            self._clock = time + length
            if begin is None:
                if self._clock < seconds - _PREROLL_SECONDS:
                    continue
                begin = time
            piece = resampler.push(frame)
            yield from self._after(piece, begin + taken / self.rate, seconds)
            taken += len(piece)
        if begin is not None:
            yield from self._after(resampler.flush(), begin + taken / self.rate, seconds)

    def _after(
        self, piece: NDArray[np.float32], time: float, seconds: float
    ) -> Iterator[tuple[NDArray[np.float32], float]]:
        early = max(0, round((seconds - time) * self.rate))
        if early < len(piece):
            yield piece[early:], time + early / self.rate

    def _go_to(self, seconds: float) -> None:
        import av

        if self._frames is not None and 0 <= seconds - self._clock < _WALK_SECONDS:
            return
        if not self._can_seek and self._frames is not None and seconds >= self._clock:
            return
        wanted = round((seconds + self._start) / float(self._stream.time_base or 1))
        # Some formats find nothing before the first packet, others pass over it unless they are sent there.
        for timestamp in dict.fromkeys((wanted, max(wanted, self._stream.start_time or 0))):
            try:
                self._container.seek(timestamp, stream=self._stream)
                break
            except av.error.FFmpegError:
                continue
        else:
            self._can_seek = False
            return
        self._frames = None
        self._clock = max(0.0, seconds)

    def _decode(self) -> Iterator[tuple[Any, float | None]]:
        """Frames with their time, from where the last use stopped; not a generator, which would close what it reads."""
        if self._frames is None:
            self._frames = self._decode_on()
        return self._frames

    def _decode_on(self) -> Iterator[tuple[Any, float | None]]:
        base = float(self._stream.time_base or 0)
        for packet in self._packets():
            if not packet.size and (packet.pts is not None or packet.dts is not None):
                continue  # an empty packet in the middle would be the end to the decoder
            self.decoded += 1
            for frame in decode_packet(self._stream, packet, self._errors):
                time = frame.pts if frame.pts is not None else frame.dts
                yield frame, None if time is None else time * base - self._start
            if self._errors[0] > _MAX_BAD_PACKETS:
                return

    def _packets(self) -> Iterator[Packet[AudioStream]]:
        import av

        try:
            yield from self._container.demux(self._stream)
        except av.error.FFmpegError:
            return  # truncated or damaged: what came before it counts
