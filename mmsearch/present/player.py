"""A hit -> a program that shows it: the user's player at the right second, or what the system opens such files with.

Programs are started with their arguments as a list, never through a shell, so that no file name is ever obeyed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import PlayerError, UsageError
from mmsearch.present.paths import printable
from mmsearch.types import Modality

if TYPE_CHECKING:
    from mmsearch.types import Hit

__all__ = ["VARIABLE", "Player", "find_players", "open_hit"]

VARIABLE = "MMSEARCH_PLAYER"
"""The environment variable that names the player of sounds and videos: words, with {path} and {seconds}."""

_HINT = (
    f"Install mpv, VLC or ffplay, or set ${VARIABLE} to a program with {{path}} and {{seconds}} in it, "
    "such as: mpv --start={seconds} {path}"
)
# Players that begin where they are told, the best first. A sound gets a window too: how else could it be stopped?
_PLAYERS = {
    "mpv": ("--force-window=yes", "--start={seconds}", "--", "{path}"),
    "vlc": ("--start-time={seconds}", "{path}"),
    "ffplay": ("-loglevel", "error", "-ss", "{seconds}", "{path}"),
}
_OPENERS = {"darwin": ("open",), "win32": ()}
_OTHER_OPENERS = ("xdg-open", "gio")
_OPENER_WORDS = {"gio": ("open", "{path}")}
# A program that fails does so at once; one that runs on for so long has opened the file.
_SETTLE_S = 1.0
# Programs that run on; forgetting one would be reported as a mistake.
_running: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Player:
    """A program that can show a file.

    Attributes:
        name: What people call it.
        command: The program and its arguments.
        jumps: Whether it begins at the second that the hit lies at.
    """

    name: str
    command: tuple[str, ...]
    jumps: bool


def find_players(
    hit: Hit, environment: Mapping[str, str] | None = None, *, platform: str = sys.platform
) -> Iterator[Player]:
    """Yield the programs of this machine that can show a hit with a file, in the order to try them.

    For sounds and videos that is ``$MMSEARCH_PLAYER`` alone where it is set; otherwise players that can begin at a
    given second, and last what the system opens such files with. For photos and texts it is the latter.

    Raises:
        UsageError: ``$MMSEARCH_PLAYER`` cannot be read.
    """
    environment = os.environ if environment is None else environment
    path = "" if hit.path is None else os.path.abspath(hit.path)
    seconds = f"{(hit.start_ms or 0) / 1000:.3f}".rstrip("0").rstrip(".")
    timed = hit.modality in (Modality.AUDIO, Modality.VIDEO)
    if timed and (wanted := environment.get(VARIABLE, "").strip()):
        yield _own(wanted, path, seconds)
        return
    if timed:
        for name, words in _PLAYERS.items():
            if (program := shutil.which(name, path=environment.get("PATH"))) is not None:
                yield Player(name, (program, *_filled(words, path, seconds)), jumps=True)
    for name in _OPENERS.get(platform, _OTHER_OPENERS):
        if (program := shutil.which(name, path=environment.get("PATH"))) is not None:
            yield Player(name, (program, *_filled(_OPENER_WORDS.get(name, ("{path}",)), path, seconds)), jumps=False)


def open_hit(hit: Hit, environment: Mapping[str, str] | None = None, *, platform: str = sys.platform) -> Player:
    """Show a hit in a program of its own, which goes on when this one ends.

    Returns:
        The program that was started.

    Raises:
        PlayerError: The hit has no file, the file is gone, or no program could be started.
        UsageError: ``$MMSEARCH_PLAYER`` cannot be read.
    """
    if hit.path is None:
        raise PlayerError(f"Item {hit.item_id} has no file that could be opened.")
    if not hit.path.exists():
        raise PlayerError(f"{hit.path} is not there any more.", hint="To bring the library up to date: mmsearch index")
    failed: list[str] = []
    for player in find_players(hit, environment, platform=platform):
        problem = _start(player.command, environment)
        if problem is None:
            return player
        failed.append(f"{player.name} {problem}")
    if platform == "win32" and not failed:
        return _start_file(hit.path)
    said = f" ({'; '.join(failed)})" if failed else ""
    raise PlayerError(f"No program here could open {hit.path}{said}.", hint=_HINT)


def _own(wanted: str, path: str, seconds: str) -> Player:
    try:
        words = shlex.split(wanted, posix=os.name != "nt")
    except ValueError as error:
        raise UsageError(f"${VARIABLE} cannot be read: {printable(wanted)}", hint=_HINT) from error
    if not any("{path}" in word for word in words):
        words.append("{path}")
    jumps = any("{seconds}" in word for word in words)
    return Player(os.path.basename(words[0]), _filled(tuple(words), path, seconds), jumps)


def _filled(words: tuple[str, ...], path: str, seconds: str) -> tuple[str, ...]:
    # The path comes last: a name that holds {seconds} stays as it is.
    return tuple(word.replace("{seconds}", seconds).replace("{path}", path) for word in words)


def _start(command: tuple[str, ...], environment: Mapping[str, str] | None) -> str | None:
    """Start a program; returns why it failed, None where it runs or ended well."""
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, env=environment
        )
    except OSError as error:
        return f"cannot be started: {(error.strerror or str(error)).lower()}"
    try:
        code = process.wait(_SETTLE_S)
    except subprocess.TimeoutExpired:
        _running.append(process)
        return None
    return None if code == 0 else f"failed with code {code}"


def _start_file(path: Path) -> Player:
    start = getattr(os, "startfile", None)  # on Windows alone
    try:
        if start is None:
            raise PlayerError(f"No program here could open {path}.", hint=_HINT)
        start(path)
    except OSError as error:
        raise PlayerError(f"Windows could not open {path}: {(error.strerror or str(error)).lower()}.") from error
    return Player("Windows", ("start", os.fspath(path)), jumps=False)
