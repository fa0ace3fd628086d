from __future__ import annotations

from indexer.reporter import Reporter
from mmsearch.types import Progress


def test_the_first_and_the_last_event_of_a_stage_are_always_passed_on() -> None:
    events: list[Progress] = []
    reporter = Reporter(events.append)
    reporter.begin("embed", 1000)
    for done in range(1, 1001):
        reporter.advance(done)
    assert (events[0].done, events[-1].done, events[-1].total) == (0, 1000, 1000)
    # A thousand steps take far less than the time in which ten reports are due.
    assert len(events) < 50


def test_a_stage_of_unknown_length_ends_with_its_length() -> None:
    events: list[Progress] = []
    reporter = Reporter(events.append)
    reporter.begin("scan", None)
    reporter.advance(3)
    reporter.end(7)
    assert [(event.stage, event.total) for event in events] == [("scan", None), ("scan", 7)]
    assert events[1].elapsed_s >= 0


def test_without_a_listener_nothing_happens() -> None:
    reporter = Reporter(None)
    reporter.begin("scan", None)
    reporter.advance(1)
    reporter.end(1)
