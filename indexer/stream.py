"""The segments of one long file, decoded on the loader's threads a little ahead of the loop that embeds them.

No thread ever waits in here: a step decodes a few segments and, while there is room, asks for another step; where there
is none, the consumer asks for it when it has made some. So any number of files may be read ahead on few threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mmsearch.errors import MediaError

if TYPE_CHECKING:
    from indexer.prepared import PreparedSegment, Reading

__all__ = ["Room", "Stream"]

# What is held of each file, and what a thread decodes before it turns to other files.
_HELD = 48
_STEP = 16
_ROOM = 192


class Room:
    """How many decoded segments all streams together may hold, beside those of the one that is being consumed.

    Room is taken before a step, for all that it may decode, and what it did not need is given back: however many
    streams ask at the same time, they do not hold more.
    """

    def __init__(self, segments: int = _ROOM) -> None:
        self._free = segments
        self._lock = threading.Lock()
        self._waiting: deque[Stream] = deque()
        self.closed = False

    def take(self, stream: Stream, *, always: bool = False) -> bool:
        """Take room for a step of a stream.

        Args:
            stream: Woken when there is room, if there is none now.
            always: Take it in any case: the stream is being consumed.
        """
        with self._lock:
            if not always and self._free < _STEP:
                self._waiting.append(stream)
                return False
            self._free -= _STEP
            return True

    def give(self, segments: int) -> None:
        """So many are held no more."""
        while True:
            with self._lock:
                self._free, segments = self._free + segments, 0
                woken = self._waiting.popleft() if self._free >= _STEP and self._waiting else None
            if woken is None:
                return
            # One that does not need the room any more leaves it to the next.
            woken.start()

    def close(self) -> None:
        """Let all streams end before their next segment."""
        self.closed = True


class Stream:
    """Hands out the segments of a reading in order; iterate over it once, from one thread.

    Args:
        reading: What to decode.
        submit: Runs a step on a thread, soon.
        room: Shared by all streams.

    Attributes:
        reason: Why decoding ended early, known when the iteration is over; None where all is well.
    """

    def __init__(self, reading: Reading, submit: Callable[[Callable[[], None]], object], room: Room) -> None:
        self.reading = reading
        self.reason: str | None = None
        self._segments = iter(reading.segments)
        self._submit = submit
        self._room = room
        self._consumed = False
        self._ready: deque[PreparedSegment] = deque()
        self._changed = threading.Condition()
        self._working = self._ended = self._closed = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Begin to decode."""
        with self._changed:
            self._ask()

    def __iter__(self) -> Iterator[PreparedSegment]:
        self._consumed = True
        self.start()
        while True:
            with self._changed:
                while not (self._ready or self._ended):
                    self._changed.wait()
                if not self._ready:
                    if self._error is not None:
                        raise self._error
                    return
                segment = self._ready.popleft()
                self._ask()
            self._room.give(1)
            yield segment

    def close(self) -> None:
        """Decode no more; what is open is closed, by the thread that works on it if there is one."""
        with self._changed:
            self._closed = True
            held = len(self._ready)
            self._ready.clear()
            if not self._working:
                self._end()
        self._room.give(held)

    def _ask(self) -> None:
        """Ask for a step, unless one is under way or there is nothing to do; under the lock."""
        if self._working or self._ended or self._closed or len(self._ready) > _HELD - _STEP:
            return
        if not self._room.take(self, always=self._consumed):
            return
        self._working = True
        try:
            self._submit(self._step)
        except RuntimeError:  # the threads have been shut down
            self._working = False
            self._end()

    def _step(self) -> None:
        unused = _STEP
        ended = False
        reason: str | None = None
        problem: BaseException | None = None
        while unused and not (ended or self._closed or self._room.closed):
            try:
                segment = next(self._segments)
            except StopIteration:
                ended = True
            except MediaError as error:
                reason, ended = error.reason, True
            except MemoryError:
                reason, ended = "not enough memory to decode it", True
            except BaseException as error:
                problem, ended = error, True
            else:
                with self._changed:
                    if not self._closed:
                        unused -= 1
                        self._ready.append(segment)
                        self._changed.notify()
        with self._changed:
            self._working = False
            self.reason, self._error = reason, problem
            if ended or self._closed or self._room.closed:
                self._end()
            else:
                self._ask()
        if unused:
            self._room.give(unused)

    def _end(self) -> None:
        """Under the lock."""
        self._ended = True
        close = getattr(self._segments, "close", None)
        if close is not None:
            close()
        self._changed.notify_all()
