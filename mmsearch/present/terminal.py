"""What a stream can show: a stream and its environment -> `Terminal`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Literal

__all__ = ["Graphics", "Terminal", "describe"]

Graphics = Literal["kitty", "iterm2", "sixel", "blocks", "blocks256"]

_GRAPHICS: tuple[Graphics, ...] = ("kitty", "iterm2", "sixel", "blocks", "blocks256")
_KITTY_PROGRAMS = frozenset({"ghostty"})
_ITERM2_PROGRAMS = frozenset({"iTerm.app", "WezTerm", "mintty", "rio"})
_SIXEL_TERMS = ("foot", "mlterm", "contour", "yaft")
# Width and height of a character cell where the terminal does not say.
_CELL = (10, 20)


@dataclass(frozen=True, slots=True)
class Terminal:
    """What a stream can show.

    Attributes:
        interactive: A person looks at it and its cursor can be moved; False for files, pipes and dumb terminals.
        columns, lines: Its size in character cells.
        colour: ANSI colours are welcome.
        unicode: Block characters arrive as such.
        graphics: How it shows pictures, or None.
        cell: Width and height of a character cell in pixels.
    """

    interactive: bool = False
    columns: int = 80
    lines: int = 24
    colour: bool = False
    unicode: bool = False
    graphics: Graphics | None = None
    cell: tuple[int, int] = _CELL


def describe(stream: IO[Any], environment: Mapping[str, str] | None = None) -> Terminal:
    """Find out what a stream can show, from its environment alone: the terminal is not asked, so nothing can hang.

    ``$MMSEARCH_PREVIEWS`` (``kitty``, ``iterm2``, ``sixel``, ``blocks``, ``blocks256`` or ``none``) decides where the
    environment says too little.
    """
    environment = os.environ if environment is None else environment
    unicode = _is_unicode(stream)
    capable = environment.get("TERM", "") not in ("", "dumb") or "WT_SESSION" in environment
    if not (capable and _is_terminal(stream)):
        return Terminal(unicode=unicode)
    columns, lines = _size(stream, environment)
    colour = not environment.get("NO_COLOR")
    return Terminal(
        interactive=True,
        columns=columns,
        lines=lines,
        colour=colour,
        unicode=unicode,
        graphics=_graphics(environment) if colour and unicode else None,
        cell=_cell(stream),
    )


def _graphics(environment: Mapping[str, str]) -> Graphics | None:
    wished = environment.get("MMSEARCH_PREVIEWS", "")
    if wished:
        return next((name for name in _GRAPHICS if name == wished), None)
    term = environment.get("TERM", "")
    program = environment.get("TERM_PROGRAM", "")
    # A multiplexer passes the pictures of the terminal around it through only when set up to.
    multiplexed = "TMUX" in environment or "STY" in environment or term.startswith(("tmux", "screen"))
    if not multiplexed:
        if "KITTY_WINDOW_ID" in environment or term in ("xterm-kitty", "xterm-ghostty") or program in _KITTY_PROGRAMS:
            return "kitty"
        if program in _ITERM2_PROGRAMS or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
        if term.startswith(_SIXEL_TERMS):
            return "sixel"
    if environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct"):
        return "blocks"
    return "blocks256" if "256color" in term else None


def _is_terminal(stream: IO[Any]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _is_unicode(stream: IO[Any]) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"


def _size(stream: IO[Any], environment: Mapping[str, str]) -> tuple[int, int]:
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    stated = environment.get("COLUMNS", "")
    if stated.isdigit() and int(stated) > 0:
        columns = int(stated)
    return columns or 80, lines or 24


def _cell(stream: IO[Any]) -> tuple[int, int]:
    """Width and height of a cell in pixels, where the terminal driver knows them."""
    try:
        import fcntl
        import struct
        import termios

        answer = fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
    except (ImportError, OSError, ValueError):
        return _CELL
    lines, columns, width, height = struct.unpack("HHHH", answer)
    if not (lines and columns and width and height):
        return _CELL
    return max(1, width // columns), max(1, height // lines)
