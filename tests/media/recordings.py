"""Small sounds and videos of known content, made with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

av = pytest.importorskip("av", reason="sounds and videos need the package av")

CODECS = {
    ".wav": "pcm_s16le",
    ".flac": "flac",
    ".mp3": "libmp3lame",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".m4a": "aac",
    ".aac": "aac",
    ".mka": "flac",
    ".mkv": "libopus",
}

RED, GREEN, BLUE, BLACK, WHITE = (220, 30, 20), (20, 180, 40), (30, 40, 210), (0, 0, 0), (255, 255, 255)


def tone(seconds: float, *, rate: int, hertz: float = 440.0, amplitude: float = 0.5) -> NDArray[np.float32]:
    """(n,) samples of a sine."""
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write_sound(
    path: Path,
    samples: NDArray[np.float32],
    *,
    rate: int,
    layout: str = "mono",
    codec: str | None = None,
    tags: dict[str, str] | None = None,
    cover: bool = False,
) -> Path:
    """Write (n,) mono samples, the same in all channels, or (channels, n)."""
    channels = av.AudioLayout(layout).nb_channels
    both = np.broadcast_to(samples, (channels, samples.shape[-1]))
    packed = np.ascontiguousarray((both.T * 32767).round().astype(np.int16)).reshape(1, -1)
    with av.open(str(path), "w") as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec or CODECS[path.suffix], rate=rate, layout=layout)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            image = av.VideoFrame.from_ndarray(np.full((48, 64, 3), RED, dtype=np.uint8), format="rgb24")
            for packet in [*picture.encode(image), *picture.encode(None)]:
                container.mux(packet)
        for first in range(0, samples.shape[-1], 1024):
            piece = packed[:, first * channels : (first + 1024) * channels]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="s16", layout=layout)
            frame.sample_rate, frame.pts = rate, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def picture(colour: tuple[int, int, int], *, mark: int = 0, size: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """(h, w, 3) of one colour, with a light square whose place is the mark."""
    image = np.full((size[1], size[0], 3), colour, dtype=np.uint8)
    if mark:
        left = 8 + 4 * mark % (size[0] - 24)
        image[8:20, left : left + 12] = 255 - np.array(colour, dtype=np.uint8) // 2
    return image


def shots(*parts: tuple[tuple[int, int, int], float], rate: int = 10) -> list[NDArray[np.uint8]]:
    """Pictures of several colours, each for some seconds."""
    return [picture(colour) for colour, seconds in parts for _ in range(round(seconds * rate))]


def noise(seed: int, *, block: int = 4, blur: int = 0) -> NDArray[np.uint8]:
    """(48, 64, 3) grey blocks, optionally out of focus."""
    from PIL import Image, ImageFilter

    blocks = np.random.default_rng(seed).integers(0, 256, (48 // block, 64 // block), dtype=np.uint8)
    image = Image.fromarray(np.kron(blocks, np.ones((block, block), dtype=np.uint8)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)).convert("RGB"))


def write_video(
    path: Path,
    images: Sequence[NDArray[np.uint8]],
    *,
    rate: int = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int | None = None,
    times: Sequence[float] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    aspect: Fraction | None = None,
    tags: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    colours: dict[str, int] | None = None,
    sound: tuple[float, NDArray[np.float32]] | None = None,
) -> Path:
    """Write pictures; `times` in seconds make a variable rate, `sound` is its start and 16 kHz samples."""
    with av.open(str(path), "w", options=muxer or {}) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=rate, options=options or {})
        height, width = images[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        if gop is not None:
            stream.codec_context.gop_size = gop
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        stream.codec_context.time_base = Fraction(1, 1000) if times is not None else Fraction(1, rate)
        heard = container.add_stream("aac", rate=16_000, layout="mono") if sound is not None else None
        if heard is not None and sound is not None:
            start, samples = sound
            for first in range(0, len(samples), 1024):
                part = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts = 16_000, first + round(start * 16_000)
                container.mux(heard.encode(part))
            container.mux(heard.encode(None))
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
            frame.pts = number if times is None else round(times[number] * 1000)
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def all_frames(path: Path) -> list[tuple[int, Any]]:
    """The truth: every frame of a video with its time in ms, by decoding it from the beginning to the end."""
    with av.open(str(path)) as container:
        start = (container.start_time or 0) / 1e6
        stream = container.streams.video[0]
        return [
            (round((float(frame.pts * stream.time_base) - start) * 1000), frame) for frame in container.decode(stream)
        ]
