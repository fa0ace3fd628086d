"""A video stream -> the times and looks of enough of its frames to find its shots, for a bounded cost."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmsearch.media.frame_images import FrameScaler
from mmsearch.media.frames import FrameReader, Place
from mmsearch.media.shots import CUT, Signature, difference, signature

if TYPE_CHECKING:
    from av.video.frame import VideoFrame as DecodedFrame

__all__ = ["WALK_FACTOR", "Probes", "probe"]

WALK_FACTOR = 48
"""Frames, for each that is wanted, that are decoded at most where a video has too few key frames."""

_GRID = 2  # probes for each frame that is wanted
_SHORT_FRAMES = 360
"""Videos of up to so many frames may be decoded in full where key frames are rare: a few seconds of a clip."""
_MIN_STEP = 0.5
_SHORT_REACH = 2.0
_SHORT_PARTS = 3
_FINEST = 0.25  # seconds between key frames that are not looked between
_MAX_FAILURES = 16


@dataclass(slots=True)
class Probes:
    """Frames that were looked at, in the order of time.

    Attributes:
        times: (n,) seconds.
        places: (n,) where to find them again.
        signatures: (n,) what they look like.
        end: Seconds at which the video ends; earlier than it claims where it breaks off.
    """

    times: list[float] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)
    end: float = 0.0

    def add(self, place: Place, looks: Signature) -> int:
        """Insert a frame unless there is one of that time; give its index."""
        at = bisect_left(self.times, place.seconds)
        if at == len(self.times) or self.times[at] != place.seconds:
            self.times.insert(at, place.seconds)
            self.places.insert(at, place)
            self.signatures.insert(at, looks)
        return at


def probe(
    reader: FrameReader, scaler: FrameScaler, seconds: float, *, frames_a_second: float, gap: float, count: int
) -> Probes:
    """Look at key frames on a grid, between those that differ, and at others where key frames are too rare.

    Args:
        reader: The video.
        scaler: What makes its frames small.
        seconds: Its length.
        frames_a_second: Its frame rate, on average.
        gap: Seconds after which another frame is wanted.
        count: How many frames are wanted at most; bounds the cost.
    """
    search = _Search(reader, scaler, budget=reader.decoded + count * WALK_FACTOR + _SHORT_FRAMES)
    short = seconds * frames_a_second <= _SHORT_FRAMES
    step = max(min(_MIN_STEP, gap / 2), seconds / (_GRID * count))
    search.sweep(seconds, step, reach=min(gap, _SHORT_REACH, seconds / _SHORT_PARTS) if short else max(gap, step))
    search.refine(_GRID * count)
    return search.probes


class _Search:
    def __init__(self, reader: FrameReader, scaler: FrameScaler, budget: int) -> None:
        self.probes = Probes()
        self._reader = reader
        self._scaler = scaler
        self._budget = budget

    def sweep(self, seconds: float, step: float, reach: float) -> None:
        """Look at the key frame before each time of a grid, and walk on from one that lies more than `reach` before."""
        probes, reader = self.probes, self._reader
        time, failures, known, walked = 0.0, 0, -1.0, -1.0
        while time <= seconds and failures < _MAX_FAILURES and reader.decoded < self._budget:
            key = reader.find_key(time)
            if key is None:
                failures += 1
                time += step
                continue
            failures = 0
            if time - key > reach and key > walked:
                walked = known = key
                probes.end = max(probes.end, self._walk(step))
                time = max(time, probes.end) + step
                continue
            if key > known:
                known = key
                self._look()
            probes.end = max(probes.end, min(time + step, seconds), key)
            time = max(time, key) + step
        if not failures:
            probes.end = max(probes.end, seconds)

    def refine(self, extra: int) -> None:
        """Halve the stretches between key frames that differ, until there is none in between."""
        probes = self.probes
        left = extra
        at = 1
        while at < len(probes.times) and left > 0:
            before, after = probes.times[at - 1], probes.times[at]
            if after - before > _FINEST and difference(probes.signatures[at - 1], probes.signatures[at]) >= CUT:
                left -= 1
                if self._between(before, after):
                    continue  # the same place again, now with a nearer neighbour
            at += 1

    def _between(self, before: float, after: float) -> bool:
        for time in ((before + after) / 2, after - 1e-3):
            key = self._reader.find_key(time)
            if key is not None and before + 1e-6 < key < after - 1e-6:
                size = len(self.probes.times)
                self._look()
                return len(self.probes.times) > size
        return False

    def _look(self) -> None:
        decoded = self._reader.decode_key()
        if decoded is not None:
            frame, place = decoded
            self.probes.add(place, self._signature(frame))

    def _walk(self, step: float) -> float:
        """Decode up to the next key frame; a frame is kept every `step` seconds and wherever the picture changes."""
        end, last, kept = 0.0, -1.0, None
        for frame, place in self._reader.walk():
            looks = self._signature(frame)
            if kept is None or place.seconds - last >= step or difference(kept, looks) >= CUT:
                self.probes.add(place, looks)
                last, kept = place.seconds, looks
            end = place.seconds
            if self._reader.decoded >= self._budget:
                break
        return end

    def _signature(self, frame: DecodedFrame) -> Signature:
        return signature(self._scaler.thumb(frame))
