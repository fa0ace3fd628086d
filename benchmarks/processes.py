"""A command line -> its wall time, processor time and peak memory, measured from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

__all__ = ["CommandFailedError", "Run", "mmsearch_command", "run"]


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
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = perf_counter()
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if process.returncode not in expect:
        raise CommandFailedError(f"{command} ended with {process.returncode}: {stderr[-2000:]}")
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale, stdout, stderr)


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
