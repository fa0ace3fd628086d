"""A sound or video file -> an open libav container that reads nothing but that file; the adapter of PyAV's demuxers.

What a file may do is bounded before libav looks at it: only the formats listed here are tried, so that a playlist in
disguise cannot make it open other files or addresses, only the descriptor that was opened is read, and pictures beyond
`MAX_PIXELS` are refused inside the decoders.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.errors import MediaError
from mmsearch.media.files import open_regular, reason_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

__all__ = [
    "MAX_PIXELS",
    "date_of",
    "decode_packet",
    "duration_of",
    "last_time",
    "only",
    "open_container",
    "start_of",
    "tag_of",
]

MAX_PIXELS = 1 << 26
"""Pixels of a video's frame beyond which it is refused: 8192 x 8192."""

_FORMATS = (
    "aac,ac3,aiff,amr,ape,apng,asf,au,avi,caf,dv,eac3,flac,flv,gif,ivf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,"
    "mpc8,mpeg,mpegts,mpegtsraw,mxf,nut,ogg,rm,tta,w64,wav,wv"
)
_OPEN_SECONDS, _READ_SECONDS = 120.0, 60.0
"""How long a file that stopped answering (a network drive) is waited for; decoding is bounded by counts alone."""

# What the first bytes of truncated or damaged files still show, to call them that instead of "no sound or video".
_MAGIC = (
    (b"RIFF", "RIFF file"),
    (b"OggS", "Ogg file"),
    (b"fLaC", "FLAC file"),
    (b"ID3", "MP3 file"),
    (b"\x1a\x45\xdf\xa3", "Matroska file"),
    (b"FLV", "FLV file"),
    (b"GIF8", "GIF"),
)
_MAX_STREAMS = 256
_MAX_END_PACKETS = 20_000


@contextlib.contextmanager
def open_container(source: Path) -> Iterator[InputContainer]:
    """Open a sound or video file, and turn whatever libav raises until it is closed into a `MediaError`.

    Raises:
        MediaError: The file is empty, not a sound or video, damaged, vanished, not readable, or PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MediaError(source, "sounds and videos need the package av") from error
    try:
        with open_regular(source) as file:
            head = file.read(16)
            if not head:
                raise MediaError(source, "empty file")
            file.seek(0)
            try:
                container = av.open(
                    "fd:",
                    mode="r",
                    options={"max_pixels": str(MAX_PIXELS), "max_streams": str(_MAX_STREAMS)},
                    container_options={
                        "fd": str(file.fileno()),
                        "protocol_whitelist": "fd",
                        "format_whitelist": _FORMATS,
                    },
                    metadata_errors="replace",
                    timeout=(_OPEN_SECONDS, _READ_SECONDS),
                )
            except (av.error.FFmpegError, ValueError) as error:
                raise MediaError(source, _refusal(head)) from error
            with container:
                yield container
    except MediaError as error:
        raise MediaError(source, error.reason) from error.__cause__
    except MemoryError as error:
        raise MediaError(source, "not enough memory to decode it") from error
    except (
        av.error.FFmpegError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:  # before OSError, which some of them are too
        raise MediaError(source, _failure(error)) from error
    except OSError as error:
        raise MediaError(source, reason_of(error)) from error


def _refusal(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return "truncated or damaged MP4"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return f"truncated or damaged {name}"
    return "not a sound or video"


def _failure(error: Exception) -> str:
    return "truncated" if isinstance(error, EOFError) else "damaged or of an unknown kind"


def only(container: InputContainer, stream: Stream) -> None:
    """Tell the demuxer to pass over all other streams, which saves reading them where the format allows it."""
    from av.stream import Discard

    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all


def decode_packet(stream: Stream, packet: Packet[Any] | None, errors: list[int]) -> list[Any]:
    """Decode one packet (None: what the decoder still holds); a damaged one gives nothing.

    Args:
        stream: The stream of the packet.
        packet: The packet.
        errors: One number: damaged packets in a row so far; kept up to date here.
    """
    import av

    try:
        frames = stream.codec_context.decode(packet)  # type: ignore[attr-defined]
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError):
        errors[0] += 1
        return []
    if frames:
        errors[0] = 0
    return list(frames)


def start_of(container: InputContainer) -> float:
    """Seconds on the file's own clock that players show as zero."""
    return 0.0 if container.start_time is None else container.start_time / 1e6


def duration_of(container: InputContainer, stream: Stream) -> float | None:
    """Seconds that the file claims to last, or None when it does not say."""
    if stream.duration is not None and stream.time_base is not None and stream.duration > 0:
        own = float(stream.duration * stream.time_base)
        begin = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base) - start_of(container)
        return own + max(0.0, begin)
    if container.duration is not None and container.duration > 0:
        return container.duration / 1e6
    return None


def last_time(container: InputContainer, stream: Stream, *, from_start: bool) -> float | None:
    """Seconds to the end of a stream's last packet, found without decoding; leaves the position there.

    Args:
        container: The open file.
        stream: The stream.
        from_start: Read through all packets instead of seeking towards the end first.
    """
    import av

    base = float(stream.time_base or 0)
    limit = None
    try:
        if from_start:
            container.seek(0)
        else:
            container.seek(1 << 40 if container.duration is None else container.duration)
            limit = _MAX_END_PACKETS
    except av.error.FFmpegError:
        return None
    end = None
    try:
        for count, packet in enumerate(container.demux(stream)):
            time = packet.pts if packet.pts is not None else packet.dts
            if packet.size and time is not None:
                end = max(end or 0.0, (time + (packet.duration or 0)) * base)
            if limit is not None and count > limit:
                break
    except av.error.FFmpegError:
        pass  # what was read up to the damage counts
    return None if end is None else end - start_of(container)


def tag_of(container: InputContainer, *names: str) -> str | None:
    """The first of some tags that the file or one of its streams has, without blanks around it."""
    for tags in (container.metadata, *(stream.metadata for stream in container.streams)):
        folded = {key.lower(): value for key, value in tags.items()}
        for name in names:
            if text := folded.get(name, "").replace("\0", " ").strip():
                return text[:1000]
    return None


def date_of(container: InputContainer) -> datetime | None:
    """The local time at which a camera made it, as far as a tag says so; without zone."""
    # Apple's tag holds local time with its zone; the common one is UTC, and is all that most files have.
    for name in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        if text := tag_of(container, name):
            with contextlib.suppress(ValueError, OverflowError):
                moment = datetime.fromisoformat(text).replace(tzinfo=None)
                if moment.year > 1970:  # clocks that were never set begin in 1904 or 1970
                    return moment
    return None
