"""Video: indexing by seeking against decoding every frame and embedding one a second, and an hour of 1080p.

    python benchmarks/video_index.py scenes --data ../shared/data
    python benchmarks/video_index.py hour --data ../shared/data

``scenes`` makes a video of 80 scenes of 3 to 6 seconds, each a slow pan over a captioned photograph of Flickr8k dev
that no model was trained on. Both ways embed with the built-in model; a scene is found where one of the three best
frames for one of its captions lies in it. ``hour`` repeats two such minutes, with sound, until there is an hour in
1920 x 1080, and indexes it by the command line, from outside.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from processes import mmsearch_command, run
from record import record

RATE = 25


def scenes_of(data: Path, count: int, seed: int = 0) -> list[tuple[Path, list[str], float]]:
    """Photographs with their captions and the seconds for which each is shown."""
    dev = data / "flickr8k" / "dev"
    captions: dict[str, list[str]] = {}
    with (dev / "captions.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            captions.setdefault(row["image"], []).append(row["caption"])
    rng = np.random.default_rng(seed)
    names = rng.choice(sorted(captions), count, replace=False)
    return [(dev / "images" / name, captions[name], float(rng.uniform(3, 6))) for name in names]


def pan(photo: Path, seconds: float, size: tuple[int, int], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Frames of a slow pan and zoom over a photograph."""
    width, height = size
    large = (
        Image.open(photo).convert("RGB").resize((round(width * 1.15), round(height * 1.15)), Image.Resampling.BICUBIC)
    )
    room = np.array([large.width - width, large.height - height])
    start, end = rng.uniform(0, 1, 2) * room, rng.uniform(0, 1, 2) * room
    pixels = np.asarray(large)
    for number in range(frames := max(1, round(seconds * RATE))):
        left, top = np.round(start + (end - start) * number / frames).astype(int)
        yield pixels[top : top + height, left : left + width]


def write_scenes(
    path: Path,
    scenes: list[tuple[Path, list[str], float]],
    size: tuple[int, int],
    sound: Path | None = None,
    preset: str = "veryfast",
) -> list[tuple[float, float]]:
    """Write the scenes one after the other; returns where each begins and ends, in seconds."""
    rng = np.random.default_rng(1)
    places: list[tuple[float, float]] = []
    number = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": preset, "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, RATE)
        heard = container.add_stream("aac", rate=44_100, layout="mono") if sound is not None else None
        for photo, _, seconds in scenes:
            first = number
            for pixels in pan(photo, seconds, size, rng):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts, frame.time_base = number, stream.codec_context.time_base
                container.mux(stream.encode(frame))
                number += 1
            places.append((first / RATE, number / RATE))
        container.mux(stream.encode(None))
        if heard is not None:
            at = 0
            while at < places[-1][1] * 44_100:
                with av.open(str(sound)) as source:
                    resampler = av.AudioResampler("fltp", "mono", 44_100, 1024)
                    for frame in source.decode(audio=0):
                        for part in resampler.resample(frame):
                            part.pts, at = at, at + part.samples
                            container.mux(heard.encode(part))
            container.mux(heard.encode(None))
    return places


def repeat(source: Path, path: Path, times: int) -> None:
    """Write a video that shows another so many times, without decoding it."""
    with av.open(str(path), "w") as container:
        with av.open(str(source)) as first:
            streams = {stream.index: container.add_stream_from_template(stream) for stream in first.streams}
            length = max(float(stream.duration * stream.time_base) for stream in first.streams)
        last = dict.fromkeys(streams, -(2**62))
        for number in range(times):
            with av.open(str(source)) as again:
                for packet in again.demux():
                    if packet.dts is None:
                        continue
                    shift = round(number * length / packet.time_base)
                    if packet.dts + shift <= last[packet.stream.index]:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    last[packet.stream.index] = packet.dts
                    packet.stream = streams[packet.stream.index]
                    container.mux(packet)


def by_seeking(path: Path, encoder) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and embeddings of the frames that mmsearch chooses."""
    from indexer.embedding import embed
    from indexer.reader import SegmentReader
    from mmsearch.types import Modality

    reader = SegmentReader([encoder], captions=False)
    reader._hearing.clear()  # both ways look only
    times, rows, batch = [], [], []
    segments = list(reader.read(path, Modality.VIDEO).segments)
    for start in range(0, len(segments), 32):
        batch = segments[start : start + 32]
        rows += [row[encoder.id] for row in embed([encoder], batch)]
        times += [segment.start_ms / 1000 for segment in batch]
    return np.array(times), np.stack(rows)


def frame_by_frame(path: Path, encoder) -> tuple[np.ndarray, np.ndarray]:
    """Times and embeddings of one frame a second, every frame decoded, on all cores."""
    times, rows, batch = [], [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        due = 0.0
        for frame in container.decode(stream):
            if frame.time >= due:
                times.append(frame.time)
                batch.append(encoder.prepare_image(frame.to_image()))
                due += 1.0
            if len(batch) == 32:
                rows.append(encoder.encode_images(batch))
                batch = []
    if batch:
        rows.append(encoder.encode_images(batch))
    return np.array(times), np.concatenate(rows)


def recall(
    times: np.ndarray, embeddings: np.ndarray, places: list[tuple[float, float]], queries: np.ndarray, top: int
) -> float:
    """Share of captions for which one of the best frames lies in the scene; neighbours of one scene count once."""
    found = []
    starts = np.array([start for start, _ in places])
    for number in range(len(places)):
        for scores in queries[number] @ embeddings.T:
            shown = []
            for at in np.argsort(-scores):
                scene = int(np.searchsorted(starts, times[at], side="right")) - 1
                if scene not in shown:
                    shown.append(scene)
                if len(shown) == top:
                    break
            found.append(number in shown)
    return float(np.mean(found))


def scenes(data: Path, count: int, size: tuple[int, int], preset: str) -> dict[str, object]:
    from mmsearch import load_encoder

    encoder = load_encoder("mini")
    encoder.encode_texts(["warm"])
    encoder.encode_images([np.zeros((encoder.image_size, encoder.image_size, 3), np.uint8)])
    chosen = scenes_of(data, count)
    captions = [caption for _, captions, _ in chosen for caption in captions[:5]]
    queries = encoder.encode_texts(captions).reshape(count, 5, -1)  # (scenes, 5, dim)
    with tempfile.TemporaryDirectory(prefix="video-index-") as scratch:
        path = Path(scratch) / "scenes.mp4"
        places = write_scenes(path, chosen, size, preset=preset)
        results: dict[str, object] = {
            "scenes": count,
            "seconds": round(places[-1][1], 1),
            "size": list(size),
            "preset": preset,
        }
        for name, way in (("seeking", by_seeking), ("every_frame", frame_by_frame)) * 2:
            started = time.perf_counter()
            times, embeddings = way(path, encoder)
            took = time.perf_counter() - started
            results[f"{name}_s"] = round(min(took, float(results.get(f"{name}_s", took))), 2)  # type: ignore[arg-type]
            results[f"{name}_frames"] = len(times)
            starts = np.array([start for start, _ in places])
            results[f"{name}_scenes_seen"] = len(set(np.searchsorted(starts, times, side="right").tolist()))
            for top in (1, 3):
                results[f"{name}_recall@{top}"] = round(recall(times, embeddings, places, queries, top), 4)
    results["times_faster"] = round(results["every_frame_s"] / results["seeking_s"], 2)  # type: ignore[operator]
    return results


def hour(data: Path, keep: Path | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix="video-index-") as scratch:
        folder = Path(scratch)
        path = (keep or folder) / "hour.mp4"
        if not path.exists():
            sound = sorted((data / "esc10").glob("*/*.ogg"))
            minutes = path.with_name("minutes.mp4")
            places = write_scenes(minutes, scenes_of(data, 27), (1920, 1080), sound[0])
            repeat(minutes, path, int(3600 / places[-1][1]) + 1)
        command = [mmsearch_command(), "index", path, "--library", folder / "library", "--json"]
        done = run(command, env={"MMSEARCH_OFFLINE": "1"})
        summary = json.loads(done.stdout)
        with av.open(str(path)) as container:
            seconds = container.duration / 1e6
        return {
            "seconds": round(seconds),
            "file_mb": round(path.stat().st_size / 1e6),
            "wall_s": round(done.wall_s, 1),
            "cpu_s": round(done.cpu_s, 1),
            "peak_mb": round(done.peak_bytes / 1e6),
            "embedded": summary.get("embedded_by", summary["embedded"]),
            "stage_seconds": summary["stage_seconds"],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scenes", "hour"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=80, help="scenes")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--preset", default="veryfast", help="of x264; ultrafast puts no key frames at cuts")
    parser.add_argument("--keep", type=Path, help="a folder for the hour, to make it once")
    parser.add_argument("--dry", action="store_true", help="keep no results")
    arguments = parser.parse_args()
    if arguments.what == "scenes":
        width, height = (int(side) for side in arguments.size.split("x"))
        results = scenes(arguments.data, arguments.count, (width, height), arguments.preset)
    else:
        results = hour(arguments.data, arguments.keep)
    record(f"video_{arguments.what}", results, keep=not arguments.dry)


if __name__ == "__main__":
    sys.exit(main())
