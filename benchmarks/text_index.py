"""Indexing texts with the built-in model: passages a second into the index, memory, and a cold query over them.

    python benchmarks/text_index.py
    python benchmarks/text_index.py --passages 20000 --data DATA/flickr8k/train

Writes text files of a hundred paragraphs, each about as long as a passage gets (260 to 400 characters): sentences from
a seeded grammar, or with --data three to eight captions of its captions.csv. The whole command is timed from outside,
start-up and the making of the index included, from an empty library; the towers alone are timed beside it, on passages
as the command reads them, which the processor time tells even where a machine has other things to do.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from processes import CommandFailedError, mmsearch_command, run
from record import record, work_folder

from mmsearch.encoders.mini import MiniEncoder
from mmsearch.media.text import read_passages

TARGET_PASSAGES, TARGET_QUERY_S = 1000.0, 0.5
PARAGRAPHS = 100  # of a file
LEAST, MOST = 260, 400  # characters of a paragraph
COMPARED = 500  # passages that the towers alone are timed with
QUERIES = ("a dog on the beach", "who paid for the new roof", "children playing in the snow", "the train was late")


def _choices(joined: str) -> list[str]:
    return joined.split("|")


WHO = _choices(
    "a man|an old woman|two children|my sister|the neighbour|a girl in a red coat|the dog|a black cat|"
    "the teacher|our guide|a group of tourists|the baker|a boy with a guitar|some students|the doctor|"
    "a cyclist|the band|her uncle|a fisherman|the carpenter|three horses|the whole family|a young couple|"
    "the captain|a woman with glasses"
)
DOES = _choices(
    "walks along|sits in front of|takes a picture of|waits beside|runs past|paints|looks at|talks about|"
    "repairs|is sleeping near|climbs|dances behind|has bought|left|found|cleans|describes|dreams of|"
    "jumps over|drives to|sells|was born near|remembers|points at|carries a ladder to"
)
WHAT = _choices(
    "the river|an old bridge|the market|a wooden boat|the school|the snowy mountain|a blue door|"
    "the railway station|the garden|a stone wall|the harbour|a small museum|the kitchen|the empty street|"
    "a field of sunflowers|the library|a broken bicycle|the lighthouse|a birthday cake|the football field|"
    "the new roof|a cup of coffee|the beach|a tent"
)
WHEN = _choices(
    "in the early morning|after lunch|on Saturday|while it rains|before the concert|in winter|last year|"
    "at night|every second week|during the holidays|at the end of March|when the sun goes down|"
    "for the third time|as always|without a word|for twelve euros|because the train was late|"
    "together with friends|in spite of the wind"
)


def made_sentences(draw: random.Random) -> Iterator[str]:
    """Sentences of a small grammar, without end."""
    while True:
        parts = [draw.choice(WHO), draw.choice(DOES), draw.choice(WHAT)]
        if draw.random() < 0.7:
            parts.append(draw.choice(WHEN))
        if draw.random() < 0.3:
            parts += ["and", draw.choice(DOES), draw.choice(WHAT)]
        text = " ".join(parts)
        yield f"{text[0].upper()}{text[1:]}."


def captions(table: Path, draw: random.Random) -> Iterator[str]:
    """Captions of a table in any order, without end."""
    with table.open(encoding="utf-8", newline="") as file:
        said = [row["caption"].strip().rstrip(" .") for row in csv.DictReader(file)]
    while True:
        caption = draw.choice(said)
        yield f"{caption[:1].upper()}{caption[1:]}."


def paragraphs(sentences: Iterator[str], draw: random.Random) -> Iterator[str]:
    """Paragraphs about as long as passages get, without end."""
    while True:
        length, text = draw.randint(LEAST, MOST - 60), next(sentences)
        while len(text) < length:
            text = f"{text} {next(sentences)}"
        yield text


def write_texts(folder: Path, count: int, sentences: Iterator[str], draw: random.Random) -> None:
    """Write `count` paragraphs into text files."""
    source = paragraphs(sentences, draw)
    for number in range(0, count, PARAGRAPHS):
        place = folder / f"{number // PARAGRAPHS // 100:03}"
        place.mkdir(parents=True, exist_ok=True)
        content = "\n\n".join(islice(source, min(PARAGRAPHS, count - number)))
        (place / f"{number // PARAGRAPHS:05}.txt").write_text(content + "\n", encoding="utf-8")


def tower_rates(passages: list[str]) -> dict[str, float]:
    """Passages a second, and milliseconds of processor time a passage, of both ways to embed; taken in turns."""
    encoder = MiniEncoder()
    ways: dict[str, Callable[[list[str]], object]] = {
        "passages": encoder.encode_passages,
        "texts": encoder.encode_texts,
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    for encode in ways.values():
        encode(passages[:32])
    for _ in range(3):
        for name, encode in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            encode(passages)
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(time.process_time() - cpu)
    figures = {f"encode_{name}_per_s": round(len(passages) / min(wall), 1) for name, wall in walls.items()}
    return figures | {f"encode_{name}_cpu_ms": round(1e3 * min(cpu) / len(passages), 3) for name, cpu in cpus.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--data", type=Path, help="a folder with captions.csv, to take sentences from")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    sentences = made_sentences(draw) if arguments.data is None else captions(arguments.data / "captions.csv", draw)
    with tempfile.TemporaryDirectory(prefix="text-index-", dir=work_folder()) as scratch:
        folder, library = Path(scratch) / "texts", Path(scratch) / "library"
        write_texts(folder, arguments.passages, sentences, draw)
        sample = [passage.text for file in sorted(folder.rglob("*.txt"))[:8] for passage in read_passages(file)]
        towers = tower_rates(sample[:COMPARED]) if arguments.model == "mini" else {}
        print(json.dumps(towers), flush=True)
        quiet = {"MMSEARCH_OFFLINE": "1"}
        command = [mmsearch_command(), "index", folder, "--library", library, "--model", arguments.model, "--json"]
        whole = run(command, env=quiet)
        status = json.loads(run([mmsearch_command(), "status", "--library", library, "--json"], env=quiet).stdout)
        stored = int(status["segments"])
        if stored < arguments.passages * 0.9:
            raise CommandFailedError(f"stored {stored} of {arguments.passages} passages: {whole.stderr[-2000:]}")
        asked = [
            run([mmsearch_command(), "query", words, "--library", library, "--json"], env=quiet, expect=(0, 1))
            for words in QUERIES * 2
        ]
        library_bytes = sum(file.stat().st_size for file in library.rglob("*") if file.is_file())
        shutil.rmtree(library)
    record(
        "text_index",
        {
            "text": "made" if arguments.data is None else arguments.data.name,
            "passages": stored,
            "mean_characters": round(statistics.mean(map(len, sample))),
            "passages_per_s": round(stored / whole.wall_s, 1),
            "passages_per_cpu_s": round(stored / whole.cpu_s, 1),
            "wall_s": round(whole.wall_s, 2),
            "cpu_s": round(whole.cpu_s, 2),
            "peak_mb": round(whole.peak_bytes / 1e6),
            "library_mb": round(library_bytes / 1e6),
            "stage_seconds": json.loads(whole.stdout).get("stage_seconds"),
            "query_s": round(statistics.median(done.wall_s for done in asked), 3),
            "query_cpu_s": round(statistics.median(done.cpu_s for done in asked), 3),
            "query_peak_mb": round(max(done.peak_bytes for done in asked) / 1e6),
            **towers,
            "target_passages_per_s": TARGET_PASSAGES,
            "target_query_s": TARGET_QUERY_S,
        },
        keep=not arguments.dry,
    )


if __name__ == "__main__":
    main()
