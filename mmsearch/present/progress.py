"""How far a long run has got: `Progress` values -> a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from mmsearch.present.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mmsearch.types import Progress

__all__ = ["BarProgress", "LineProgress", "ProgressDisplay", "Rate", "duration_text", "progress_display"]

_TITLES = {
    "scan": "Looking for files",
    "tokens": "Making tokens",
    "embed": "Embedding",
    "save": "Saving the index",
    "look": "Looking at pictures",
    "read": "Reading captions",
    "train": "Training",
}
# Seconds between two lines where there is no terminal: often at first, then less and less.
_FIRST_LINE_S, _LINE_EVERY_S = 2.0, 15.0
# The rate is that of the last seconds, so that it follows a run that speeds up or slows down. Training stands still now
# and then to measure itself, so its rate is that of the last minutes.
_WINDOW_S, _TRAINING_WINDOW_S = 20.0, 600.0


class ProgressDisplay(Protocol):
    """Shows progress for as long as it is entered."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing and leave the stream as it was."""

    def __call__(self, progress: Progress) -> None:
        """Show how far the run has got."""


class Rate:
    """Files a second over the last seconds, and the time that is left at that rate."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, progress: Progress) -> tuple[float, float | None]:
        """Take in a value; returns files a second and the seconds that are left, None where nobody can say."""
        if self._seen and progress.done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((progress.elapsed_s, progress.done))
        window = _TRAINING_WINDOW_S if progress.stage == "train" else _WINDOW_S
        while len(self._seen) > 2 and progress.elapsed_s - self._seen[1][0] >= window:
            self._seen.popleft()
        then, done = self._seen[0] if len(self._seen) > 1 else (0.0, 0)
        seconds, files = progress.elapsed_s - then, progress.done - done
        rate = files / seconds if seconds > 0 else 0.0
        if progress.total is None or rate <= 0:
            return rate, None
        return rate, max(0, progress.total - progress.done) / rate


class LineProgress:
    """Writes a plain line now and then: for logs and pipes."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._stage = ""
        self._rate = Rate()
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        """Write a line if it is time for one, by the run's own clock."""
        if progress.stage != self._stage:
            self._stage, self._rate, self._next_line_s = progress.stage, Rate(), _FIRST_LINE_S
        rate, left = self._rate.update(progress)
        if progress.elapsed_s < self._next_line_s:
            return
        self._next_line_s = max(progress.elapsed_s * 1.5, progress.elapsed_s + _FIRST_LINE_S)
        self._next_line_s = min(self._next_line_s, progress.elapsed_s + _LINE_EVERY_S)
        self._stream.write(f"{_TITLES[progress.stage]}: {_counts(progress)}{_pace(rate, left)}{_note(progress)}\n")
        self._stream.flush()


class BarProgress:
    """Draws a bar that stays on one line: for terminals."""

    def __init__(self, stream: IO[str], terminal: Terminal) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        console = Console(
            file=stream,
            force_terminal=True,
            width=terminal.columns,
            color_system="standard" if terminal.colour else None,
            highlight=False,
            emoji=False,
            markup=False,
        )
        self._bar = Progress(
            SpinnerColumn("dots" if terminal.unicode else "line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[counts]}", markup=False),
            console=console,
            expand=True,
            transient=True,
            refresh_per_second=5,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._rate = Rate()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Move the bar; it is drawn by its own clock."""
        if progress.stage != self._stage or self._task is None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._stage, self._rate = progress.stage, Rate()
            self._task = self._bar.add_task(_TITLES[progress.stage], total=None, counts="")
        rate, left = self._rate.update(progress)
        fields: dict[str, Any] = {"counts": f"{_counts(progress)}{_pace(rate, left)}{_note(progress)}"}
        self._bar.update(self._task, completed=progress.done, total=progress.total, **fields)


def progress_display(stream: IO[str], terminal: Terminal) -> ProgressDisplay:
    """The display that suits a stream: a bar where a person looks at it, lines elsewhere."""
    return BarProgress(stream, terminal) if terminal.interactive else LineProgress(stream)


def _counts(progress: Progress) -> str:
    if progress.total is None:
        return f"{progress.done:,}"
    return f"{progress.done:,} of {progress.total:,}"


def _note(progress: Progress) -> str:
    return f"  {progress.note}" if progress.note else ""


def _pace(rate: float, left: float | None) -> str:
    if rate <= 0:
        return ""
    pace = f"  {rate:,.0f}/s" if rate >= 10 else f"  {rate:.1f}/s"
    return pace if left is None else f"{pace}  {duration_text(left)} left"


def duration_text(seconds: float) -> str:
    """A time span as people say it: ``4 s``, ``2 min 05 s``, ``1 h 20 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"
