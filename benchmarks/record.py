"""One benchmark's figures -> one JSON line with the commit, the machine and the versions that gave them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["REPOSITORY", "record", "work_folder"]

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
# What decides how fast a processor multiplies numbers of low precision.
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
PACKAGES = ("faiss-gpu", "faiss-cpu", "numpy", "onnxruntime", "open_clip_torch", "pillow", "sqlalchemy", "torch")


def work_folder() -> Path:
    """Where benchmarks keep what they generate: ``$MMSEARCH_BENCH_WORK``, else ``benchmarks/work`` (git-ignored)."""
    folder = Path(os.environ.get("MMSEARCH_BENCH_WORK", Path(__file__).resolve().parent / "work"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def record(benchmark: str, figures: Mapping[str, Any], *, keep: bool = True) -> dict[str, Any]:
    """Print one JSON line on stdout and add it to ``benchmarks/results/<benchmark>.jsonl``.

    Args:
        benchmark: The script's name.
        figures: What it measured; names carry their units.
        keep: False only prints the line.
    """
    line = {
        "benchmark": benchmark,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": _machine(),
        "versions": _versions(),
        **figures,
    }
    text = json.dumps(line, ensure_ascii=False)
    print(text, flush=True)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        with (RESULTS / f"{benchmark}.jsonl").open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    return line


def _commit() -> str:
    """The checked-out commit, with a plus sign where tracked files differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + (
            "+" if _git("status", "--porcelain", "--untracked-files=no", "--", "mmsearch", "indexer") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    """What the figures depend on; the load says whether the machine was quiet."""
    found: dict[str, Any] = {"cpu": _processor("model name") or platform.processor() or platform.machine()}
    found["cpu_features"] = [name for name in FEATURES if name in _processor("flags").split()]
    found["cores"] = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    if hasattr(os, "getloadavg"):
        found["load_1min"] = round(os.getloadavg()[0], 2)
    found["system"] = f"{platform.system()} {platform.machine()}"
    return found


def _processor(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
