"""What only a real process shows: streams, pipes, signals and terminals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.cli.conftest import ODD_NAME, Process, noise, process_environment

MAIN = [sys.executable, "-c", "from mmsearch.cli import main; main()"]
# The terminal sends Ctrl-C to the session that it belongs to.
MAIN_ON_TERMINAL = [
    sys.executable,
    "-c",
    "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\nfrom mmsearch.cli import main; main()",
]


def on_terminal(*arguments: object, interrupt_at: bytes | None = None, **environment: str) -> tuple[int, bytes]:
    """Run a command on a pseudo-terminal; returns its exit code and all that the terminal got.

    Args:
        arguments: Of mmsearch.
        interrupt_at: Press Ctrl-C once these bytes were shown.
        environment: Beside the usual one.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 1000, 800))
    running = subprocess.Popen(
        [*MAIN_ON_TERMINAL, *map(str, arguments)],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=process_environment(TERM="xterm-256color", NO_COLOR="") | environment,
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not data:
            break
        shown += data
        if interrupt_at is not None and interrupt_at in shown:
            os.write(master, b"\x03")
            interrupt_at = None
    os.close(master)
    return running.wait(timeout=60), shown


def test_hits_and_no_hits_and_wrong_usage_have_their_codes_and_streams(
    process: Process, library: Path, tmp_path: Path
) -> None:
    hits = process("query", "dog", "--library", library, "--paths", "--all")
    assert (hits.returncode, hits.stderr) == (0, b"")
    assert len(hits.stdout.splitlines()) >= 10
    for arguments, code in ((["--type", "audio"], 1), (["-k", "0"], 2)):
        done = process("query", "dog", "--library", library, *arguments)
        assert (done.returncode, done.stdout) == (code, b"")
        assert done.stderr


def test_unexpected_errors_have_a_traceback_only_on_request(process: Process, library: Path) -> None:
    broken = "import mmsearch.engine; mmsearch.engine.SearchEngine.search = None; from mmsearch.cli import main; main()"
    command = [sys.executable, "-c", broken, "query", "dog", "--library", str(library)]
    for debug in ("", "1"):
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=60, env=process_environment(MMSEARCH_DEBUG=debug)
        )
        assert (done.returncode, done.stdout) == (1, b"")
        assert (b"Traceback" in done.stderr) == bool(debug)
        assert b"mmsearch: Unexpected TypeError: " in done.stderr


def test_a_reader_that_has_enough_ends_the_output_quietly(library: Path) -> None:
    for form in ("--paths", "--json", "--no-preview"):
        running = subprocess.Popen(
            [*MAIN, "query", "dog", "--all", "-k", "100", "--library", str(library), form],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=process_environment(),
        )  # fmt: skip
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()  # as `head -0` does
        stderr = running.stderr.read()
        running.stderr.close()
        assert (running.wait(timeout=60), stderr) == (0, b"")


def test_a_full_disk_is_told_in_one_sentence(library: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*MAIN, "query", "dog", "--library", str(library), "--json"],
            stdout=full, stderr=subprocess.PIPE, env=process_environment(), check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == b"mmsearch: The results cannot be written (No space left on device)."


@pytest.mark.parametrize(("closed", "arguments", "code"), [("2", "dog -k 0", 2), ("0", "-", 2), ("1", "dog", 0)])
def test_closed_streams_are_no_trouble(library: Path, closed: str, arguments: str, code: int) -> None:
    shell = f'exec "$@" query {arguments} --library "$LIBRARY" {closed}>&-'
    environment = process_environment(LIBRARY=str(library))
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *MAIN], capture_output=True, env=environment, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (code, b"")
    assert b"Unexpected" not in done.stderr and b"Traceback" not in done.stderr


def test_an_encoding_without_the_characters_of_a_name_escapes_them(process: Process, library: Path) -> None:
    environment = process_environment(PYTHONIOENCODING="ascii")
    done = process("query", "dog", "--all", "-k", "100", "--library", library, env=environment)
    assert done.returncode == 0
    assert b"odd \\xff\\n\\x1b[31m name.png" in done.stdout
    raw = process("query", "dog", "--all", "-k", "100", "--library", library, "--print0", env=environment)
    assert ODD_NAME + b"\0" in raw.stdout


def test_a_text_query_loads_neither_torch_nor_faiss_nor_pydantic(library: Path) -> None:
    probe = (
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n"
        "from mmsearch.cli import main\n"
        "main()"
    )
    command = [sys.executable, "-c", probe, "query", "dog", "--library", str(library), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=process_environment())
    loaded = set(done.stderr.split())
    assert "mmsearch.engine" in loaded
    assert not loaded & {"torch", "open_clip", "faiss", "pydantic", "rich", "PIL", "transformers"}


def test_a_terminal_gets_a_bar_that_is_wiped_and_then_the_summary(tmp_path: Path) -> None:
    noise(tmp_path / "photos", 30)
    code, shown = on_terminal(
        "index", tmp_path / "photos", "--library", tmp_path / "lib", "--model", "hashing", "--batch-size", "4"
    )
    assert code == 0
    assert b"of 30" in shown
    assert re.search(rb"\x1b\[2K[^\n]*30 new\.\r\n", shown)


def test_ctrl_c_on_a_terminal_saves_and_the_next_run_goes_on(tmp_path: Path) -> None:
    noise(tmp_path / "photos", 1500)
    arguments = ("index", tmp_path / "photos", "--library", tmp_path / "lib", "--model", "hashing")
    code, shown = on_terminal(*arguments, "--batch-size", 1, "--threads", 1, interrupt_at=b"of 1,500")
    assert code == 130
    saved = re.search(rb"Saved ([\d,]+) files?\. Run the same command again to go on\.\r\n$", shown)
    assert saved is not None
    count = int(saved[1].replace(b",", b""))
    assert count < 1500
    code, shown = on_terminal(*arguments)
    assert code == 0
    unchanged = f", {count:,} unchanged" if count else ""
    assert f"{1500 - count:,} new{unchanged}.".encode() in shown


@pytest.mark.parametrize(
    ("environment", "mark"),
    [
        ({"TERM": "xterm-kitty"}, b"\x1b_Ga=T,f=100"),
        ({"TERM_PROGRAM": "iTerm.app"}, b"\x1b]1337;File=inline=1"),
        ({"TERM": "foot"}, b"\x1bP0;1q"),
        ({"COLORTERM": "truecolor"}, b"\x1b[38;2;"),
    ],
)
def test_a_terminal_shows_pictures_its_own_way(library: Path, environment: dict[str, str], mark: bytes) -> None:
    code, shown = on_terminal("query", "dog", "--all", "-k", "2", "--library", library, **environment)
    assert code == 0
    assert shown.count(mark) >= 2


def test_pictures_can_be_turned_off(library: Path) -> None:
    query = ("query", "dog", "--all", "-k", "2", "--library", library)
    for arguments, environment in (([*query, "--no-preview"], {}), ([*query], {"NO_COLOR": "1"})):
        code, shown = on_terminal(*arguments, TERM="xterm-kitty", **environment)
        assert code == 0
        assert b"\x1b_G" not in shown


def test_the_terminal_is_asked_for_a_query_and_ctrl_c_ends_it(library: Path) -> None:
    code, shown = on_terminal("query", "-", "--library", library, interrupt_at=b"Ctrl-D")
    assert code == 130
    assert b"mmsearch: Interrupted." in shown
