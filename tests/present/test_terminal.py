from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from typing import IO, Any

import pytest

from mmsearch.present.terminal import Terminal, describe

XTERM = {"TERM": "xterm-256color"}


@pytest.fixture
def screen() -> Iterator[IO[Any]]:
    """A stream to a real pseudo-terminal of 100 x 30 cells, 9 x 18 pixels each."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 900, 540))
    with open(slave, "w", encoding="utf-8") as stream:
        yield stream
    os.close(master)


def test_a_pipe_gets_neither_colour_nor_pictures() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    assert describe(stream, {"TERM": "xterm-kitty", "COLORTERM": "truecolor"}) == Terminal(unicode=True)


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert not describe(stream, XTERM).interactive


def test_the_size_comes_from_the_terminal(screen: IO[Any]) -> None:
    found = describe(screen, XTERM)
    assert (found.columns, found.lines, found.cell) == (100, 30, (9, 18))
    assert describe(screen, XTERM | {"COLUMNS": "60"}).columns == 60


@pytest.mark.parametrize(
    ("environment", "graphics"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app", "COLORTERM": "truecolor"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "mlterm"}, "sixel"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "xterm-direct"}, "blocks"),
        ({"TERM": "xterm-256color"}, "blocks256"),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}, "blocks"),
        ({"TERM": "vt100"}, None),
        ({"TERM": "xterm-kitty", "MMSEARCH_PREVIEWS": "blocks"}, "blocks"),
        ({"TERM": "xterm-kitty", "MMSEARCH_PREVIEWS": "none"}, None),
        ({"TERM": "xterm", "MMSEARCH_PREVIEWS": "sixel"}, "sixel"),
    ],
)
def test_pictures_are_drawn_the_way_the_terminal_is_known_to_show(
    screen: IO[Any], environment: dict[str, str], graphics: str | None
) -> None:
    assert describe(screen, environment).graphics == graphics


def test_no_color_turns_colours_and_pictures_off(screen: IO[Any]) -> None:
    found = describe(screen, {"TERM": "xterm-kitty", "NO_COLOR": "1"})
    assert (found.interactive, found.colour, found.graphics) == (True, False, None)
    assert describe(screen, {"TERM": "xterm-kitty", "NO_COLOR": ""}).colour


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {}])
def test_a_dumb_terminal_is_written_to_like_a_file(screen: IO[Any], environment: dict[str, str]) -> None:
    assert not describe(screen, environment).interactive


def test_a_terminal_without_unicode_shows_no_pictures() -> None:
    master, slave = pty.openpty()
    with open(slave, "w", encoding="latin-1") as stream:
        found = describe(stream, {"TERM": "xterm-kitty"})
    os.close(master)
    assert (found.unicode, found.graphics) == (False, None)
