"""Players are small scripts that write down how they were called."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmsearch.errors import PlayerError, UsageError
from mmsearch.present import player as module
from mmsearch.present.player import find_players, open_hit
from mmsearch.types import Modality
from tests.present.samples import AUDIO, TEXT, VIDEO, hit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are those of a Unix shell")

Install = Callable[..., None]
ODD = "a b;$(touch x) {seconds} 'c'\n.mp4"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment whose only programs are those that a test installs."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "CALLS": str(tmp_path / "calls")}


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a program first on the path that writes its arguments down, one a line, and ends with a code."""

    def put(name: str, code: int = 0) -> None:
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name}" "$@" >> "$CALLS"\nexit {code}\n')
        script.chmod(0o755)

    return put


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"a video")
    return path


def calls(machine: dict[str, str]) -> list[str]:
    path = Path(machine["CALLS"])
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mpv", ["--force-window=yes", "--start=12.5", "--", "{}"]),
        ("vlc", ["--start-time=12.5", "{}"]),
        ("ffplay", ["-loglevel", "error", "-ss", "12.5", "{}"]),
    ],
)
@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
def test_a_player_that_can_begins_at_the_second_of_the_hit(
    machine: dict[str, str], install: Install, video: Path, name: str, arguments: list[str], modality: Modality
) -> None:
    install(name)
    install("xdg-open")
    opened = open_hit(hit(video, modality=modality, start_ms=12_500, end_ms=17_000), machine, platform="linux")
    assert (opened.name, opened.jumps) == (name, True)
    assert calls(machine) == [name, *(word.replace("{}", str(video)) for word in arguments)]


@pytest.mark.parametrize(
    ("start_ms", "seconds"), [(0, "0"), (None, "0"), (10_000, "10"), (40, "0.04"), (3_725_007, "3725.007")]
)
def test_seconds_are_written_without_loss(
    machine: dict[str, str], install: Install, video: Path, start_ms: int | None, seconds: str
) -> None:
    install("vlc")
    open_hit(hit(video, modality=VIDEO, start_ms=start_ms), machine)
    assert calls(machine)[1] == f"--start-time={seconds}"


def test_players_are_tried_in_order_until_one_opens_it(machine: dict[str, str], install: Install, video: Path) -> None:
    for name, code in (("mpv", 2), ("vlc", 0), ("ffplay", 0), ("xdg-open", 0)):
        install(name, code)
    found = hit(video, modality=VIDEO, start_ms=5000)
    assert [one.name for one in find_players(found, machine, platform="linux")] == ["mpv", "vlc", "ffplay", "xdg-open"]
    assert open_hit(found, machine, platform="linux").name == "vlc"
    assert [line for line in calls(machine) if line.isalpha()] == ["mpv", "vlc"]


@pytest.mark.parametrize(
    ("platform", "name", "arguments"),
    [("linux", "xdg-open", []), ("linux", "gio", ["open"]), ("darwin", "open", []), ("freebsd14", "xdg-open", [])],
)
def test_without_such_a_player_it_is_opened_as_the_system_does(
    machine: dict[str, str], install: Install, video: Path, platform: str, name: str, arguments: list[str]
) -> None:
    install(name)
    opened = open_hit(hit(video, modality=VIDEO, start_ms=5000), machine, platform=platform)
    assert (opened.name, opened.jumps) == (name, False)
    assert calls(machine) == [name, *arguments, str(video)]


@pytest.mark.parametrize("modality", [Modality.IMAGE, TEXT])
def test_photos_and_texts_are_never_given_to_a_player(
    machine: dict[str, str], install: Install, video: Path, modality: Modality
) -> None:
    for name in ("mpv", "vlc", "xdg-open", "own"):
        install(name)
    open_hit(hit(video, modality=modality), machine | {"MMSEARCH_PLAYER": "own"}, platform="linux")
    assert calls(machine) == ["xdg-open", str(video)]


@pytest.mark.parametrize(
    ("wanted", "arguments", "jumps"),
    [
        ("own --at={seconds} {path} --quiet", ["--at=7.25", "{}", "--quiet"], True),
        ("own 'two words'", ["two words", "{}"], False),
        ("own file://{path}#t={seconds}", ["file://{}#t=7.25"], True),
    ],
)
def test_the_users_own_player_comes_before_all_others(
    machine: dict[str, str], install: Install, video: Path, wanted: str, arguments: list[str], jumps: bool
) -> None:
    for name in ("mpv", "own"):
        install(name)
    opened = open_hit(hit(video, modality=VIDEO, start_ms=7250), machine | {"MMSEARCH_PLAYER": wanted})
    assert (opened.name, opened.jumps) == ("own", jumps)
    assert calls(machine) == ["own", *(word.replace("{}", str(video)) for word in arguments)]


def test_no_name_is_ever_obeyed(machine: dict[str, str], install: Install, tmp_path: Path) -> None:
    path = tmp_path / ODD
    path.write_bytes(b"a video")
    install("own")
    open_hit(hit(path, modality=VIDEO), machine | {"MMSEARCH_PLAYER": "own {path} {seconds};id"})
    assert "\n".join(calls(machine)) == f"own\n{path}\n0;id"
    assert not (tmp_path / "x").exists() and not Path("x").exists()


def test_names_that_are_not_utf_8_reach_the_player(machine: dict[str, str], install: Install, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(b"a video")
    install("mpv")
    open_hit(hit(path, modality=VIDEO), machine)
    assert os.fsencode(path) in Path(machine["CALLS"]).read_bytes()


def test_an_own_player_that_is_not_there_or_fails_is_told_and_no_other_is_tried(
    machine: dict[str, str], install: Install, video: Path
) -> None:
    install("mpv")
    found = hit(video, modality=VIDEO)
    with pytest.raises(PlayerError, match="nowhere cannot be started: no such file") as raised:
        open_hit(found, machine | {"MMSEARCH_PLAYER": "/bin/nowhere {path}"})
    assert "MMSEARCH_PLAYER" in str(raised.value.hint)
    install("own", code=3)
    with pytest.raises(PlayerError, match="own failed with code 3"):
        open_hit(found, machine | {"MMSEARCH_PLAYER": "own"})
    assert "mpv" not in calls(machine)


@pytest.mark.parametrize("wanted", ["mpv 'unfinished", '"'])
def test_an_own_player_that_cannot_be_read_is_wrong_usage(machine: dict[str, str], video: Path, wanted: str) -> None:
    with pytest.raises(UsageError, match="MMSEARCH_PLAYER cannot be read"):
        open_hit(hit(video, modality=VIDEO), machine | {"MMSEARCH_PLAYER": wanted})


def test_an_empty_variable_is_none(machine: dict[str, str], install: Install, video: Path) -> None:
    install("mpv")
    assert open_hit(hit(video, modality=VIDEO), machine | {"MMSEARCH_PLAYER": "  "}).name == "mpv"


def test_where_nothing_can_open_it_that_is_told_with_what_would_help(
    machine: dict[str, str], install: Install, video: Path
) -> None:
    with pytest.raises(PlayerError, match=r"No program here could open .*clip\.mp4\.") as raised:
        open_hit(hit(video, modality=VIDEO), machine, platform="linux")
    assert "Install mpv" in str(raised.value.hint)
    install("xdg-open", code=3)
    with pytest.raises(PlayerError, match=r"\(xdg-open failed with code 3\)"):
        open_hit(hit(video), machine, platform="linux")


def test_a_file_that_is_gone_and_an_item_without_one_are_told(machine: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PlayerError, match=r"gone\.mp4 is not there any more"):
        open_hit(hit(tmp_path / "gone.mp4", modality=VIDEO), machine)
    with pytest.raises(PlayerError, match="Item 12 has no file"):
        open_hit(hit(None), machine)


def test_a_player_that_goes_on_is_left_alone(
    machine: dict[str, str], video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLE_S", 0.05)
    monkeypatch.setattr(module, "_running", [])
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = tmp_path / "bin" / "mpv"
    script.write_text(f'#!/bin/sh\nread line < "{gate}"\n')  # until somebody writes there
    script.chmod(0o755)
    assert open_hit(hit(video, modality=VIDEO), machine).name == "mpv"
    (process,) = module._running
    assert process.poll() is None
    assert os.getsid(process.pid) != os.getsid(0)  # closing the terminal does not end it
    gate.write_text("\n")
    assert process.wait() == 0
