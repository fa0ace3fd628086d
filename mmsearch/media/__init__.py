"""Bytes on disk -> decoded content: the one door for files that are indexed and files that are queried."""

from __future__ import annotations

import os
from pathlib import Path

from mmsearch.types import Modality

__all__ = ["AUDIO_SUFFIXES", "IMAGE_SUFFIXES", "TEXT_SUFFIXES", "VIDEO_SUFFIXES", "modality_of"]


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


IMAGE_SUFFIXES = _suffixes("avif bmp gif heic heif hif jfif jpe jpeg jpg png tif tiff webp")
AUDIO_SUFFIXES = _suffixes("aac aif aifc aiff amr au caf flac m4a m4b mka mp2 mp3 oga ogg opus wav wma wv")
# Without .ts: most files of that name are TypeScript.
VIDEO_SUFFIXES = _suffixes("3g2 3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv vob webm wmv")
# Those that `mmsearch.media.text` reads; it is not imported to recognise them.
TEXT_SUFFIXES = _suffixes("csv docx htm html json jsonl markdown md ndjson pdf rst srt text tsv txt vtt xhtml")

_MODALITIES = {
    **dict.fromkeys(IMAGE_SUFFIXES, Modality.IMAGE),
    **dict.fromkeys(AUDIO_SUFFIXES, Modality.AUDIO),
    **dict.fromkeys(VIDEO_SUFFIXES, Modality.VIDEO),
    **dict.fromkeys(TEXT_SUFFIXES, Modality.TEXT),
}


def modality_of(path: str | Path) -> Modality | None:
    """Say what a file holds, going by the suffix of its name; None for a kind of file that is not supported."""
    suffix = os.path.splitext(path)[1]
    return _MODALITIES.get(suffix) or _MODALITIES.get(suffix.lower())
