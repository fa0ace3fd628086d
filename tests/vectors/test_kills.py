"""A fold that is killed at any moment leaves files that answer rightly and are taken up by the next fold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("kind", "new"), [("flat", 100), ("ivf", 100), ("ivf", 2500)], ids=["flat", "beside lists", "into lists"]
)
def test_a_fold_killed_at_any_step_loses_nothing(kind: str, new: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.vectors.killed_folds", str(tmp_path), kind, str(new)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(steps) >= 6
    assert all(step["killed"] for step in steps[:-1])
    assert not steps[-1]["killed"]
    for step in steps:
        assert step["usable"], step
        assert step["right"], step
        assert step["then"], step
        assert step["clean"], step
