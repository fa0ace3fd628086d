"""The built-in model's towers alone: images/s by batch size and threads, a cold text query, texts/s.

    python benchmarks/mini_throughput.py

Photographs are prepared beforehand, so that decoding does not count. The cold query is timed in processes of their own,
from after the import of NumPy to the embedding of one query; the processor time beside it shows how busy the machine
was with other things.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from record import REPOSITORY, record

from mmsearch.encoders.mini import MODELS, MiniEncoder

WORDS = (
    "a",
    "dog",
    "runs",
    "over",
    "the",
    "wet",
    "sand",
    "while",
    "two",
    "children",
    "in",
    "red",
    "coats",
    "look",
    "on",
)
COLD = """
import json, time
import numpy
wall, cpu = time.perf_counter(), time.process_time()
from mmsearch.encoders.mini import MiniEncoder
MiniEncoder().encode_texts(["a dog on the beach"])
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""


def image_rates(images: np.ndarray, threads: int, batch: int, seconds: float) -> float:
    """Images a second of the ONNX graph with so many threads and images at once; the best of the passes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        os.fspath(MODELS / "mini_image.onnx"), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, {"images": images[:batch]})
    durations = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(durations) < 3:
        start = time.perf_counter()
        session.run(None, {"images": images[:batch]})
        durations.append(time.perf_counter() - start)
    return batch / min(durations)


def text_rate(texts: list[str]) -> float:
    """Texts a second in one call, after a first one that unpacks the weights."""
    encoder = MiniEncoder()
    encoder.encode_texts(texts[:64])
    start = time.perf_counter()
    encoder.encode_texts(texts)
    return len(texts) / (time.perf_counter() - start)


def cold_queries(runs: int) -> tuple[list[float], list[float]]:
    """Wall and processor milliseconds of processes that embed one query each."""
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # as the command line does for a query
    wall, cpu = [], []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, check=True, env=one_thread)
        seconds = json.loads(done.stdout)
        wall.append(seconds[0] * 1000)
        cpu.append(seconds[1] * 1000)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each number of images at once")
    parser.add_argument("--runs", type=int, default=11, help="cold processes")
    parser.add_argument("--texts", type=int, default=2000)
    arguments = parser.parse_args()
    encoder = MiniEncoder()
    photos = [Image.open(path).convert("RGB") for path in sorted((REPOSITORY / "data" / "samples").glob("*.jpg"))]
    squares = [encoder.prepare_image(photo.resize((640, 480))) for photo in photos]
    images = np.stack([squares[i % len(squares)] for i in range(64)])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rates = {
        f"threads={threads},batch={batch}": round(image_rates(images, threads, batch, arguments.seconds), 1)
        for threads in sorted({1, cores})
        for batch in (1, 8, 32, 64)
    }
    start = time.perf_counter()
    for photo in photos:
        encoder.prepare_image(photo)
    prepare_ms = (time.perf_counter() - start) * 1000 / len(photos)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 18))) for _ in range(arguments.texts)]
    wall, cpu = cold_queries(arguments.runs)
    record(
        "mini_throughput",
        {
            "images_per_s": rates,
            "prepare_ms_per_sample_photo": round(prepare_ms, 2),
            "texts_per_s": round(text_rate(texts), 1),
            "cold_query_wall_ms": {"median": round(statistics.median(wall), 1), "min": round(min(wall), 1)},
            "cold_query_cpu_ms": {"median": round(statistics.median(cpu), 1), "min": round(min(cpu), 1)},
            "weights_bytes": {path.name: path.stat().st_size for path in sorted(Path(MODELS).glob("mini_*"))},
        },
    )


if __name__ == "__main__":
    main()
