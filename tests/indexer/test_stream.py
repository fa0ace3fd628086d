"""Long files are decoded ahead on few threads: within bounds, in order, and without ever waiting for each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer import stream as module
from indexer.prepared import PreparedSegment, Reading
from indexer.stream import Room, Stream
from mmsearch.errors import EncoderError, MediaError
from mmsearch.types import MediaInfo, Modality


class Source:
    """Readings that count what is decoded, and whether they were closed."""

    def __init__(self) -> None:
        self.decoded = 0
        self.most_open = 0
        self.open = 0
        self._lock = threading.Lock()

    def reading(self, count: int, error: BaseException | None = None) -> Reading:
        return Reading(MediaInfo(), self._segments(count, error))

    def _segments(self, count: int, error: BaseException | None) -> Iterator[PreparedSegment]:
        with self._lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            for number in range(count):
                with self._lock:
                    self.decoded += 1
                yield PreparedSegment(Modality.TEXT, text=f"{number}")
            if error is not None:
                raise error
        finally:
            with self._lock:
                self.open -= 1


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def _texts(stream: Stream) -> list[str | None]:
    return [segment.text for segment in stream]


def test_segments_come_in_order_and_all_of_them(pool: ThreadPoolExecutor) -> None:
    stream = Stream(Source().reading(1000), pool.submit, Room())
    assert _texts(stream) == [f"{number}" for number in range(1000)]
    assert stream.reason is None


def test_many_streams_share_one_thread_whatever_is_taken_first(pool: ThreadPoolExecutor) -> None:
    source, room = Source(), Room()
    streams = [Stream(source.reading(100), pool.submit, room) for _ in range(60)]
    for stream in streams:
        stream.start()
    # The last is the one for which there never was room.
    for stream in reversed(streams):
        assert len(_texts(stream)) == 100
    assert source.open == 0


def test_few_files_are_open_at_once_however_many_are_begun(pool: ThreadPoolExecutor) -> None:
    source, room = Source(), Room()
    release = threading.Event()
    pool.submit(release.wait)  # all streams ask before the first of them is served
    streams = [Stream(source.reading(100), pool.submit, room) for _ in range(100)]
    for stream in streams:
        stream.start()
    release.set()
    pool.submit(lambda: None).result()
    assert source.decoded <= module._ROOM and source.most_open <= module._ROOM // module._STEP
    for stream in streams:
        _texts(stream)
    assert source.decoded == 100 * 100
    assert source.most_open <= module._ROOM // module._STEP + 1


class Steps:
    """Runs steps one at a time when it is told to, in the place of a pool of threads."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, step: Callable[[], None]) -> None:
        self.waiting.append(step)

    def run(self, which: int) -> None:
        if self.waiting:
            self.waiting.pop(which % len(self.waiting))()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=25),
    st.lists(st.integers(0, 100), max_size=60),
    st.integers(16, 80),
)
def test_no_more_is_held_than_there_is_room_for(lengths: list[int], moves: list[int], room_for: int) -> None:
    source, room, steps = Source(), Room(room_for), Steps()
    streams = [Stream(source.reading(length), steps.submit, room) for length in lengths]
    taken = 0
    for stream in streams:
        stream.start()
    for which in moves:
        steps.run(which)
        assert source.decoded <= room_for
    for length, stream in zip(lengths, streams, strict=True):
        found = iter(stream)
        for number in range(length):
            while not stream._ready:  # what a thread would do while the consumer waits
                stream.start()
                steps.run(moves[number % len(moves)] if moves else 0)
            assert next(found).text == f"{number}"
            taken += 1
            steps.run(0) if number % 3 else None
            assert source.decoded - taken <= room_for + module._HELD
        while not stream._ended:
            steps.run(0)
        assert list(found) == []
    assert taken == sum(lengths) and source.open == 0
    assert room._free == room_for


def test_a_stream_that_is_not_wanted_any_more_is_closed_and_leaves_its_room(pool: ThreadPoolExecutor) -> None:
    source, room = Source(), Room(32)
    stream = Stream(source.reading(10_000), pool.submit, room)
    found = iter(stream)
    for _ in range(5):
        next(found)
    stream.close()
    other = Stream(source.reading(100), pool.submit, room)
    other.start()
    assert len(_texts(other)) == 100
    assert source.open == 0 and room._free == 32
    assert list(found) == []


def test_closing_while_a_step_runs_leaves_closing_to_its_thread(pool: ThreadPoolExecutor) -> None:
    reached, go_on = threading.Event(), threading.Event()
    closed: list[str] = []

    def slow() -> Iterator[PreparedSegment]:
        try:
            yield PreparedSegment(Modality.TEXT, text="first")
            reached.set()
            go_on.wait()
            yield PreparedSegment(Modality.TEXT, text="second")
        finally:
            closed.append(threading.current_thread().name)

    room = Room(32)
    stream = Stream(Reading(MediaInfo(), slow()), pool.submit, room)
    stream.start()
    reached.wait()
    stream.close()
    assert closed == []
    go_on.set()
    pool.submit(lambda: None).result()
    assert len(closed) == 1 and closed[0] != threading.current_thread().name
    assert room._free == 32 and list(stream) == []


def test_a_closed_room_ends_all_streams_before_their_next_segment(pool: ThreadPoolExecutor) -> None:
    source, room = Source(), Room()
    release = threading.Event()
    pool.submit(release.wait)
    streams = [Stream(source.reading(10_000), pool.submit, room) for _ in range(5)]
    for stream in streams:
        stream.start()
    room.close()
    release.set()
    for stream in streams:
        assert _texts(stream) == []


def test_damage_after_some_segments_is_a_reason_beside_them(pool: ThreadPoolExecutor) -> None:
    stream = Stream(Source().reading(20, MediaError(None, "cut off")), pool.submit, Room())
    assert len(_texts(stream)) == 20 and stream.reason == "cut off"


def test_damage_before_any_segment_is_a_reason_alone(pool: ThreadPoolExecutor) -> None:
    stream = Stream(Source().reading(0, MediaError(None, "no sound in it")), pool.submit, Room())
    assert _texts(stream) == [] and stream.reason == "no sound in it"
    assert _texts(stream) == [] and stream.reason == "no sound in it"


def test_want_of_memory_is_a_reason_too(pool: ThreadPoolExecutor) -> None:
    stream = Stream(Source().reading(3, MemoryError()), pool.submit, Room())
    assert len(_texts(stream)) == 3 and stream.reason == "not enough memory to decode it"


@pytest.mark.parametrize("error", [EncoderError("out of luck"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_any_other_error_reaches_the_consumer_after_what_came_before(
    pool: ThreadPoolExecutor, error: BaseException
) -> None:
    stream = Stream(Source().reading(5, error), pool.submit, Room())
    got: list[str | None] = []
    with pytest.raises(type(error)):
        for segment in stream:
            got.append(segment.text)
    assert len(got) == 5


def test_threads_that_were_shut_down_end_the_stream() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    assert _texts(Stream(Source().reading(100), pool.submit, Room())) == []
