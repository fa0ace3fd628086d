"""open_clip towers at their real cost: images/s by precision and batch, texts/s, cold queries with and without torch.

    python benchmarks/open_clip_towers.py [--model ViT-B-32-256]

The architecture is open_clip's own, its weights are seeded random numbers, saved once as a checkpoint. The kinds of
image tower take turns within each round and the best round counts: ``fp32`` and ``bf16`` as open_clip runs them, with
pixels normalised beforehand; ``packed`` with the layers of `mmsearch.encoders.packed`, where the processor multiplies
bf16; ``mmsearch`` as the encoder runs, from uint8 pixels to normalised embeddings, with batches shared out among
threads. ``--busy N`` keeps N threads at decoding meanwhile, as indexing does.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from processes import run
from record import REPOSITORY, record, work_folder

from mmsearch.encoders import load_encoder
from mmsearch.encoders.open_clip import OpenClipEncoder

COLD_TORCH = """
import sys, open_clip, torch
model = open_clip.create_model_from_pretrained(sys.argv[1], sys.argv[2], return_transform=False).eval()
with torch.inference_mode():
    model.encode_text(open_clip.get_tokenizer(sys.argv[1])(["a dog on the beach"]), normalize=True)
"""
COLD_EXPORTED = """
import sys
from mmsearch.encoders import load_encoder
load_encoder(f"open_clip/{sys.argv[1]}/{sys.argv[2]}").encode_texts(["a dog on the beach"])
assert "torch" not in sys.modules
"""


def checkpoint(model: str) -> Path:
    """Seeded random weights of an architecture, made once."""
    import open_clip
    import torch

    file = work_folder() / f"{model}-seed0.pt"
    if not file.exists():
        torch.manual_seed(0)
        torch.save(open_clip.create_model(model).state_dict(), file)
    return file


def image_rates(encoder: OpenClipEncoder, batches: list[int], rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Images a second of each kind of tower by batch, and the least cosine of each kind with fp32."""
    import torch

    from mmsearch.encoders.open_clip_loading import load_model
    from mmsearch.encoders.packed import pack

    source = encoder._source
    side = encoder.image_size
    plain = {
        "fp32": load_model(source).model.visual.eval(),
        "bf16": load_model(source).model.visual.eval().to(torch.bfloat16),
    }
    transform = load_model(source).transform
    photos = [Image.open(path).convert("RGB") for path in sorted((REPOSITORY / "data" / "samples").glob("*.jpg"))]
    prepared = [encoder.prepare_image(photos[i % len(photos)]) for i in range(max(batches))]
    pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    normalised = ((pixels - mean) / deviation).contiguous()
    assert normalised.shape[-1] == side
    if encoder._image_tower().precision == "bf16":
        packed = load_model(source).model.visual.eval().to(torch.bfloat16)
        plain["packed"] = pack(packed, normalised[:2].to(torch.bfloat16))

    def open_clips(kind: str, count: int) -> Callable[[], Any]:
        batch = normalised[:count].to(torch.float32 if kind == "fp32" else torch.bfloat16)
        return lambda: plain[kind](batch)

    rates: dict[str, dict[str, float]] = {}
    cosines: dict[str, float] = {}
    with torch.inference_mode():
        for count in batches:
            kinds = {kind: open_clips(kind, count) for kind in plain}
            kinds["mmsearch"] = lambda count=count: encoder.encode_images(prepared[:count])
            best = dict.fromkeys(kinds, float("inf"))
            for compute in kinds.values():
                compute()
            for _ in range(rounds):
                for kind, compute in kinds.items():
                    start = time.perf_counter()
                    compute()
                    best[kind] = min(best[kind], time.perf_counter() - start)
            rates[f"batch={count}"] = {kind: round(count / seconds, 1) for kind, seconds in best.items()}
        few = normalised[: len(photos)]
        reference = torch.nn.functional.normalize(plain["fp32"](few), dim=-1)
        others = {"bf16": plain["bf16"](few.to(torch.bfloat16)).float()}
        others["mmsearch"] = torch.from_numpy(encoder.encode_images(prepared[: len(photos)]))
        for kind, rows in others.items():
            cosines[kind] = round(float((torch.nn.functional.normalize(rows, dim=-1) * reference).sum(1).min()), 5)
    return rates, cosines


def cold(script: str, model: str, weights: Path, runs: int) -> dict[str, float]:
    """Wall time, processor time and peak memory of whole processes that embed one text each."""
    command = [sys.executable, "-W", "ignore", "-c", script, model, weights]
    found = [run(command) for _ in range(runs)]
    return {
        "median_s": round(statistics.median(one.wall_s for one in found), 3),
        "min_s": round(min(one.wall_s for one in found), 3),
        "min_cpu_s": round(min(one.cpu_s for one in found), 3),
        "peak_mib": round(max(one.peak_bytes for one in found) / 2**20),
    }


@contextmanager
def decoding(threads: int) -> Iterator[None]:
    """Threads that decode a photograph over and over."""
    photo = next((REPOSITORY / "data" / "samples").glob("*.jpg")).read_bytes()
    stop = threading.Event()

    def decode() -> None:
        while not stop.is_set():
            Image.open(io.BytesIO(photo)).convert("RGB")

    busy = [threading.Thread(target=decode) for _ in range(threads)]
    for thread in busy:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in busy:
            thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32-256", help="an architecture of open_clip")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="threads that decode meanwhile")
    parser.add_argument("--runs", type=int, default=5, help="cold processes of each kind")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--no-keep", action="store_true", help="only print the result")
    arguments = parser.parse_args()
    os.environ["MMSEARCH_CACHE"] = os.fspath(work_folder() / "open_clip-cache")
    weights = checkpoint(arguments.model)
    encoder = load_encoder(f"open_clip/{arguments.model}/{weights}")
    assert isinstance(encoder, OpenClipEncoder)
    start = time.perf_counter()
    encoder.describe()
    first_s = time.perf_counter() - start
    with decoding(arguments.busy):
        rates, cosines = image_rates(encoder, arguments.batches, arguments.rounds)
    photo = Image.open(next((REPOSITORY / "data" / "samples").glob("*.jpg"))).convert("RGB").resize((640, 480))
    prepare_s = []
    for _ in range(20):
        start = time.perf_counter()
        encoder.prepare_image(photo)
        prepare_s.append(time.perf_counter() - start)
    texts = [f"photo number {i} of {'a dog and ' * (i % 4)}a cat on a red sofa" for i in range(arguments.texts)]
    encoder.encode_texts(texts[:32])
    start = time.perf_counter()
    encoder.encode_texts(texts)
    texts_s = time.perf_counter() - start
    single_s = []
    for text in texts[:20]:
        start = time.perf_counter()
        encoder.encode_texts([text])
        single_s.append(time.perf_counter() - start)
    record(
        "open_clip_towers",
        {
            "model": arguments.model,
            "busy_threads": arguments.busy,
            "precision": encoder._image_tower().precision,
            "images_per_s": rates,
            "least_cosine_with_fp32": cosines,
            "prepare_ms_per_vga_photo": round(min(prepare_s) * 1000, 2),
            "first_description_s": round(first_s, 2),
            "texts_per_s": round(len(texts) / texts_s, 1),
            "one_text_ms": round(statistics.median(single_s) * 1000, 1),
            "cold_text_with_torch": cold(COLD_TORCH, arguments.model, weights, arguments.runs),
            "cold_text_exported": cold(COLD_EXPORTED, arguments.model, weights, arguments.runs),
        },
        keep=not arguments.no_keep,
    )


if __name__ == "__main__":
    main()
