"""A command line -> its wall time, processor time and peak memory, measured from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CommandFailedError", "Run", "mmsearch_command", "run"]

# On Linux a new process inherits the peak memory of the one that started it. So a small one does, and measures.
LAUNCHER = """
import json, os, sys, time
report = int(sys.argv[1])
os.set_inheritable(report, False)
started = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
wall_s = time.perf_counter() - started
cpu_s = usage.ru_utime + usage.ru_stime
os.write(report, json.dumps([os.waitstatus_to_exitcode(status), wall_s, cpu_s, usage.ru_maxrss]).encode())
"""


class CommandFailedError(RuntimeError):
    """A measured command did not end as it should."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process.

    Attributes:
        wall_s: From its start to its end.
        cpu_s: User and system time of all its threads.
        peak_bytes: Largest resident set.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    expect: Sequence[int] = (0,),
) -> Run:
    """Run a command to its end.

    Raises:
        CommandFailedError: Its exit status is not among `expect`; the message ends with its stderr.
    """
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, os.fdopen(reading, "rb") as report:
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, str(writing), *(os.fspath(part) for part in command)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(writing,),
        )
        os.close(writing)
        said = report.read()
        launcher.wait()
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if not said:
        raise CommandFailedError(f"{command} could not be started: {stderr[-2000:]}")
    status, wall_s, cpu_s, peak = json.loads(said)
    if status not in expect:
        raise CommandFailedError(f"{command} ended with {status}: {stderr[-2000:]}")
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return Run(wall_s, cpu_s, peak * scale, stdout, stderr)


def mmsearch_command() -> Path:
    """The console script beside this interpreter, else the one on the path.

    Raises:
        CommandFailedError: It is not installed.
    """
    beside = Path(sys.executable).parent / "mmsearch"
    if beside.exists():
        return beside
    found = shutil.which("mmsearch")
    if found is None:
        raise CommandFailedError("mmsearch is not installed; run: pip install -e .")
    return Path(found)
