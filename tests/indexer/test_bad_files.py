from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="has FIFOs, permissions and memory as on Linux")
def test_two_hundred_bad_files_spoil_nothing_and_cost_little_memory(tmp_path: Path) -> None:
    script = REPOSITORY / "benchmarks" / "bad_files.py"
    done = subprocess.run(
        [sys.executable, script, "--hashing", "--no-record"],
        env={**os.environ, "MMSEARCH_BENCH_WORK": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["indexed"], figures["listed"], figures["problems"]) == (200, 200, [])
