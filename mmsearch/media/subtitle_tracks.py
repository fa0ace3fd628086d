"""The subtitle tracks inside a video -> their text with its times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmsearch.media.container import open_container, start_of

__all__ = ["Subtitle", "read_subtitles"]

_MAX_LINES = 100_000
_MAX_CHARS = 4_000
_MARKUP = re.compile(r"\{[^}]*\}|</?[a-zA-Z][^>]*>")
_ASS_FIELDS = 8  # before the text of an event


@dataclass(frozen=True, slots=True)
class Subtitle:
    """What is said or shown for a while.

    Attributes:
        text: Without markup; lines are separated by newlines.
        start_ms: When it appears, on the clock that a player shows.
        end_ms: When it goes, exclusive.
        language: As the track says, such as ``eng``; None where it does not.
        track: Number of the subtitle track, from 0.
    """

    text: str
    start_ms: int
    end_ms: int
    language: str | None = None
    track: int = 0


def read_subtitles(source: Path) -> Iterator[Subtitle]:
    """Read all tracks of text in the order of the file; tracks of pictures (DVD, Blu-ray) are passed over.

    Nothing is decoded but text. MP4 and MOV files are read at the places of their subtitles alone; other formats are
    read through, since text lies between the pictures. At most 100,000 lines of 4,000 characters come out.

    Raises:
        MediaError: While iterating: not a sound or video, or not readable. A file without subtitles gives none.
    """
    with open_container(source) as container:
        from av.stream import Discard

        tracks = {
            stream.index: number
            for number, stream in enumerate(container.streams.subtitles)
            if stream.codec_context is not None
        }
        if not tracks:
            return
        for other in container.streams:
            other.discard = Discard.default if other.index in tracks else Discard.all
        start = start_of(container)
        count = 0
        for packet in container.demux([container.streams[index] for index in tracks]):
            if not packet.size or packet.pts is None or packet.stream.index not in tracks:
                continue
            begin = float(packet.pts * packet.time_base) - start
            end = begin + float((packet.duration or 0) * packet.time_base)
            for text in _texts(packet):
                yield Subtitle(
                    text=text,
                    start_ms=max(0, round(begin * 1000)),
                    end_ms=max(0, round(max(begin, end) * 1000)),
                    language=packet.stream.language or None,
                    track=tracks[packet.stream.index],
                )
                count += 1
                if count == _MAX_LINES:
                    return


def _texts(packet: object) -> Iterator[str]:
    import av
    from av.subtitles.subtitle import AssSubtitle

    try:
        parts = packet.decode()  # type: ignore[attr-defined]
    except (av.error.FFmpegError, ValueError):
        return  # one damaged line
    for part in parts:
        for rect in part if hasattr(part, "__iter__") else (part,):
            if not isinstance(rect, AssSubtitle):
                continue
            event = rect.ass.decode("utf-8", "replace")
            text = event.split(",", _ASS_FIELDS)[-1] if event.count(",") >= _ASS_FIELDS else event
            text = _MARKUP.sub("", text.replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " "))
            text = "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()
            if text:
                yield text[:_MAX_CHARS]
