from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_library_is_whole_after_kills_at_random_moments(tmp_path: Path) -> None:
    script = REPOSITORY / "benchmarks" / "index_recovery.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", "3", "--pictures", "60", "--no-record"],
        env={**os.environ, "MMSEARCH_BENCH_WORK": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["kills"], figures["identical"]) == (3, True)
    assert figures["most_embedded_in_vain_by_one_kill"] <= figures["batch"]
