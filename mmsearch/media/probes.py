"""A video stream -> the times and looks of enough of its frames to find its shots, for a bounded cost."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmsearch.media.frame_images import FrameScaler
from mmsearch.media.frames import FrameReader, Place
from mmsearch.media.shots import CUT, NEW, Signature, difference, signature

if TYPE_CHECKING:
    from collections.abc import Callable

    from av.video.frame import VideoFrame as DecodedFrame
    from PIL import Image

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
_OPEN_SECONDS = 1.0  # key frames nearer to each other than this hide nothing that matters
_CUT_OF_KEY, _CUT_OF_OTHERS = 0.2, 4.0
_AFTER_CUT = 10  # frames behind the last cut that are looked at, where it is not blurred any more
_STRIDE = 3  # of three frames around cuts one is compared, which costs more than decoding a small one
_MAX_PICTURES = 128


@dataclass(slots=True)
class Probes:
    """Frames that were looked at, in the order of time.

    Attributes:
        times: (n,) seconds.
        places: (n,) where to find them again.
        signatures: (n,) what they look like.
        pictures: Those that would be slow to decode again, by their place, as far as memory allows.
        end: Seconds at which the video ends; earlier than it claims where it breaks off.
    """

    times: list[float] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)
    pictures: dict[Place, Image.Image] = field(default_factory=dict)
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
    reader: FrameReader,
    scaler: FrameScaler,
    seconds: float,
    *,
    frames_a_second: float,
    gap: float,
    count: int,
    picture: Callable[[DecodedFrame], Image.Image] | None = None,
) -> Probes:
    """Look at key frames on a grid, between those that differ, and at others where key frames are too rare.

    Most encoders begin a key frame at a cut; where one does not, the cut shows in the size of its packet, and the
    frames around it are decoded too.

    Args:
        reader: The video.
        scaler: What makes its frames small.
        seconds: Its length.
        frames_a_second: Its frame rate, on average.
        gap: Seconds after which another frame is wanted.
        count: How many frames are wanted at most; bounds the cost.
        picture: Makes a frame what is wanted of it, to keep pictures that would be slow to decode again.
    """
    search = _Search(reader, scaler, picture, budget=reader.decoded + count * WALK_FACTOR + _SHORT_FRAMES)
    short = seconds * frames_a_second <= _SHORT_FRAMES
    step = max(min(_MIN_STEP, gap / 2), seconds / (_GRID * count))
    search.sweep(seconds, step, reach=min(gap, _SHORT_REACH, seconds / _SHORT_PARTS) if short else max(gap, step))
    search.refine(_GRID * count)
    search.open(step, everywhere=len(search.probes.times) <= count)
    return search.probes


def _last_cut(sizes: list[int]) -> int:
    """The last packet after a key frame that is so large that it owes little to the pictures before it; 0 for none."""
    others = sizes[1:]
    large = sorted(others)[len(others) * 9 // 10] if others else 0  # one in ten is larger
    least = max(_CUT_OF_KEY * sizes[0], _CUT_OF_OTHERS * large)
    return max((at for at, size in enumerate(others, 1) if size >= least), default=0)


class _Search:
    def __init__(
        self,
        reader: FrameReader,
        scaler: FrameScaler,
        picture: Callable[[DecodedFrame], Image.Image] | None,
        budget: int,
    ) -> None:
        self.probes = Probes()
        self._picture = picture
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

    def open(self, step: float, *, everywhere: bool) -> None:
        """Walk from key frames after which packets tell of a cut before the next one.

        Args:
            step: Seconds between frames that are kept.
            everywhere: Ask the packets also where the frames on both sides look alike.
        """
        probes = self.probes
        for place in list(probes.places):
            time = place.seconds
            here = bisect_left(probes.times, time)
            last = here + 1 == len(probes.times)
            until = probes.end if last else probes.times[here + 1]
            if not place.alone or until - time < _OPEN_SECONDS or self._reader.decoded >= self._budget:
                continue
            alike = last or difference(probes.signatures[here], probes.signatures[here + 1]) < NEW
            if (alike and not everywhere) or self._reader.find_key(time) != time:
                continue
            cut = _last_cut(self._reader.sizes())
            if cut and self._reader.find_key(time) == time:
                self._walk(step, cut + _AFTER_CUT)

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

    def _walk(self, step: float, most: int | None = None) -> float:
        """Decode up to the next key frame, or so many frames; one is kept every `step` seconds and at each change."""
        end, last, kept = 0.0, -1.0, None
        for number, (frame, place) in enumerate(self._reader.walk()):
            end = place.seconds
            if self._reader.decoded >= self._budget or number == most:
                break
            if most is not None and number % _STRIDE:
                continue
            looks = self._signature(frame)
            if kept is None or place.seconds - last >= step or difference(kept, looks) >= CUT:
                self.probes.add(place, looks)
                if self._picture is not None and len(self.probes.pictures) < _MAX_PICTURES:
                    self.probes.pictures[place] = self._picture(frame)
                last, kept = place.seconds, looks
        return end

    def _signature(self, frame: DecodedFrame) -> Signature:
        return signature(self._scaler.thumb(frame))
