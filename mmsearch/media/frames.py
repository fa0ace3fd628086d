"""A video stream -> single frames, reached by seeking: the key frame near a time alone, or a walk from one on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmsearch.media.container import MAX_PIXELS, decode_packet, start_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame as DecodedFrame
    from av.video.stream import VideoStream

__all__ = ["FrameReader", "Place"]

_MAX_SKIPPED = 5_000
"""Packets that are looked at for a key frame after a seek; formats without an index land between two."""

_MAX_SETTLE = 32
"""Packets after a key frame that are decoded too where it shows nothing by itself."""

_STEPS_BACK = (0.0, 2.0, 10.0)
"""Seconds before the wanted time at which a key frame is looked for; formats without an index land behind it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame lies in its stream.

    Attributes:
        pts: Its timestamp, in units of the stream.
        key_pts: Timestamp of the key frame that decoding begins at.
        alone: Whether that key frame is the frame itself, and was decoded alone.
        seconds: Its time on the clock that a player shows.
    """

    pts: int
    key_pts: int
    alone: bool
    seconds: float


class FrameReader:
    """Reads one video stream; the container must have been told to pass over the others.

    Decoding uses the caller's thread alone: whoever reads many files does so in many threads.

    Args:
        container: The open file.
        stream: One of its video streams.

    Attributes:
        decoded: Packets that were handed to the decoder so far, which is what reading costs.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.decoded = 0
        self._container = container
        self._stream = stream
        self._base = float(stream.time_base or 1)
        self._start = start_of(container)
        self._errors = [0]
        self._packets: Iterator[Any] = iter(())
        self._key: Any = None
        self._walk: Iterator[tuple[DecodedFrame, Place]] | None = None
        self._walked: Place | None = None
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}

    def find_key(self, seconds: float) -> float | None:
        """Go to the key frame at or before a time, or else the next one; give its seconds, None when there is none."""
        wanted = round((seconds + self._start) / self._base)
        for back in _STEPS_BACK:
            key = self._next_key(None) if self._seek(wanted - round(back / self._base)) else None
            if key is not None and key <= seconds + self._base:
                return key
            if back >= seconds:
                break
        return self._next_key(None) if self._seek(wanted) or self._seek(self._stream.start_time or 0) else None

    def decode_key(self) -> tuple[DecodedFrame, Place] | None:
        """Decode the key frame that was found, and nothing else; None when it is damaged."""
        frames = self._decode(self._key) or self._decode(None)  # the end of input makes decoders give what they hold
        if not frames:
            self._stream.codec_context.flush_buffers()
            frames = self._decode(self._key)
            for _ in range(_MAX_SETTLE):
                packet = None if frames else self._next_packet()
                if packet is None:
                    break
                frames = self._decode(packet)
        return self._placed(frames[0], alone=True) if frames else None

    def walk(self) -> Iterator[tuple[DecodedFrame, Place]]:
        """Decode from the key frame that was found up to the next one, in the order of showing."""
        packet = self._key
        while packet is not None:
            for frame in self._decode(packet):
                yield self._placed(frame, alone=False)
            packet = self._next_packet()
            if packet is not None and packet.is_keyframe:
                break
        for frame in self._decode(None):
            yield self._placed(frame, alone=False)

    def sizes(self) -> list[int]:
        """Bytes of the packets from the key frame that was found up to the next one; nothing is decoded."""
        found: list[int] = []
        packet = self._key
        while packet is not None and len(found) < _MAX_SKIPPED:
            found.append(packet.size)
            packet = self._next_packet()
            if packet is not None and packet.is_keyframe:
                break
        return found

    def fetch(self, place: Place) -> DecodedFrame | None:
        """Decode the frame at a place that was given before; cheapest in the order of time. None when it is gone."""
        if place.alone:
            self._walk = None
            decoded = self.decode_key() if self._find_exact(place.key_pts) else None
            return None if decoded is None else decoded[0]
        walked = self._walked
        ahead = walked is not None and walked.key_pts == place.key_pts and walked.pts < place.pts
        if self._walk is None or not ahead:
            if not self._find_exact(place.key_pts):
                return None
            self._walk = self.walk()
        for frame, reached in self._walk:
            self._walked = reached
            if reached.pts >= place.pts:
                return frame
        self._walk = None
        return None

    def _find_exact(self, key_pts: int) -> bool:
        for back in _STEPS_BACK:
            if self._seek(key_pts - round(back / self._base)) and self._next_key(key_pts) is not None:
                return True
        return False

    def _seek(self, timestamp: int) -> bool:
        import av

        self._key, self._packets, self._walk = None, iter(()), None
        try:
            self._container.seek(timestamp, stream=self._stream)
        except av.error.FFmpegError:
            return False
        self._packets = self._container.demux(self._stream)
        return True

    def _next_key(self, wanted: int | None) -> float | None:
        for _ in range(_MAX_SKIPPED):
            packet = self._next_packet()
            if packet is None:
                return None
            time = _time_of(packet)
            if not packet.is_keyframe or time is None:
                continue
            if wanted is None or time == wanted:
                self._key = packet
                return time * self._base - self._start
            if time > wanted:
                return None
        return None

    def _next_packet(self) -> Any:
        import av

        try:
            for packet in self._packets:
                # An empty packet in the middle is a picture that was left out; to the decoder it would be the end.
                if packet.size or _time_of(packet) is None:
                    return packet if packet.size else None
        except av.error.FFmpegError:
            pass  # truncated or damaged: what lies behind is out of reach from here
        return None

    def _decode(self, packet: Any) -> list[Any]:
        self.decoded += packet is not None
        return decode_packet(self._stream, packet, self._errors)

    def _placed(self, frame: DecodedFrame, *, alone: bool) -> tuple[DecodedFrame, Place]:
        key_pts = _time_of(self._key)
        pts = _time_of(frame)
        pts = key_pts if pts is None else pts
        return frame, Place(pts or 0, key_pts or 0, alone, max(0.0, (pts or 0) * self._base - self._start))


def _time_of(part: Any) -> int | None:
    time: int | None = part.pts if part.pts is not None else part.dts
    return time
