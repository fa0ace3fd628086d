from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from indexer.interruption import Interruption
from mmsearch.types import IndexSummary, Progress
from tests.indexer.shelf import Shelf, counts, put

PICTURES = 40
BATCH = 8


@pytest.fixture
def full(photos: Path) -> Path:
    """A folder with five batches of pictures."""
    for number in range(PICTURES):
        put(photos / f"{number:02}.png", number)
    return photos


def _interrupt_in_batch(shelf: Shelf, batch: int, times: int = 1) -> None:
    def interrupt(number: int) -> None:
        if number == batch:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    shelf.encoder.before_batch = interrupt


def test_ctrl_c_stores_the_batch_in_flight_and_ends_the_run(shelf: Shelf, full: Path) -> None:
    _interrupt_in_batch(shelf, 1)
    summary = shelf.sync(full)
    assert summary.interrupted
    assert counts(summary) == {"new": 2 * BATCH, "embedded": 2 * BATCH}
    assert len(shelf.vectors()) == 2 * BATCH


def test_the_next_run_goes_on_where_the_last_one_stopped(shelf: Shelf, full: Path, tmp_path: Path) -> None:
    _interrupt_in_batch(shelf, 2)
    shelf.sync(full)
    shelf.encoder.before_batch = lambda number: None
    summary = shelf.sync(full)
    assert not summary.interrupted
    assert counts(summary) == {"new": 2 * BATCH, "unchanged": 3 * BATCH, "embedded": 2 * BATCH}
    uninterrupted = Shelf(tmp_path / "uninterrupted")
    uninterrupted.sync(full)
    assert shelf.vectors() == uninterrupted.vectors()
    assert sum(shelf.encoder.batches) == PICTURES


def test_a_second_ctrl_c_ends_the_run_at_once(shelf: Shelf, full: Path) -> None:
    _interrupt_in_batch(shelf, 1, times=2)
    with pytest.raises(KeyboardInterrupt):
        shelf.sync(full)
    assert len(shelf.vectors()) == BATCH
    shelf.encoder.before_batch = lambda number: None
    assert counts(shelf.sync(full)) == {"new": 4 * BATCH, "unchanged": BATCH, "embedded": 4 * BATCH}


def test_the_handler_of_ctrl_c_is_put_back(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_handler_of_the_caller_is_left_alone() -> None:
    def mine(number: int, frame: object) -> None:
        """Do nothing."""

    before = signal.signal(signal.SIGINT, mine)
    try:
        with Interruption():
            assert signal.getsignal(signal.SIGINT) is mine
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("stage", ["scan", "embed"])
def test_an_interrupt_out_of_the_callers_code_ends_the_run_well(shelf: Shelf, full: Path, stage: str) -> None:
    put(full / "gone.png", 99)
    shelf.sync(full / "gone.png")
    (full / "gone.png").unlink()

    interrupts = [KeyboardInterrupt]

    def interrupt(event: Progress) -> None:
        if event.stage == stage and interrupts:
            raise interrupts.pop()

    summary = shelf.sync(full, progress=interrupt)
    assert summary.interrupted
    assert summary.removed == 0
    assert shelf.names(full) >= {"gone.png"}
    assert counts(shelf.sync(full))["removed"] == 1


def test_an_interrupted_scan_takes_nothing_for_deleted(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    for number in range(5):
        (full / f"{number:02}.png").unlink()

    def interrupt(event: Progress) -> None:
        if event.stage == "scan":
            signal.raise_signal(signal.SIGINT)

    summary = shelf.sync(full, progress=interrupt)
    assert (summary.interrupted, summary.removed, summary.kept) == (True, 0, 0)
    assert len(shelf.vectors()) == PICTURES


def test_what_needs_no_encoder_is_stored_when_a_run_is_interrupted(shelf: Shelf, full: Path) -> None:
    shelf.sync(full)
    for number in range(10):
        (full / f"{number:02}.png").rename(full / f"a{number:02}.png")
    for number in range(100, 130):
        put(full / f"b{number}.png", number)
    _interrupt_in_batch(shelf, len(shelf.encoder.batches))
    summary = shelf.sync(full)
    assert (summary.interrupted, summary.moved, summary.new) == (True, 10, BATCH)
    assert {f"a{number:02}.png" for number in range(10)} <= shelf.names(full)


def test_a_run_in_another_thread_goes_without_a_handler(shelf: Shelf, full: Path) -> None:
    summaries: list[IndexSummary] = []
    thread = threading.Thread(target=lambda: summaries.append(shelf.sync(full)))
    thread.start()
    thread.join()
    assert summaries[0].new == PICTURES
