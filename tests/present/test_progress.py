from __future__ import annotations

import io
from dataclasses import replace

from mmsearch.present.progress import BarProgress, LineProgress, Rate, duration_text, progress_display
from mmsearch.types import Progress
from tests.present.samples import PIPE, SCREEN


def embed(done: int, elapsed_s: float, total: int | None = 1000) -> Progress:
    return Progress("embed", done, total, elapsed_s)


def test_elsewhere_than_on_a_terminal_lines_come_at_intervals() -> None:
    stream = io.StringIO()
    with progress_display(stream, PIPE) as display:
        for second in range(101):
            display(embed(10 * second, float(second)))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Embedding: 20 of 1,000  10/s  1 min 38 s left"
    assert 5 < len(lines) < 20
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_a_short_run_writes_no_line_at_all() -> None:
    stream = io.StringIO()
    with LineProgress(stream) as display:
        display(embed(1000, 0.5))
    assert stream.getvalue() == ""


def test_training_that_stands_still_to_measure_itself_keeps_its_pace_and_says_its_loss() -> None:
    stream = io.StringIO()
    with LineProgress(stream) as display:
        for step in range(1, 101):
            display(Progress("train", step, 200, float(step), "loss 2.500"))
        display(Progress("train", 101, 200, 126.0, "loss 2.400"))
    assert stream.getvalue().splitlines()[-1] == "Training: 101 of 200  0.8/s  2 min 04 s left  loss 2.400"


def test_where_the_total_is_unknown_nothing_is_promised() -> None:
    stream = io.StringIO()
    with LineProgress(stream) as display:
        display(Progress("scan", 0, None, 0.0))
        display(Progress("scan", 5000, None, 2.5))
    assert stream.getvalue() == "Looking for files: 5,000  2,000/s\n"


def test_each_stage_has_its_own_clock() -> None:
    stream = io.StringIO()
    with LineProgress(stream) as display:
        display(embed(1000, 100.0))
        display(Progress("save", 1, 2, 0.1))
        display(Progress("save", 2, 2, 3.0))
    assert [line.split(":")[0] for line in stream.getvalue().splitlines()] == ["Embedding", "Saving the index"]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    for second in range(100):
        rate.update(embed(second, float(second), total=10_000))
    for second in range(100, 160):
        speed, left = rate.update(embed(100 + 50 * (second - 100), float(second), total=10_000))
    assert speed == 50
    assert left == (10_000 - 3050) / 50


def test_time_left_is_never_negative_and_nothing_is_divided_by_zero() -> None:
    rate = Rate()
    assert rate.update(embed(0, 0.0)) == (0.0, None)
    assert rate.update(embed(10, 0.0)) == (0.0, None)
    assert rate.update(embed(1010, 1.0)) == (1010.0, 0.0)


def test_the_bar_shows_counts_rate_and_time_left_and_cleans_up() -> None:
    stream = io.StringIO()
    terminal = replace(SCREEN, columns=100)
    with BarProgress(stream, terminal) as display:
        display(Progress("scan", 10, None, 0.1))
        display(embed(0, 0.0))
        display(embed(500, 5.0))
    text = stream.getvalue()
    assert "Embedding" in text
    assert "500 of 1,000  100/s  5 s left" in text
    assert "\n\n" not in text
    assert text.rstrip("\n").endswith("\x1b[2K")  # the line is wiped


def test_without_colour_the_bar_has_none() -> None:
    stream = io.StringIO()
    with progress_display(stream, replace(SCREEN, colour=False)) as display:
        display(embed(500, 5.0))
    assert "\x1b[3" not in stream.getvalue()


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration_text(seconds) for seconds in (0.4, 59.4, 60, 125, 3600, 5000)] == [
        "0 s", "59 s", "1 min 00 s", "2 min 05 s", "1 h 00 min", "1 h 23 min",
    ]  # fmt: skip
