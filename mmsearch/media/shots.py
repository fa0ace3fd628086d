"""Small copies of a video's frames -> its shots, and which frames stand for each; NumPy alone.

Frames are compared by the histograms of their colours, which hardly notice motion (Zhang, Kankanhalli and Smoliar,
1993), and by what is where in them, which notices two scenes of the same colours. Frames seconds apart are compared as
well as neighbours, so that fades are noticed; a shot is any stretch that looks alike, cut or not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CUT", "NEW", "SAME", "Shot", "Signature", "choose", "difference", "find_shots", "signature"]

CUT = 0.3
"""Difference from which two frames belong to two shots; 98 of 100 pairs of unrelated photographs differ more."""

NEW = 0.1
"""Difference from which another frame of a shot shows something else."""

SAME = 0.03
"""Difference up to which a frame repeats another."""

_DARK = 32
_BLURRED = 0.25  # of the sharpness of another frame near by
_ALIKE = 0.15  # which must be as like as that
_NEAR = 3  # and no farther away in number
_NEW_SPACING = 4  # a gap holds at most so many frames
_BINS = 16
_CELLS = 16
_SPREAD = 3.0  # how much a mean difference of pixels counts beside one of histograms
_MIN_SHOT_SECONDS = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What is kept of a frame to compare it with others.

    Attributes:
        colours: (3, 16) float32 histograms of brightness and of two colour differences; each adds up to 1.
        cells: (16, 16, 3) float32 mean colours, 0 to 1.
        brightest: Brightness, 0 to 255, that one pixel in a hundred exceeds.
        sharpness: Variance of the Laplacian of the brightness; comparable between frames of one scene alone.
    """

    colours: NDArray[np.float32]
    cells: NDArray[np.float32]
    brightest: float
    sharpness: float

    @property
    def dark(self) -> bool:
        """Whether there is nothing to be seen."""
        return self.brightest < _DARK


@dataclass(frozen=True, slots=True)
class Shot:
    """A stretch of a video that looks alike.

    Attributes:
        start, end: Seconds.
        first, last: Indexes of its frames among all that were looked at; `last` is exclusive.
    """

    start: float
    end: float
    first: int
    last: int


def signature(thumb: NDArray[np.uint8]) -> Signature:
    """Describe a frame by its (s, s, 3) uint8 copy, s a multiple of 16."""
    pixels = thumb.astype(np.float32)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = (grey, (red - green) / 2 + 128, (red + green) / 4 - blue / 2 + 128)
    step = thumb.shape[0] // _CELLS
    cells = pixels.reshape(_CELLS, step, _CELLS, step, 3).mean(axis=(1, 3)) / 255
    laplacian = grey[1:-1, 1:-1] * 4 - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return Signature(
        colours=np.stack([_histogram(plane) for plane in planes]),
        cells=cells.astype(np.float32),
        brightest=float(np.quantile(grey, 0.99)),
        sharpness=float(laplacian.var()),
    )


def difference(one: Signature, other: Signature) -> float:
    """How different two frames look: 0 for the same, 1 for nothing in common."""
    colours = float(np.abs(one.colours - other.colours).sum()) / (2 * len(one.colours))
    places = float(np.abs(one.cells - other.cells).mean())
    return (colours + min(1.0, _SPREAD * places)) / 2


def find_shots(times: Sequence[float], signatures: Sequence[Signature], end: float) -> list[Shot]:
    """Divide a video where neighbouring frames differ by `CUT` or more.

    A border is put at the later frame: encoders begin a key frame at a cut. What lasts less than a quarter of a second
    (a flash) is no shot of its own.

    Args:
        times: (n,) seconds, rising.
        signatures: (n,) of the frames then.
        end: Seconds at which the video ends.

    Returns:
        Shots without holes, from 0 to `end`.
    """
    starts = [0]
    for at in range(1, len(times)):
        if difference(signatures[at - 1], signatures[at]) >= CUT:
            starts.append(at)
    kept, flashed = [0], False
    for place, at in enumerate(starts[1:], 1):
        until = times[starts[place + 1]] if place + 1 < len(starts) else max(end, times[-1])
        if until - times[at] < _MIN_SHOT_SECONDS:
            flashed = True
        elif not flashed or difference(signatures[starts[place - 1] - 1], signatures[at]) >= CUT:
            kept.append(at)
            flashed = False
    borders = [*kept, len(times)]
    shots = []
    for first, last in itertools.pairwise(borders):
        start = 0.0 if first == 0 else times[first]
        shots.append(Shot(start, times[last] if last < len(times) else max(end, times[-1]), first, last))
    return shots


def choose(
    times: Sequence[float], signatures: Sequence[Signature], shots: Sequence[Shot], *, gap: float, count: int
) -> list[tuple[int, int]]:
    """Choose the frames that stand for a video.

    A shot is divided into equal parts no longer than `gap`, and each gives the frame nearest to its middle that is
    neither dark nor blurred (much less sharp than one near by that looks like it) nor a repetition of the one before in
    the shot. Others of the shot are added that differ by `NEW` from all of it so far, a quarter of `gap` apart. Where
    that makes too many, those whose neighbours lie closest are left out, the only one of a shot last.

    Args:
        times: (n,) seconds, rising.
        signatures: (n,) of the frames then.
        shots: Their shots.
        gap: Seconds.
        count: How many at most.

    Returns:
        (index of the frame, index of its shot), in the order of time; one at least where there are frames at all.
    """
    chosen: list[tuple[int, int]] = []
    for number, shot in enumerate(shots):
        good = [at for at in range(shot.first, shot.last) if _worth_showing(at, shot, signatures)]
        parts = max(1, math.ceil((shot.end - shot.start) / gap - 1e-6))
        own: list[int] = []
        for part in range(parts):
            low, high = (shot.start + (shot.end - shot.start) * at / parts for at in (part, part + 1))
            inside = [at for at in good if low <= times[at] < high]
            if not inside:
                continue
            best = min(inside, key=lambda at: abs(times[at] - (low + high) / 2))
            if not own or difference(signatures[own[-1]], signatures[best]) > SAME:
                own.append(best)
        own.extend(_news(good, own, times, signatures, gap / _NEW_SPACING))
        chosen.extend((at, number) for at in sorted(own))
    if not chosen and times:
        best = max(range(len(times)), key=lambda at: (signatures[at].brightest, signatures[at].sharpness))
        chosen = [(best, next(number for number, shot in enumerate(shots) if shot.first <= best < shot.last))]
    return _thin(chosen, times, count)


def _worth_showing(at: int, shot: Shot, signatures: Sequence[Signature]) -> bool:
    looks = signatures[at]
    near = signatures[max(shot.first, at - _NEAR) : min(shot.last, at + _NEAR + 1)]
    blurred = any(looks.sharpness < _BLURRED * other.sharpness and difference(looks, other) < _ALIKE for other in near)
    return not looks.dark and not blurred


def _news(
    good: list[int], own: list[int], times: Sequence[float], signatures: Sequence[Signature], spacing: float
) -> list[int]:
    added: list[int] = []
    for at in good:
        shown = own + added
        if all(abs(times[at] - times[other]) >= spacing for other in shown) and all(
            difference(signatures[at], signatures[other]) >= NEW for other in shown
        ):
            added.append(at)
    return added


def _thin(chosen: list[tuple[int, int]], times: Sequence[float], count: int) -> list[tuple[int, int]]:
    if len(chosen) > count == 1:
        return [chosen[len(chosen) // 2]]
    while len(chosen) > count:
        when = np.array([times[at] for at, _ in chosen])
        shot = np.array([-1, *(number for _, number in chosen), -1])
        alone = (shot[1:-1] != shot[:-2]) & (shot[1:-1] != shot[2:])
        costs = (when[2:] - when[:-2]) * np.where(alone[1:-1], 4.0, 1.0)
        del chosen[1 + int(np.argmin(costs)) if costs.size else 1]
    return chosen


def _histogram(values: NDArray[Any]) -> NDArray[np.float32]:
    """(h, w) values, 0 to 255 -> (16,); each value is shared by the two nearest bins, so that none jumps."""
    place = values.ravel() * ((_BINS - 1) / 255)
    lower = np.minimum(place.astype(np.intp), _BINS - 2)
    share = place - lower
    counts = np.bincount(lower, 1 - share, _BINS) + np.bincount(lower + 1, share, _BINS)
    return (counts / values.size).astype(np.float32)
